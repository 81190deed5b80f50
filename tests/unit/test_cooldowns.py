"""Cooldowns ask about the time of the data, whatever was decided since on other windows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keel import loop
from keel.monitoring.records import DecisionRecord
from keel.workspace import Workspace
from tests.support.store_fixtures import NOON
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.store import Store

CONFIG = toy_config()
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(params=[-30, 30], ids=["a backfill of older windows", "newer windows"])
def ws(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    """A store with an alert and a retrain at noon, and two hundred decisions on windows of another month since."""
    for action in ("raise_alert", "retrain"):
        put(store, f"{action} at noon", action, end=NOON, made_at=NOON)
    for number in range(200):
        action, end = ("raise_alert", "retrain")[number % 2], NOON + request.param * DAY + number % 24 * HOUR
        put(store, f"later {number}", action, end=end, made_at=NOON + 90 * DAY + number * HOUR)
    return Workspace(tmp_path, store, None)  # type: ignore[arg-type]  # nothing here reads the registry


def put(store: Store, identity: str, action: str, *, end: Any, made_at: Any) -> DecisionRecord:
    window = {"start": (end - DAY).isoformat(), "end": end.isoformat()}
    body = {
        "decision_id": identity, "model": "toy", "version": 1, "window": window, "action": action,
        "sentence": "z has drifted.", "about": ["drift: z"],
    }  # fmt: skip
    store.decisions.put(identity, "toy", 1, end - DAY, end, action, "z has drifted.", body, "run", made_at)
    decision = DecisionRecord.from_dict(body)
    loop.record(Workspace(Path(), store, None), CONFIG, decision, None, channels=["outbox"])  # type: ignore[arg-type]
    return decision


def test_last_retrain_is_that_of_the_latest_window_before_the_end(ws: Workspace) -> None:
    last = ws.store.decisions.last_window_end
    assert last("toy", "retrain", until=NOON + HOUR, without={"another"}) == NOON
    assert last("toy", "retrain", until=NOON + HOUR, without={"another", "retrain at noon"}) != NOON
