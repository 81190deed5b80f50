"""``keel up`` replays the same year after every restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

import keel.cli.standalone.replay
from keel.cli.standalone import up


class Killed(BaseException):
    """The process was killed."""


@pytest.fixture
def starts(monkeypatch):
    """Shifts in days that each start replayed and bootstrapped; no server starts."""
    seen = {"replayed": [], "bootstrapped": []}

    def history(config, shift):
        seen["replayed"].append(shift.days)

    monkeypatch.setattr(keel.cli.standalone.replay, "labelled_history", history)
    monkeypatch.setattr(up, "Stack", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    return seen


def start(monkeypatch, home, seen, day, *, killed=False):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 3, day, 15, 30, tzinfo=tz)

    def bootstrap(home, config, flights, shift, progress):
        seen["bootstrapped"].append(shift.days)
        if killed:
            raise Killed

    monkeypatch.setattr(up, "datetime", Clock)
    monkeypatch.setattr(up, "bootstrap", bootstrap)
    up.up(home)


def test_up_after_a_killed_bootstrap_continues_with_the_same_year(tmp_path, monkeypatch, starts):
    home = tmp_path / "keel"
    with pytest.raises(Killed):
        start(monkeypatch, home, starts, 5, killed=True)
    start(monkeypatch, home, starts, 7)
    start(monkeypatch, home, starts, 9)
    shift = (datetime(2026, 3, 5, tzinfo=UTC) - up.PRESENT).days
    assert starts == {"replayed": [shift] * 3, "bootstrapped": [shift] * 2}
    assert json.loads((home / "replay.json").read_text()) == {"shift_days": shift, "ready": True}


def test_replay_plan_without_the_ready_flag_is_ready(tmp_path):
    (tmp_path / "replay.json").write_text('{"shift_days": 3}')
    assert up.replay_plan(tmp_path, now=datetime(2026, 3, 5, tzinfo=UTC)) == up.ReplayPlan(timedelta(days=3), True)
