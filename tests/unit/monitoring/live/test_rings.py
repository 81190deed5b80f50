from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keel.monitoring.live.rings import FIRST_INTERVAL, LONGEST_INTERVAL, ring_reason

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def alarm(**changed: Any) -> dict[str, Any]:
    """An alarm that has rung once, at noon."""
    rung = {"rings": 1, "last_ring_at": NOON, "ring_evidence": 8.0, "ring_rows": 100}
    return {"evidence": 8.0, "rows_since": 100, **rung, **changed}


def reason(after: timedelta = MINUTE, **changed: Any) -> str | None:
    return ring_reason(alarm(**changed), now=NOON + after, min_rows=500)


def test_ring_reason_of_an_alarm_that_has_not_rung_is_that_it_opened():
    assert reason(rings=0, last_ring_at=None, ring_evidence=None, ring_rows=None) == "opened"


def test_ring_reason_soon_after_a_ring_is_none():
    assert reason() is None
    assert reason(evidence=10.9, rows_since=499) is None


@pytest.mark.parametrize(("told", "worse"), [(0.5, 3.5), (2.0, 5.0), (8.0, 16.0), (50.0, 100.0)])
def test_ring_reason_of_evidence_that_has_grown_by_three_decades_and_to_the_double_is_that_it_is_worse(told, worse):
    assert reason(ring_evidence=told, evidence=worse - 0.1) is None
    assert reason(ring_evidence=told, evidence=worse) == "worse"


def test_ring_reason_when_a_check_first_has_enough_rows_is_given_once():
    assert reason(rows_since=500) == "enough rows for a check"
    assert reason(rows_since=600, ring_rows=500) is None


def test_ring_reason_of_a_fault_without_evidence_is_that_it_is_still_open():
    fault = {"evidence": None, "ring_evidence": None, "rows_since": 0, "ring_rows": None}
    assert reason(**fault) is None
    assert reason(FIRST_INTERVAL, **fault) == "still open"


def test_rings_of_an_alarm_that_nobody_judges_grow_rarer_and_never_end():
    now, at, rings = NOON, NOON, []
    opened = alarm()
    for _ in range(4 * 24 * 60):
        now += MINUTE
        if ring_reason({**opened, "rings": len(rings) + 1, "last_ring_at": at}, now=now, min_rows=500):
            rings.append(now - at)
            at = now
    assert rings[:3] == [FIRST_INTERVAL, 2 * FIRST_INTERVAL, 4 * FIRST_INTERVAL]
    assert rings[-1] == LONGEST_INTERVAL
    assert 15 < len(rings) < 25


def test_ring_reason_by_a_clock_that_went_back_is_that_it_is_still_open():
    assert reason(-timedelta(days=365)) == "still open"
    assert reason(-timedelta(seconds=20)) is None  # the clocks of two machines
