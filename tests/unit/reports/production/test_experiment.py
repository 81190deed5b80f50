"""The page of an experiment, for every way it can go, from records of this release and of 0.1.0."""

from __future__ import annotations

import pytest

from keel.reports import html, text
from keel.reports.charts.specs import Trend
from keel.reports.page import Figure
from keel.reports.production.experiment import page

PLAN = {
    "experiment_id": "experiment-1", "model": "flight_delay", "champion": 3, "challenger": 4, "mode": "ab",
    "stages": [{"share": 0.5, "seconds": None}], "salt": "s", "metric": "brier", "margin": 0.0, "alpha": 0.05,
    "max_n": 20_000, "started_at": "2013-12-01T00:00:00+00:00", "least": 604_800.0, "most": 5_270_400.0,
    "label_delay": 86_400.0,
}  # fmt: skip
ARM = {"n": 10_000, "unusable": 0, "mean_loss": 0.216, "assigned": 11_048, "matured": 10_587, "labelled": 10_057}


def evaluation(verdict="no_difference", **more):
    """What `keel.rollout` stores of an experiment."""
    return {
        "plan": PLAN, "verdict": verdict, "cause": None, "decided_at": "2013-12-24T19:59:00+00:00",
        "matured_until": "2013-12-23T19:59:00+00:00", "champion": {**ARM, "version": 3, "coverage": 0.95},
        "challenger": {**ARM, "version": 4, "mean_loss": 0.2413, "coverage": 0.952}, "n": 20_000,
        "improvement": -0.0253, "lower_bound": -0.0569, "upper_bound": 0.0063, "unit": "day", "clusters": 23,
        "assignment_evidence": 4.44, "label_evidence": 2.1, "expected_challenger": 10_969.5, "loss": "Brier score",
        "margin": 0.0, "method": "confidence_sequence", "method_reason": "both arms are large", "threshold": 20.0,
        "ends_at": "2014-01-31T00:00:00+00:00", "early_harm_bound": -0.046, "mismatch_threshold": 1_000.0,
        "sentence": "Version 4 against version 3: as it is.", **more,
    }  # fmt: skip


def shown(body, outcome=None):
    return text.plain(page(body, outcome), width=1_000)


@pytest.mark.parametrize(
    ("verdict", "more", "headline", "what_follows"),
    [
        ("running", {}, "The experiment runs, and has no result yet.", "keel experiment stop flight_delay --reason …"),
        ("promote", {}, "Version 4 is better than version 3.", "a comparison that version 4 has passed"),
        ("roll_back", {}, "Version 4 is worse than version 3.", "Version 4 is rejected"),
        ("roll_back", {"cause": "harm"}, "Version 4 does harm, so the experiment was stopped early.", "is rejected"),
        ("no_difference", {}, "No difference between version 4 and version 3 is shown.", "--max-outcomes …"),
        (
            "mismatch", {"cause": "labels"},
            "The experiment is not valid: the arms get labels at different rates.", "Find out why the arms differ",
        ),
    ],
)  # fmt: skip
def test_page_says_the_result_first_and_what_follows(verdict, more, headline, what_follows):
    body = evaluation(verdict, **more)
    assert page(body).headline == headline
    assert what_follows in shown(body)


@pytest.mark.parametrize(("outcome", "said"), [("stopped", "A person stopped"), ("void", "without a result")])
def test_page_of_an_experiment_that_the_ledger_ended_otherwise_says_so(outcome, said):
    ended = {"outcome": outcome, "sentence": "experiment-1: ada stopped it: <b>late</b>."}
    assert said in page(evaluation("running"), ended).headline
    assert page(evaluation("running"), ended).lead == "ada stopped it: <b>late</b>."
    assert "<b>late" not in html.render(page(evaluation("running"), ended))


def test_page_shows_bounds_arms_split_and_rules():
    whole = shown(evaluation())
    for part in (
        "The improvement of the Brier score is −0.0253, between −0.0569 and +0.0063.",
        "The challenger answered 11,048 of 22,096 rows; 10,970 were expected.",
        "95.2% of the challenger's matured rows have a label, 95% of the champion's.",
        "Version 4 answers 50 % of the entities",
        "Without a result, the experiment ends after 20,000 outcomes or 61 days.",
        "There is no result before the rows span 7 days.",
    ):
        assert part in whole


def test_page_draws_the_bounds_over_time_where_they_were_stored():
    path = [
        {"at": f"2013-12-{day:02}T00:00:00+00:00", "n": 900 * day, "improvement": -0.02, "lower": low, "upper": 0.1}
        for day, low in ((2, None), (3, -0.2), (4, -0.1))
    ]
    charts = [
        block.chart
        for section in page(evaluation(path=path)).sections
        for block in section.blocks
        if isinstance(block, Figure)
    ]
    [trend] = [chart for chart in charts if isinstance(chart, Trend)]
    assert [(point.lower, point.n) for point in trend.points] == [(None, 1_800), (-0.2, 2_700), (-0.1, 3_600)]
    assert not any(isinstance(block, Trend) for block in page(evaluation()).sections)


def test_page_without_outcomes_has_no_gaps():
    none = dict.fromkeys(("improvement", "lower_bound", "upper_bound"))
    arm = {"n": 0, "unusable": 0, "mean_loss": None, "assigned": 0, "matured": 0, "labelled": 0, "coverage": None}
    body = evaluation("running", n=0, **none, champion={**arm, "version": 3}, challenger={**arm, "version": 4})
    whole = shown(body)
    assert "too few outcomes" in whole
    assert "None" not in whole


def test_page_of_a_shadow_experiment_has_no_split():
    body = evaluation(plan={**PLAN, "mode": "shadow", "stages": []})
    assert "Is it valid?" not in {section.title for section in page(body).sections}
    assert "scores every request in shadow mode" in shown(body)


def test_page_of_an_experiment_of_0_1_0_is_the_same():
    old = {"matured_until": "mature_until", "expected_challenger": "expected", "early_harm_bound": "bearable"}
    body = {old.get(name, name): value for name, value in evaluation().items()}
    for who in ("champion", "challenger"):
        arm = {"matured": "due", "unusable": "left_out"}
        body[who] = {arm.get(name, name): value for name, value in body[who].items()}
    assert page(body) == page(evaluation())


@pytest.mark.parametrize(("alpha", "confidence"), [(0.05, "95.0%"), (0.025, "97.5%"), (0.0005, "99.95%")])
def test_page_writes_a_confidence_below_100_percent_as_it_is(alpha, confidence):
    assert f"Each bound holds with {confidence} confidence" in shown(evaluation(plan={**PLAN, "alpha": alpha}))


def test_page_says_that_evidence_about_the_split_is_the_highest_of_any_time():
    whole = shown(evaluation())
    assert "not split as planned was at no time more than 4.44 to 1; 1,000 to 1 ends the experiment." in whole
    assert "one arm gets fewer labels was at no time more than 2.1 to 1." in whole
