"""Uses of a holdout: every comparison that could have promoted a version is counted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from keel.monitoring.records import ComparisonRecord, PromotionRequest, Span
from keel.registry.registry import Registry
from keel.rollout.holdout_reuse import comparison_id, prior_comparisons
from keel.window import Window
from keel.workspace import Workspace
from tests.support.store_fixtures import NOON

DAY = timedelta(days=1)
SPAN = (NOON, NOON + 14 * DAY)


@pytest.fixture
def ws(store):
    return Workspace(Path(), store, Registry("http://127.0.0.1:9"))


def asked(challenger=2, decision="retrain-1", champion=1):
    return PromotionRequest(
        decision_id=decision,
        model="toy",
        version=champion,
        window=Window(*SPAN),
        sentence="requested",
        champion=champion,
        challenger=challenger,
        holdout=Span(start=SPAN[0], end=SPAN[1]),
        until=SPAN[1],
    )


def compare(ws, request, *, rows=1_000, verdict="fail", span=SPAN, at=NOON):
    """Store a comparison as the gate does; return its id and how many prior comparisons it counted."""
    holdout = Span(start=span[0], end=span[1])
    identity = comparison_id(ws, request, holdout, rows=rows)
    before = prior_comparisons(ws, identity, request, holdout, rows=rows)
    comparison = ComparisonRecord(
        report_id=identity,
        decision_id=request.decision_id,
        model="toy",
        champion=request.champion,
        challenger=request.challenger,
        verdict=verdict,
        n=rows and rows - 10,
        n_excluded={"total": rows and 10},
        holdout=holdout,
        reason="",
        sentence="",
    )
    ws.store.reports.put(identity, "toy", request.challenger, "comparison", *span, verdict, comparison.to_dict(), at)
    return identity, before


def test_prior_comparisons_counts_every_comparison_on_some_of_the_rows_however_old(ws):
    for number in range(130):
        later = number * timedelta(hours=1)
        _, before = compare(
            ws, asked(number + 2, f"retrain-{number}"), span=(SPAN[0] + later, SPAN[1] + later), at=NOON + later
        )
        assert before == number
    for number in range(120):  # a comparison without rows counts nothing, and displaces none
        compare(ws, asked(2, f"none-{number}"), rows=0, verdict="inconclusive", at=NOON + 9 * DAY)
    assert compare(ws, asked(999), at=NOON + 10 * DAY)[1] == 130
    apart = (SPAN[1] + 6 * DAY, SPAN[1] + 20 * DAY)
    assert compare(ws, asked(1_000), span=apart, at=NOON + 10 * DAY)[1] == 0


@pytest.mark.parametrize("verdict", ["pass", "inconclusive"])
def test_prior_comparisons_counts_a_staged_version_compared_again_once_though_labels_came(ws, verdict):
    first, _ = compare(ws, asked(), verdict=verdict)
    second, before = compare(ws, asked(decision="promote-1"), rows=1_100, at=NOON + DAY)
    assert (before, second != first) == (0, True)
    assert compare(ws, asked(3, "retrain-2"), at=NOON + 2 * DAY)[1] == 2  # the failed comparison, and the one before it


def test_prior_comparisons_counts_a_failed_comparison_again_once_labels_have_come(ws):
    first, _ = compare(ws, asked())
    same, before = compare(ws, asked(decision="promote-1"), at=NOON + DAY)
    assert before == 0  # the same rows give the same
    assert compare(ws, asked(decision="promote-2"), rows=1_100, at=NOON + 2 * DAY)[1] == 1
    assert compare(ws, asked(decision="promote-3"), rows=1_200, at=NOON + 3 * DAY)[1] == 2
    assert same != first


def test_comparison_id_is_the_same_for_a_cleared_run_and_another_for_other_rows(ws):
    first, _ = compare(ws, asked())
    assert compare(ws, asked(), at=NOON + DAY) == (first, 0)
    cleared, before = compare(ws, asked(), rows=1_100, at=NOON + DAY)
    assert (cleared != first, before) == (True, 1)
    assert compare(ws, asked(), rows=1_100, at=NOON + 2 * DAY) == (cleared, 1)
    assert compare(ws, asked(), rows=1_200, at=NOON + 3 * DAY)[1] == 2
    assert compare(ws, asked(), at=NOON + 4 * DAY) == (first, 0)
