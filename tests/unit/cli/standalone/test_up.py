"""``keel up`` replays the same year after every restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

import keel.cli.standalone.replay
from keel.cli.standalone import up
from keel.config import MODELS_FOLDER, load_models


class Killed(BaseException):
    """The process was killed."""


class Servers:
    """In place of a stack: no server starts."""

    def __init__(self, home, **options):
        self.home, self.options = home, options
        self.airflow_url, self.mlflow_url, self.serving_url = "http://airflow", "http://mlflow", "http://serving"
        self.username, self.password, self.store_url, self.logs = "admin", "secret", "sqlite://", home / "logs"

    def __enter__(self):
        starts.append(self)
        return self

    def __exit__(self, *_):
        pass


starts: list[Servers] = []


@pytest.fixture
def seen(monkeypatch):
    """Shifts in days that each start replayed and bootstrapped; the traffic is interrupted at once."""
    starts.clear()
    found = {"replayed": [], "bootstrapped": []}

    def history(config, shift):
        found["replayed"].append(shift.days)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(keel.cli.standalone.replay, "labelled_history", history)
    monkeypatch.setattr(up, "Stack", Servers)
    monkeypatch.setattr(up, "_traffic", interrupted)
    return found


def start(monkeypatch, home, seen, day, *, killed=False):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 3, day, 15, 30, tzinfo=tz)

    def bootstrap(stack, config, flights, shift, progress):
        seen["bootstrapped"].append(shift.days)
        if killed:
            raise Killed

    monkeypatch.setattr(up, "datetime", Clock)
    monkeypatch.setattr(up, "bootstrap", bootstrap)
    up.up(home)


def test_up_after_a_killed_bootstrap_continues_with_the_same_year(tmp_path, monkeypatch, seen):
    home = tmp_path / "keel"
    with pytest.raises(Killed):
        start(monkeypatch, home, seen, 5, killed=True)
    start(monkeypatch, home, seen, 7)
    start(monkeypatch, home, seen, 9)
    shift = (datetime(2026, 3, 5, tzinfo=UTC) - up.PRESENT).days
    assert seen == {"replayed": [shift] * 3, "bootstrapped": [shift] * 2}
    assert json.loads((home / "replay.json").read_text()) == {"shift_days": shift, "ready": True}


def test_replay_plan_without_the_ready_flag_is_ready(tmp_path):
    (tmp_path / "replay.json").write_text('{"shift_days": 3}')
    assert up.replay_plan(tmp_path, now=datetime(2026, 3, 5, tzinfo=UTC)) == up.ReplayPlan(timedelta(days=3), True)


def test_first_start_starts_the_servers_once_and_prints_the_addresses(tmp_path, monkeypatch, seen, capsys):
    start(monkeypatch, tmp_path / "keel", seen, 5)
    assert len(starts) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "reading a year of flights",
        *up.addresses(starts[0]),
        "stopped; the same command continues where it stopped",
    ]


def test_up_names_an_invalid_model_and_starts(tmp_path, monkeypatch, seen, capsys):
    for name, text in ((up.MODEL, (MODELS_FOLDER / up.MODEL / "model.yaml").read_text()), ("mast", "model: mast")):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.yaml").write_text(text)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    start(monkeypatch, tmp_path / "keel", seen, 5)
    assert len(starts) == 1
    assert f"not started: {tmp_path / 'models' / 'mast' / 'model.yaml'}: target: " in capsys.readouterr().err


def test_up_allows_requests_of_the_past_for_its_own_model_only(tmp_path, monkeypatch, seen):
    start(monkeypatch, tmp_path / "keel", seen, 5)
    text = (MODELS_FOLDER / up.MODEL / "model.yaml").read_text()
    for name in (up.MODEL, "other"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.yaml").write_text(text.replace(f"model: {up.MODEL}", f"model: {name}"))
    given, plain = (
        load_models(tmp_path / "models", environment) for environment in (starts[0].options["environment"], {})
    )
    assert given[up.MODEL].serving.max_age == timedelta(days=365)
    assert given["other"] == plain["other"]


def test_the_page_comes_first_with_the_login(tmp_path) -> None:
    first = up.addresses(Servers(tmp_path))[0]
    assert first.split() == ["Page", "http://airflow/plugin/keel", "user", "admin,", "password", "secret"]
