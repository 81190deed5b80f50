"""The poll on a real store. Models of these tests have no version, so their monitors have nothing to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from keel.errors import ConfigError
from keel.monitoring.live.poll import (
    MODEL_FAILURES,
    REFRESH_SECONDS,
    REOPEN_SECONDS,
    STORE_FAILURES,
    Pass,
    Poll,
    poll_seconds,
)
from keel.monitoring.records import LiveAlarm
from keel.workspace import Workspace
from tests.support.paths import PROJECT

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
MODELS = {"tide", "ebb"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Installation:
    """Two configured models, a store, and a poll of both, all at the command of a test."""

    def __init__(self, home: Path, models: Path) -> None:
        self.home, self.models = home, models
        self.clock = Clock()
        self.opened = 0
        self.poll = self.new_poll()
        for model in MODELS:
            self.configure(model)

    def new_poll(self) -> Poll:
        return Poll(self.open, clock=self.clock)

    def open(self) -> Workspace:
        self.opened += 1
        return Workspace.open(home=self.home, environment={})

    def configure(self, model: str, text: str | None = None) -> None:
        original = PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml"
        (self.models / model).mkdir(exist_ok=True, parents=True)
        whole = original.read_text().replace("model: tide", f"model: {model}")
        (self.models / model / "model.yaml").write_text(whole if text is None else text)

    def run(self, seconds: float = 5.0) -> Pass:
        """Let time pass, then run once."""
        self.clock.now += seconds
        return self.poll.run(MODELS, now=NOON + timedelta(seconds=self.clock.now))

    def open_alarm(self, model: str, alarm_id: str) -> None:
        alarm = LiveAlarm(
            alarm_id=alarm_id, model=model, version=1, kind="fault", subject=alarm_id, opened_at=NOON, since=NOON,
            sentence="told by a test",
        )  # fmt: skip
        with self.open() as ws:
            assert ws.store.live.add_fault(alarm.to_dict())

    def alarms(self, model: str) -> list[dict[str, object]]:
        with self.open() as ws:
            return ws.store.live.open_alarms(model)

    def run_until_rung(self, most: int = 100) -> Pass:
        for _ in range(most):
            passed = self.run()
            if passed.rings:
                return passed
        raise AssertionError("no ring")


@pytest.fixture
def keel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    installation = Installation(tmp_path / "home", tmp_path / "models")
    yield installation
    installation.poll.close()


def statements(keel: Installation, do: Callable[[], object]) -> list[str]:
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        do()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return seen


def test_run_when_nothing_has_arrived_is_one_query_for_all_models(keel: Installation) -> None:
    keel.run()

    [query] = statements(keel, keel.run)

    assert "arrival_numbers" in query
    assert keel.opened == 1


def test_run_rings_for_an_open_alarm_once_and_stores_that_it_rang(keel: Installation) -> None:
    keel.run()
    keel.open_alarm("tide", "a1")

    passed = keel.run(REFRESH_SECONDS)

    [ring] = passed.rings
    assert ring.to_dict() == {"model": "tide", "reasons": ["opened"], "alarm_ids": ["a1"]}
    assert keel.run().rings == ()  # it is on its way
    keel.poll.told(ring, heard=True)
    assert keel.run().rings == ()
    assert [alarm["rings"] for alarm in keel.alarms("tide")] == [1]


def test_run_after_a_ring_that_did_not_arrive_rings_again(keel: Installation) -> None:
    keel.open_alarm("tide", "a1")
    [ring] = keel.run().rings

    keel.poll.told(ring, heard=False)

    assert keel.run().rings == (ring,)
    assert [alarm["rings"] for alarm in keel.alarms("tide")] == [0]


def test_run_of_a_process_after_one_that_was_killed_rings_for_what_that_had_found(keel: Installation) -> None:
    keel.open_alarm("tide", "a1")
    [ring] = keel.run().rings
    keel.poll.close()

    keel.poll = keel.new_poll()

    assert keel.run().rings == (ring,)


def test_run_rings_again_while_an_alarm_is_open_and_not_when_a_check_has_judged_it(keel: Installation) -> None:
    keel.open_alarm("tide", "a1")
    [ring] = keel.run().rings
    keel.poll.told(ring, heard=True)
    keel.run()
    assert keel.run(240).rings == ()
    [again] = keel.run(120).rings
    assert again.reasons == ("still open",)
    keel.poll.told(again, heard=True)
    keel.run()
    with keel.open() as ws:
        ws.store.live.judge("tide", {"a1": "confirmed"}, "d1")

    assert [keel.run(400).rings for _ in range(5)] == [()] * 5


def test_run_with_an_invalid_configuration_tells_people_and_holds_up_no_other_model(keel: Installation) -> None:
    keel.configure("ebb", "model: ebb\ntraget: oops\n")
    keel.open_alarm("tide", "a1")

    assert [ring.model for ring in keel.run().rings] == ["tide"]
    [ring] = keel.run_until_rung().rings

    assert ring.model == "ebb"
    [alarm] = keel.alarms("ebb")
    assert (alarm["kind"], alarm["subject"]) == ("fault", "monitoring")
    assert "ebb/model.yaml: target: required key is missing (and 2 more)" in str(alarm["sentence"])
    assert f"{MODEL_FAILURES} times" in str(alarm["sentence"])


def test_run_of_a_failing_model_waits_longer_each_time(keel: Installation, caplog: pytest.LogCaptureFixture) -> None:
    keel.configure("ebb", "model: ebb\n")
    for _ in range(180):  # an hour
        keel.run(20)

    tries = [record for record in caplog.records if "monitors of ebb failed" in record.getMessage()]
    assert 8 <= len(tries) <= 12


def test_run_of_a_model_that_works_again_says_so_and_forgets_its_failures(
    keel: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    keel.configure("ebb", "model: ebb\n")
    keel.run()
    keel.configure("ebb")
    caplog.set_level("INFO")

    for _ in range(30):
        keel.run()

    assert [r.getMessage() for r in caplog.records if "again" in r.getMessage()] == [
        "the live monitors of ebb work again"
    ]


def test_run_without_a_store_waits_and_then_rings_for_every_model(keel: Installation) -> None:
    shutil.rmtree(keel.home, ignore_errors=True)
    keel.home.mkdir(parents=True)
    (keel.home / "keel.db").mkdir()  # a folder where the file should be: it cannot be opened

    passed = keel.run_until_rung()

    assert {ring.model for ring in passed.rings} == MODELS
    assert {ring.alarm_ids for ring in passed.rings} == {()}
    assert keel.opened == STORE_FAILURES
    assert keel.run().rings == ()
    (keel.home / "keel.db").rmdir()
    keel.run(REFRESH_SECONDS * 20)
    keel.open_alarm("tide", "a1")
    assert [ring.model for ring in keel.run(REFRESH_SECONDS).rings] == ["tide"]


def test_run_opens_the_store_anew_now_and_then(keel: Installation) -> None:
    keel.run()
    keel.run(REOPEN_SECONDS / 2)
    assert keel.opened == 1

    keel.run(REOPEN_SECONDS)

    assert keel.opened == 2


def test_run_after_stop_looks_at_no_further_model(keel: Installation) -> None:
    keel.open_alarm("tide", "a1")

    keel.poll.stop()

    assert keel.run() == Pass(behind=True)


def test_poll_seconds_are_those_of_the_environment() -> None:
    assert poll_seconds({}) == 5
    assert poll_seconds({"KEEL_LIVE_POLL_SECONDS": "0.5"}) == 0.5


@pytest.mark.parametrize("value", ["often", "0", "-1", "nan", "inf", "1e9"])
def test_poll_seconds_of_an_invalid_value_name_it_and_the_remedy(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"KEEL_LIVE_POLL_SECONDS: '{value}'.*remove it"):
        poll_seconds({"KEEL_LIVE_POLL_SECONDS": value})
