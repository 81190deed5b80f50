"""When a check was, when the next one is due, and from when on it is overdue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keel import deployments
from keel.deployments.history import Deployment
from keel.monitoring.check_times import GRACE, check_times
from keel.registry.registry import Registry
from keel.workspace import Workspace
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.store import Store

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERY_SIX_HOURS = toy_config(check={"schedule": "0 */6 * * *"})


@pytest.fixture
def ws(store: Store, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, store, Registry(f"sqlite:///{tmp_path / 'mlflow.db'}"))


def deploy(store: Store, at: datetime, version: int = 1) -> None:
    before = deployments.read(store, "toy")
    deployments.transitions.swap(
        store, before, Deployment("toy", version), actor="tests", action="promote",
        body={"evidence": {"sentence": "Promoted."}}, now=at, statuses={},
    )  # fmt: skip


def decide(store: Store, at: datetime, *, prefix: str = "decision", **more: Any) -> None:
    values = {"window_start": None, "window_end": None, "sentence": "", "body": {}, "run_id": None, **more}
    store.decisions.put(f"{prefix}-{at.isoformat()}", "toy", 1, action="all_clear", created_at=at, **values)


def test_model_without_a_version_or_a_schedule_has_no_check_that_is_due(ws: Workspace) -> None:
    assert check_times(ws, EVERY_SIX_HOURS).due is None
    deploy(ws.store, NOON)
    assert check_times(ws, toy_config()).due is None
    assert not check_times(ws, toy_config()).is_overdue(NOON + 999 * HOUR)


def test_first_check_is_due_at_the_first_time_of_the_schedule_after_the_promotion(ws: Workspace) -> None:
    deploy(ws.store, NOON + HOUR)
    times = check_times(ws, EVERY_SIX_HOURS)
    assert (times.last, times.due) == (None, NOON + 6 * HOUR)
    assert not times.is_overdue(NOON + 6 * HOUR + GRACE)
    assert times.is_overdue(NOON + 6 * HOUR + GRACE + timedelta(seconds=1))


def test_check_that_does_not_come_stays_the_one_that_is_due(ws: Workspace) -> None:
    deploy(ws.store, NOON - 60 * HOUR)
    decide(ws.store, NOON + timedelta(minutes=3))
    times = check_times(ws, EVERY_SIX_HOURS)
    assert (times.last, times.due) == (NOON + timedelta(minutes=3), NOON + 6 * HOUR)
    assert times.is_overdue(NOON + 50 * HOUR)


def test_check_counts_when_it_decided_whatever_the_time_of_its_data(ws: Workspace) -> None:
    deploy(ws.store, NOON)
    years_ago = NOON - 24 * 365 * HOUR
    decide(ws.store, NOON + 7 * HOUR, window_start=years_ago, window_end=years_ago + HOUR)
    assert check_times(ws, EVERY_SIX_HOURS).due == NOON + 12 * HOUR


def test_decisions_that_are_no_checks_and_reports_without_a_decision_do_not_count(ws: Workspace) -> None:
    deploy(ws.store, NOON)
    decide(ws.store, NOON + 7 * HOUR, prefix="watch")
    decide(ws.store, NOON + 7 * HOUR, prefix="request")
    ws.store.reports.put("drift-1", "toy", 1, "drift", NOON, NOON + HOUR, "ok", {}, NOON + 7 * HOUR)
    times = check_times(ws, EVERY_SIX_HOURS)
    assert (times.last, times.due) == (None, NOON + 6 * HOUR)


def test_check_that_runs_again_is_no_new_check(ws: Workspace) -> None:
    deploy(ws.store, NOON)
    decide(ws.store, NOON + 7 * HOUR)
    values = {"window_start": None, "window_end": None, "sentence": "", "body": {}, "run_id": None}
    again = f"decision-{(NOON + 7 * HOUR).isoformat()}"
    ws.store.decisions.put(again, "toy", 1, action="all_clear", created_at=NOON + 20 * HOUR, **values)
    assert check_times(ws, EVERY_SIX_HOURS).due == NOON + 12 * HOUR


def test_version_that_is_promoted_later_waits_for_its_own_first_check(ws: Workspace) -> None:
    deploy(ws.store, NOON)
    decide(ws.store, NOON + HOUR)
    deploy(ws.store, NOON + 8 * HOUR, version=2)
    assert check_times(ws, EVERY_SIX_HOURS).due == NOON + 12 * HOUR
