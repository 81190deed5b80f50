"""The page of a probation: the result, its evidence against the limits, and what follows."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from keel.monitoring.records import StoredProbationReport
from keel.reports import text
from keel.reports.charts.specs import Trend
from keel.reports.page import Figure
from keel.reports.production.probation import MAX_POINTS, ProbationData, page

SINCE = datetime(2013, 7, 1, tzinfo=UTC)


def evidence_of(evidence, crossed_at=None):
    return {"evidence": evidence, "threshold": 100.0, "crossed_at": crossed_at, "crossed_by": "loss", "blocks": 60}


def report(verdict="watching", **more):
    values = {
        "verdict": verdict, "sentence": "As it is.", "n": 5_979, "version": 3, "previous": 1, "metric": "brier",
        "loss": "Brier score", "current_loss": 0.188, "previous_loss": 0.192, "baseline_limit": 0.2004,
        "pairs_lost": 0.004, "harm": evidence_of(1.0), "baseline": evidence_of(3.0), **more,
    }  # fmt: skip
    return StoredProbationReport.from_dict(values)


def data(newest, *, path=(), until=SINCE + timedelta(days=7), evaluated=5, on_probation=True):
    at = SINCE + timedelta(days=evaluated)
    return ProbationData("flight_delay", 3, newest, SINCE, at, tuple(path), until, on_probation)


@pytest.mark.parametrize(
    ("evaluated", "extended", "until", "span"),
    [
        (5, None, 7, "1 to 6 July 2013"),
        (31, None, 7, "1 to 8 July 2013"),
        (31, 14, 7, "1 to 15 July 2013"),
        (31, None, None, "1 July to 1 August 2013"),
    ],
    ids=["running", "evaluated late", "extended", "not in the ledger"],
)
def test_page_spans_the_predictions_that_count_however_late_they_were_evaluated(evaluated, extended, until, span):
    ends = [None if days is None else SINCE + timedelta(days=days) for days in (extended, until)]
    before = (SINCE + timedelta(days=8), report("inconclusive", extended_until=ends[0]))
    found = page(data(report("survived"), path=[before], until=ends[1], evaluated=evaluated))
    assert found.eyebrow.endswith(f"5,979 labelled predictions · {span}")


def test_page_of_an_ended_probation_does_not_say_that_it_is_evaluated_again():
    found = page(data(report("inconclusive"), on_probation=False))
    assert found.facts[-1].lines == ("the probation has ended",)
    assert "end-probation" not in text.plain(found, width=1_000)


@pytest.mark.parametrize(
    ("verdict", "headline", "what_follows"),
    [
        ("watching", "Version 3 is on probation, and nothing shows harm so far.", "keel versions end-probation"),
        ("harm", "Version 3 is worse than version 1, the version before it.", "rolls back to version 1"),
        ("broken_promise", "not shown to be worse than version 1", "keel report flight_delay"),
        ("survived", "Version 3 passed its probation.", "Version 3 stays in production"),
        ("inconclusive", "There is not enough evidence to call version 3 harmless.", "end-probation flight_delay 3"),
    ],
)
def test_page_says_the_result_first_and_what_follows(verdict, headline, what_follows):
    found = page(data(report(verdict)))
    assert headline in found.headline
    assert what_follows in text.plain(found, width=1_000)


def test_page_shows_losses_evidence_and_what_is_missing():
    newest = report("inconclusive", harm=evidence_of(250.0, 4_321), missing=["there are 3 blocks, and 11 are needed"])
    whole = text.plain(page(data(newest)), width=1_000)
    for part in (
        "0.2004",
        "250 to 1",
        "Highest evidence",
        "shown after 4,321",
        "there are 3 blocks, and 11 are needed",
        "0.4 fewer",
    ):
        assert part in whole


def test_page_draws_the_evidence_on_a_logarithmic_scale_up_to_its_limit():
    path = [(SINCE + timedelta(hours=h), report(harm=evidence_of(e))) for h, e in ((1, 1.0), (2, 10.0), (3, 100.0))]
    charts = [b.chart for s in page(data(report(), path=path)).sections for b in s.blocks if isinstance(b, Figure)]
    [trend] = [chart for chart in charts if isinstance(chart, Trend)]
    assert [point.value for point in trend.points] == pytest.approx([0, 0.5, 1])
    assert trend.levels[0].value == 1
    assert trend.others[0][1][0].value == pytest.approx(math.log(3) / math.log(100))


def test_page_of_a_first_version_without_labels_has_no_gaps():
    bare = StoredProbationReport(verdict="watching", sentence="The version is on probation: no labels.", version=1)
    whole = text.plain(page(data(bare, until=None)), width=1_000)
    assert "Nothing could be tested yet." in whole
    assert "None" not in whole


def test_page_of_more_evaluations_than_are_drawn_ends_with_the_newest():
    path = [(SINCE + timedelta(hours=hour), report()) for hour in range(MAX_POINTS + 2)]
    charts = [b.chart for s in page(data(report(), path=path)).sections for b in s.blocks if isinstance(b, Figure)]
    [trend] = [chart for chart in charts if isinstance(chart, Trend)]
    assert len(trend.points) <= MAX_POINTS
    assert trend.points[-1].time == path[-1][0]
    assert trend.others[0][1][-1].time == path[-1][0]
