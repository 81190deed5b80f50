"""``keel up`` replays one and the same year, whenever it was started and however often it was stopped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

import keel.cli.standalone.replay
from keel.cli.standalone import up


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def starts(monkeypatch):
    """What each start replayed and bootstrapped, by its shift in days; servers are left out."""
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
    monkeypatch.setattr(up, "_bootstrap", bootstrap)
    up.up(home)


def test_a_bootstrap_that_was_killed_goes_on_with_the_same_year_another_day(tmp_path, monkeypatch, starts):
    home = tmp_path / "keel"
    with pytest.raises(Killed):
        start(monkeypatch, home, starts, 5, killed=True)
    start(monkeypatch, home, starts, 7)
    start(monkeypatch, home, starts, 9)
    shift = (datetime(2026, 3, 5, tzinfo=UTC) - up.PRESENT).days
    assert starts == {"replayed": [shift] * 3, "bootstrapped": [shift] * 2}
    assert json.loads((home / "replay.json").read_text()) == {"shift_days": shift, "ready": True}


def test_a_home_from_before_is_ready(tmp_path):
    (tmp_path / "replay.json").write_text('{"shift_days": 3}')
    assert up._replay_plan(tmp_path, now=datetime(2026, 3, 5, tzinfo=UTC)) == up.ReplayPlan(timedelta(days=3), True)
