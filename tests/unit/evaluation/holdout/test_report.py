"""The page says what the record says, to somebody who was not there, and holds whatever the data holds."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import gate
from keel.config import PromotionConfig
from keel.evaluation.holdout.comparison import compare_versions
from keel.evaluation.holdout.report import render

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
    return found | {
        "model": "flight_delay", "champion": 1, "challenger": 3,
        "holdout": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-22T00:00:00+00:00"},
        "sentence": f"Challenger 3 against champion 1: {found['reason']}.",
    }  # fmt: skip


def speeds(factor):
    return {
        "champion": {"p50_ms": 2.0, "p95_ms": 3.0, "size_mb": 1.0},
        "challenger": {"p50_ms": 2.0 * factor, "p95_ms": 3.0 * factor, "size_mb": None},
    }


def test_a_pass_is_rendered_with_the_margin_at_which_it_would_fail():
    body = record()
    page = render(body)
    assert page.startswith(
        "# Pass: challenger 3 against champion 1 (flight_delay)\n\n**Challenger 3 against champion 1"
    )
    assert "4,200 labelled rows of 2026-01-01 00:00 to 2026-01-22 00:00 UTC" in page
    assert f"| {body['champion_value']:.4f} ± {body['champion_standard_error']:.4f} |" in page
    assert f"Lower bound **{body['lower_bound']:+.4f}** with 97.0% confidence" in page
    assert "21 clusters of a day" in page
    assert f"failed with a margin of {body['lower_bound']:+.4f} or more" in page
    assert page.index("brier**, which decides") < page.index("| roc_auc |")


def test_a_fail_is_rendered_with_its_distance_from_a_pass():
    body = record(1.51)
    assert body["verdict"] == "fail"
    assert body["improvement"] > 0
    page = render(body)
    assert page.startswith("# Fail")
    assert f"The lower bound must rise by more than {-body['lower_bound']:.4f}" in page
    [times] = re.findall(r"holdout about ([\d.]+) times as long", page)
    assert float(times) > 1
    assert "must be better" in render(record(1.0))


def test_a_worse_segment_is_in_the_table_and_in_what_would_change_the_verdict():
    page = render(record(1.51, segment_margin=0.0, margin=-0.1))
    assert "| carrier = " in page
    assert "**not shown**" in page
    assert re.search(r"Within carrier = \w+ the lower bound must rise by more than 0\.\d+", page)


def test_limits_are_rendered_beside_the_measurements():
    page = render(record(speed=speeds(4), max_slowdown=3, max_latency_ms=9))
    assert page.startswith("# Fail")
    assert "| median, as a multiple of the champion's | | 4.00 | 3 |" in page
    assert "| one row, 95th percentile (ms) | 3.00 | 12.00 | 9 |" in page
    assert "| size (MB) | 1.00 | not measured |  |" in page


def test_an_inconclusive_comparison_is_rendered_with_what_to_do():
    page = render(record(min_rows=5_000))
    assert page.startswith("# Inconclusive")
    assert "5,000 are needed" in page
    assert "wait for more labels, or lengthen retrain.holdout" in page
    assert "## Segments" not in page


def test_earlier_comparisons_and_excluded_rows_are_rendered():
    body = record(looks=3)
    body["n_excluded"] = {"total": 12, "no usable score of the champion": 12}
    page = render(body)
    assert "3 earlier comparisons used rows of this holdout. The error level of this one is 0.19%" in page
    assert "Excluded: 12 rows (12 with no usable score of the champion)" in page


@pytest.mark.parametrize("champion", [None, 3])
def test_a_comparison_without_rows_is_rendered_as_its_sentence(champion):
    body = {
        "verdict": "pass", "reason": "version 3 is the first", "n": 0, "prior_comparisons": 0, "model": "flight_delay",
        "holdout": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-22T00:00:00+00:00"},
        "champion": champion, "challenger": 3,
    }  # fmt: skip
    assert "**version 3 is the first**" in render(body)
    assert "None" not in render(body)


@pytest.mark.parametrize("metric", gate.METRICS)
@pytest.mark.parametrize("n", [0, 1, 150, 630])
def test_every_record_can_be_rendered(metric, n):
    for quality in (1.5, 2.5):
        page = render(record(quality, metric=metric, n=n, segment_min_rows=100, speed={}))
        assert page.startswith("# ")
        assert "None" not in page
        assert "nan" not in page


def test_values_of_the_data_are_escaped():
    values = ("a|b\n# Pass", "[click](https://example.com)<img src=x>`*")
    page = render(record(1.6, values=values, segment_margin=0.0, margin=-0.1))
    assert "a\\|b # Pass" in page
    assert not re.search(r"(?<!\\)[\[<`]", page.replace("**", ""))
    assert len(re.findall("^# ", page, re.MULTILINE)) == 1


def test_the_page_is_short():
    values = tuple(f"s{number}" for number in range(30))
    page = render(record(values=values, segment_min_rows=100))
    assert page.count("| carrier = ") == 20
    assert "10 more have higher bounds" in page
    assert len(page.splitlines()) < 80


def test_the_comparison_of_an_experiment_is_rendered():
    report = {
        "basis": "experiment", "verdict": "pass", "reason": "version 2 is better.", "sentence": "experiment-1: better.",
        "model": "toy", "champion": 1, "challenger": 2, "champion_value": 0.2, "challenger_value": 0.18, "n": 4_321,
        "improvement": 0.02, "lower_bound": 0.0125, "upper_bound": None, "margin": 0.0, "alpha": 0.05,
        "loss": "Brier score", "metric": "brier", "holdout": {"start": "2026-03-01T00:00:00+00:00",
        "end": "2026-03-10T06:00:00+00:00"}, "experiment": {"experiment_id": "experiment-1", "mode": "ab"},
    }  # fmt: skip
    assert render(report) == (
        "# Pass: challenger 2 against champion 1 (toy)\n\n**experiment-1: better.**\n\n"
        "Experiment in production (experiment-1), on randomly assigned rows, from 2026-03-01 00:00 to "
        "2026-03-10 06:00 UTC: 4,321 outcomes, one of each entity.\n\n"
        "| mean | champion 1 | challenger 2 |\n|---|---|---|\n| Brier score | 0.2000 | 0.1800 |\n\n"
        "Improvement +0.0200, from +0.0125 to undefined; each bound holds with 95.0% confidence at any time. "
        "The lower bound must exceed 0.\n"
    )
