"""The page says what the record says, to somebody who was not there, and holds whatever the data holds."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from benchmarks import gate
from keel.config import PromotionConfig
from keel.evaluation.holdout.comparison import compare_versions
from keel.evaluation.holdout.flips import count_flips
from keel.evaluation.holdout.score_curves import describe_scores
from keel.reports import html, markdown, text
from keel.reports.charts.specs import Curves, Intervals
from keel.reports.comparison import page
from keel.reports.page import Figure, Page, Section

N = 4_200


def record(quality=2.5, *, metric="brier", looks=0, speed=None, values=("UA", "B6"), n=N, **policy):
    """What `keel.rollout` keeps of a comparison."""
    champion, challenger = gate.versions_in(gate.INDEPENDENT, (1.5, quality), seed=1, n=n, binary=metric in gate.BINARY)
    carriers = np.array(values, dtype=object)[np.arange(n) % len(values)]
    found = compare_versions(
        champion, challenger, metric=metric, policy=PromotionConfig(segments=("carrier",), **policy),
        times=gate.spread(n), segments={"carrier": carriers}, prior_comparisons=looks, holdout_end=gate.HOLDOUT_END,
        speed=speed,
    ).to_dict()  # fmt: skip
    size = None if metric in gate.BINARY else 1.0
    flips = count_flips(champion.prediction, challenger.prediction, {"carrier": carriers}, size=size)
    lived = {"start": "2026-01-21T00:00:00+00:00", "end": "2026-01-22T00:00:00+00:00", "answered_by_champion": n}
    return found | {
        "model": "flight_delay", "champion": 1, "challenger": 3,
        "holdout": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-22T00:00:00+00:00"},
        "sentence": f"Challenger 3 against champion 1: {found['reason']}.",
        "score_curves": describe_scores(metric, champion, challenger), "flips": flips | lived,
    }  # fmt: skip


def speeds(factor):
    return {
        "champion": {"p50_ms": 2.0, "p95_ms": 3.0, "size_mb": 1.0},
        "challenger": {"p50_ms": 2.0 * factor, "p95_ms": 3.0 * factor, "size_mb": None},
    }


def shown(body):
    """Return the whole page as text, a paragraph a line."""
    return text.plain(page(body), width=1_000)


def section(found: Page, title: str) -> Section:
    [chosen] = [each for each in found.sections if each.title == title]
    return chosen


def figures(found: Page, title: str) -> list[Figure]:
    return [block for block in section(found, title).blocks if isinstance(block, Figure)]


def test_page_of_a_pass_says_so_first_and_the_margin_at_which_it_would_fail():
    body = record()
    found = page(body)
    assert (found.headline, found.tag.text) == ("Version 3 is better than version 1.", "passed")
    assert found.lead == body["sentence"]
    assert found.eyebrow == "flight_delay · version 3 against version 1 · 4,200 labelled rows · 1 to 22 January 2026"
    assert [fact.value for fact in found.facts][3] == "Passed the gate"
    whole = shown(body)
    assert "4,200 labelled rows of 1 to 22 January 2026, which neither version was trained on" in whole
    assert f"{body['champion_value']:.3f} ± {body['champion_standard_error']:.2g}" in whole
    assert f"at least +{body['lower_bound']:.4f} (the lower bound holds with 97.0% confidence)" in whole
    assert "Confidence is 97.0%, not 95.0%, because α, 5%, is the error level of all comparisons on these" in whole
    assert "21 clusters of a day" in whole
    assert f"failed with a margin of +{body['lower_bound']:.3g} or more" in whole
    assert whole.index("Brier score, which decides") < whole.index("area under the ROC curve ")


def test_page_of_a_fail_says_its_distance_from_a_pass():
    body = record(1.51)
    assert body["verdict"] == "fail"
    assert body["improvement"] > 0
    assert page(body).headline == "Version 3 may be better than version 1, but that is not shown."
    whole = shown(body)
    assert f"The lower bound must rise by more than {-body['lower_bound']:.3g}" in whole
    [times] = re.findall(r"holdout about ([\d.]+) times as long", whole)
    assert float(times) > 1
    assert "itself must be better" in shown(record(1.0))
    assert page(record(1.0)).headline == "Version 3 is worse than version 1."


def test_page_draws_the_bound_beside_the_margin_and_segments_beside_their_limit():
    body = record(margin=0.001)
    [overall], [segments] = (
        [figure.chart for figure in figures(page(body), title)] for title in ("Is it better?", "Segments")
    )
    assert isinstance(overall, Intervals)
    [row] = overall.rows
    assert (row.value, row.lower, row.upper) == (body["improvement"], body["lower_bound"], None)
    assert (overall.line, segments.line) == (0.001, -0.02)
    assert {each.label for each in segments.rows} == {"carrier = UA", "carrier = B6"}


def test_page_with_a_worse_segment_names_it_first_and_in_what_would_change_the_verdict():
    body = record(1.51, segment_margin=0.0, margin=-0.1)
    assert "on the whole, but may be worse within carrier = " in page(body).headline
    whole = shown(body)
    assert "not shown" in whole
    assert re.search(r"Within carrier = \w+ the lower bound must rise by more than 0\.\d+", whole)


def test_page_shows_limits_beside_the_measurements():
    found = page(record(speed=speeds(4), max_slowdown=3, max_latency_ms=9))
    assert found.headline == "Version 3 is better than version 1, but does not meet the policy's other limits."
    [table] = section(found, "Speed").blocks
    assert ("median, as a multiple of the champion's", "", "4.00", "3") in table.rows
    assert ("one row, 95th percentile (ms)", "3.00", "12.00", "9") in table.rows
    assert ("size (MB)", "1.00", "not measured", "") in table.rows


def test_page_of_an_inconclusive_comparison_says_what_to_do():
    found = page(record(min_rows=5_000))
    assert (found.headline, found.tag.text) == (
        "Whether version 3 is better than version 1 could not be decided.", "inconclusive",
    )  # fmt: skip
    assert "5,000 are needed" in found.lead
    assert "wait for more labels, or lengthen retrain.holdout" in found.lead
    assert "Segments" not in {each.title for each in found.sections}


def test_page_names_earlier_comparisons_and_excluded_rows():
    body = record(looks=3)
    body["n_excluded"] = {"total": 12, "no usable score of the champion": 12}
    whole = shown(body)
    assert "3 earlier comparisons used rows of this holdout. The error level of this one is 0.19%" in whole
    assert "Excluded: 12 rows (12 with no usable score of the champion)" in whole


def test_page_of_a_forced_promotion_names_who_forces_it():
    found = page(record(1.0) | {"forced_by": "ada"})
    assert found.headline == "ada forces the promotion: version 3 was not shown to be better than version 1."


def test_page_shows_which_predictions_flip():
    body = record()
    flips = body["flips"]
    found = page(body)
    [fact] = [each for each in found.facts if "of recent predictions would change" in each.lines]
    assert fact.lines[1:] == (f"{flips['up']:,} to positive", f"{flips['down']:,} to negative")
    assert float(fact.value.rstrip("%")) == pytest.approx(100 * flips["changed"] / N, abs=0.05)
    whole = shown(body)
    assert "The predictions are of 21 to 22 January 2026, each scored by version 3." in whole
    assert "the verdict does not rest on it" in whole


def test_page_of_a_regression_shows_residuals_and_changes_beyond_the_size():
    body = record(metric="mae")
    [figure] = figures(page(body), "How far off they are")
    assert isinstance(figure.chart, Curves)
    assert [curve.label for curve in figure.chart.curves] == ["version 1", "version 3"]
    assert "by more than 1, which is the mean absolute error of version 1" in shown(body)


def test_page_draws_calibration_and_roc_of_both_versions():
    body = record()
    calibration, roc = figures(page(body), "Calibration and ranking")
    assert calibration.chart.curves[1].y == tuple(body["score_curves"]["challenger"]["calibration"]["rate"])
    area = body["extra_metrics"]["roc_auc"]["challenger"]["value"]
    assert f"version 3 ranks {100 * area:.1f}% of the pairs correctly" in roc.sentence


@pytest.mark.parametrize("part", ["score_curves", "flips"])
def test_page_names_what_could_not_be_computed(part):
    assert "could not be computed: OSError: gone." in shown(record() | {part: {"fault": "OSError: gone"}})


@pytest.mark.parametrize("champion", [None, 3])
def test_page_of_a_comparison_without_rows_is_its_sentence(champion):
    body = {
        "verdict": "pass", "reason": "version 3 is the first", "n": 0, "prior_comparisons": 0, "model": "flight_delay",
        "holdout": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-22T00:00:00+00:00"},
        "champion": champion, "challenger": 3,
    }  # fmt: skip
    assert page(body).headline == "Version 3 is the first."
    assert "None" not in shown(body)


@pytest.mark.parametrize("metric", gate.METRICS)
@pytest.mark.parametrize("n", [0, 1, 150, 630])
def test_page_of_every_record_is_without_gaps(metric, n):
    for quality in (1.5, 2.5):
        body = json.loads(json.dumps(record(quality, metric=metric, n=n, segment_min_rows=100, speed={})))
        whole = shown(body)
        assert "None" not in whole
        assert not re.search(r"\bnan\b", whole)


def test_page_of_a_comparison_of_an_earlier_release_leaves_out_what_it_lacks():
    now = record(looks=2)
    old = {name: value for name, value in now.items() if name not in ("score_curves", "flips")}
    for name, before in (("prior_comparisons", "earlier_looks"), ("n_excluded", "n_left_out")):
        old[before] = old.pop(name)
    old["also"] = old.pop("extra_metrics")
    titles = {each.title for each in page(now).sections} - {each.title for each in page(old).sections}
    assert titles == {"Which predictions would change", "Calibration and ranking"}
    assert page(old).lead == page(now).lead
    assert "2 earlier comparisons used rows" in shown(old)


def test_page_shows_values_of_the_data_as_text():
    values = ("a|b\n# Pass", "[click](https://example.com)<img src=x onerror=alert(1)>`*")
    body = record(1.6, values=values, segment_margin=0.0, margin=-0.1)
    rendered = markdown.render(page(body))
    assert "a\\|b # Pass" in rendered
    assert len(re.findall("^# ", rendered, re.MULTILINE)) == 1
    assert "<img src=x onerror" not in html.render(page(body))


def test_page_lists_the_lowest_segments_and_counts_the_others():
    values = tuple(f"s{number}" for number in range(30))
    body = record(values=values, segment_min_rows=100)
    [chart] = [figure.chart for figure in figures(page(body), "Segments")]
    assert len(chart.rows) == 20
    assert "10 more have higher bounds" in shown(body)


def test_page_of_the_comparison_of_an_experiment_says_what_it_measured():
    report = {
        "basis": "experiment", "verdict": "pass", "reason": "version 2 is better.", "sentence": "experiment-1: better.",
        "model": "toy", "champion": 1, "challenger": 2, "champion_value": 0.2, "challenger_value": 0.18, "n": 4_321,
        "improvement": 0.02, "lower_bound": 0.0125, "upper_bound": None, "margin": 0.0, "alpha": 0.05,
        "loss": "Brier score", "metric": "brier", "holdout": {"start": "2026-03-01T00:00:00+00:00",
        "end": "2026-03-10T06:00:00+00:00"}, "experiment": {"experiment_id": "experiment-1", "mode": "ab"},
    }  # fmt: skip
    assert page(report).headline == "Version 2 is better than version 1."
    whole = shown(report)
    assert (
        "Measured by the experiment experiment-1 in production, on randomly assigned rows, 1 March 2026 to 10 March "
        "2026 06:00: 4,321 outcomes, one of each entity." in whole
    )
    assert "at least +0.0125 (each bound holds at any time with 95.0% confidence)" in whole
    assert "What would change the verdict" not in {each.title for each in page(report).sections}
    assert "Which predictions would change, and curves of the scores, are not computed for an experiment." in whole


def test_page_of_the_thirteenth_comparison_on_the_same_rows_is_not_certain():
    body = record(looks=12)
    assert "99.98% confidence" in body["reason"]
    whole = shown(body)
    assert "(99.98% confidence)" in whole
    assert "100.0%" not in whole


def test_page_of_scores_with_few_values_does_not_say_that_each_point_is_a_tenth():
    body = record()
    points = {"score": [0.2, 0.7], "rate": [0.25, 0.6], "n": [2_100, 2_100]}
    body["score_curves"] = {who: {"calibration": points, "roc": None} for who in ("champion", "challenger")}
    [figure] = figures(page(body), "Calibration and ranking")
    assert "at most ten groups a version" in figure.sentence
    assert "tenth" not in figure.sentence
