"""How often the rows of a holdout were looked at: no look that could have promoted is forgotten."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from keel.registry.registry import Registry
from keel.rollout.holdout_reuse import identity_of, prior_comparisons
from keel.workspace import Workspace
from tests.support.store_fixtures import NOON

DAY = timedelta(days=1)
SPAN = (NOON, NOON + 14 * DAY)


@pytest.fixture
def ws(store):
    return Workspace(Path(), store, Registry("http://127.0.0.1:9"))


def asked(challenger=2, decision="retrain-1", champion=1):
    return {"champion": champion, "challenger": challenger, "decision_id": decision}


def window(span):
    return {"start": span[0].isoformat(), "end": span[1].isoformat()}


def look(ws, about, *, rows=1_000, verdict="fail", span=SPAN, at=NOON):
    """Compare as the gate does; return the record's id and how many looks it counted."""
    identity = identity_of(ws, "toy", about, window(span), rows=rows)
    before = prior_comparisons(ws, "toy", identity, about, window(span), rows=rows)
    body = {
        "verdict": verdict, "n": rows and rows - 10, "n_left_out": {"total": rows and 10},
        "champion": about["champion"], "challenger": about["challenger"],
    }  # fmt: skip
    ws.store.reports.put(identity, "toy", about["challenger"], "comparison", *span, verdict, body, at)
    return identity, before


def test_each_look_at_some_of_the_rows_counts_however_many_and_however_long_ago(ws):
    for number in range(130):
        later = number * timedelta(hours=1)
        _, before = look(
            ws, asked(number + 2, f"retrain-{number}"), span=(SPAN[0] + later, SPAN[1] + later), at=NOON + later
        )
        assert before == number
    for number in range(120):  # what compared no rows is no look, and pushes none out
        look(ws, asked(2, f"none-{number}"), rows=0, verdict="inconclusive", at=NOON + 9 * DAY)
    assert look(ws, asked(999), at=NOON + 10 * DAY)[1] == 130
    apart = (SPAN[1] + 6 * DAY, SPAN[1] + 20 * DAY)
    assert look(ws, asked(1_000), span=apart, at=NOON + 10 * DAY)[1] == 0


@pytest.mark.parametrize("verdict", ["pass", "inconclusive"])
def test_an_offered_version_that_is_compared_once_more_is_one_look_though_labels_came(ws, verdict):
    first, _ = look(ws, asked(), verdict=verdict)
    second, before = look(ws, asked(decision="promote-1"), rows=1_100, at=NOON + DAY)
    assert (before, second != first) == (0, True)
    assert look(ws, asked(3, "retrain-2"), at=NOON + 2 * DAY)[1] == 2  # that which said no in the end, and the offer


def test_who_was_told_no_pays_for_another_look_once_labels_have_come(ws):
    first, _ = look(ws, asked())
    same, before = look(ws, asked(decision="promote-1"), at=NOON + DAY)
    assert before == 0  # the same rows say the same
    assert look(ws, asked(decision="promote-2"), rows=1_100, at=NOON + 2 * DAY)[1] == 1
    assert look(ws, asked(decision="promote-3"), rows=1_200, at=NOON + 3 * DAY)[1] == 2
    assert same != first


def test_a_run_that_is_cleared_has_its_record_and_another_one_for_other_rows(ws):
    first, _ = look(ws, asked())
    assert look(ws, asked(), at=NOON + DAY) == (first, 0)
    cleared, before = look(ws, asked(), rows=1_100, at=NOON + DAY)
    assert (cleared != first, before) == (True, 1)
    assert look(ws, asked(), rows=1_100, at=NOON + 2 * DAY) == (cleared, 1)
    assert look(ws, asked(), rows=1_200, at=NOON + 3 * DAY)[1] == 2
    assert look(ws, asked(), at=NOON + 4 * DAY) == (first, 0)
