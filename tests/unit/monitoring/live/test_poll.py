"""The poll on a real store. Models of most tests have no version, so their monitors have nothing to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel import deployments
from keel.config import ModelConfig, get_model
from keel.deployments import transitions
from keel.errors import ConfigError
from keel.ledger import entries as ledger
from keel.monitoring.live import harm
from keel.monitoring.live import poll as polling
from keel.monitoring.live.poll import (
    MODEL_FAILURES,
    REFRESH_SECONDS,
    REOPEN_SECONDS,
    STORE_FAILURES,
    Pass,
    Poll,
    poll_seconds,
)
from keel.monitoring.live.shifts import PAGE_ROWS
from keel.monitoring.records import LiveAlarm, LiveProgress
from keel.workspace import Workspace
from tests.support.live.models import DAY, LiveModel
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from keel.store import Store
    from tests.support.versions.cloned import Trained

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
        (self.models / model).mkdir(exist_ok=True, parents=True)
        (self.models / model / "model.yaml").write_text(self.text(model) if text is None else text)

    def text(self, model: str) -> str:
        original = PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml"
        return original.read_text().replace("model: tide", f"model: {model}")

    def promote(self, model: str) -> None:
        """Put a version into production that the registry does not have: its monitors cannot be started."""
        with self.open() as ws:
            before = deployments.read(ws.store, model)
            after = replace(before, production=1)
            body = {"evidence": {"sentence": "told by a test"}}
            how = {"actor": "tests", "now": NOON, "action": ledger.Action.PROMOTE}
            transitions.swap(ws.store, before, after, body=body, **how)

    def drop(self, table: str) -> None:
        with self.open() as ws, ws.store.begin() as connection:
            connection.execute(sa.text(f'DROP TABLE "{table}"'))

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


class Polled:
    """A poll of a model with versions, whose registry can be away."""

    def __init__(self, model: LiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self.ws, self.clock, self.read = model, model.ws, Clock(), list[int]()
        monkeypatch.setattr(polling, "read_models", lambda: ({"trained": model.config}, []))
        self.poll = Poll(lambda: self.ws, clock=self.clock)

    def run(self, seconds: float = 5.0) -> Pass:
        self.clock.now += seconds
        self.model.now += timedelta(seconds=seconds)
        passed = self.poll.run({"trained"}, now=self.model.now)
        if stored := self.model.ws.store.live.read("trained"):
            self.read.append(stored.rows)
        return passed


@pytest.fixture
def keel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    installation = Installation(tmp_path / "home", tmp_path / "models")
    yield installation
    installation.poll.close()


def a_prediction() -> pa.Table:
    values = {"id": "p1", "time": NOON, "version": 1, "score": 0.1, "prediction": 0.0, "level": 1.0, "wind": 2.0}
    return pa.Table.from_pylist([{**values, "harbour": "east"}])


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


def test_run_with_an_invalid_configuration_holds_up_no_other_model_and_opens_no_alarm(
    keel: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    keel.promote("ebb")
    keel.open_alarm("ebb", "a0")
    keel.configure("ebb", "model: ebb\ntraget: oops\n")
    keel.open_alarm("tide", "a1")

    rung = [ring.model for _ in range(60) for ring in keel.run().rings]

    assert rung == ["tide"]
    assert [alarm["alarm_id"] for alarm in keel.alarms("ebb")] == ["a0"]
    assert "ebb/model.yaml: target: required key is missing" in caplog.text
    keel.configure("ebb")
    assert [ring.model for ring in keel.run_until_rung(200).rings] == ["ebb"]


def test_run_of_a_model_that_fails_tells_people_and_holds_up_no_other_model(keel: Installation) -> None:
    keel.promote("ebb")
    keel.open_alarm("tide", "a1")

    assert [ring.model for ring in keel.run().rings] == ["tide"]
    [ring] = keel.run_until_rung().rings

    assert ring.model == "ebb"
    [alarm] = keel.alarms("ebb")
    assert (alarm["kind"], alarm["subject"], alarm["version"]) == ("fault", "monitoring", 1)
    assert f"failed {MODEL_FAILURES} times in a row. " in str(alarm["sentence"])
    for _ in range(30):
        keel.run(20)
    [same] = keel.alarms("ebb")
    assert same["alarm_id"] == alarm["alarm_id"]
    assert f"failed {2 * MODEL_FAILURES} times in a row. " in str(same["sentence"])


def test_run_of_a_model_that_has_lost_its_table_is_the_failure_of_that_model_alone(
    keel: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(ws: Workspace, config: ModelConfig, **_: object) -> LiveProgress:
        ws.predictions(config).times()
        return LiveProgress(model=config.model)

    monkeypatch.setattr(polling, "catch_up", reading)
    keel.promote("ebb")
    keel.run()
    opened = keel.opened
    keel.drop("predictions_ebb")
    keel.open_alarm("tide", "a1")

    rung = [keel.run_until_rung().rings for _ in range(2)]

    assert [[ring.model for ring in rings] for rings in rung] == [["tide"], ["ebb"]]
    [alarm] = keel.alarms("ebb")
    assert "has lost a part of its schema" in str(alarm["sentence"])
    assert keel.opened == opened + 3  # by this test


def test_run_with_a_store_that_has_lost_what_all_models_need_is_a_failure_of_the_store(keel: Installation) -> None:
    keel.drop("deployments")

    passed = keel.run_until_rung()

    assert [(ring.model, ring.alarm_ids) for ring in passed.rings] == [("ebb", ()), ("tide", ())]


def test_run_of_a_failing_model_without_a_version_opens_no_alarm_as_no_check_could_judge_it(
    keel: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    keel.promote("ebb")
    keel.drop("live_monitors")  # both fail

    rung = [ring.model for _ in range(60) for ring in keel.run().rings]

    assert rung == ["ebb"]
    assert keel.alarms("tide") == []
    assert "the live monitors of tide failed, 3 in a row" in caplog.text


def test_run_rings_for_what_it_found_before_the_store_failed(keel: Installation) -> None:
    keel.open_alarm("ebb", "a1")
    [ring] = keel.run().rings
    keel.poll.told(ring, heard=False)
    keel.drop("deployments")
    with keel.open() as ws:  # so that the poll looks at tide, and not at ebb
        ws.predictions(get_model("tide")).append(a_prediction())

    assert keel.run().rings == (ring,)


def test_run_of_a_model_whose_monitors_are_turned_off_in_a_backlog_waits_for_the_next_poll(
    keel: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "catch_up", lambda *_, **__: LiveProgress(model="ebb", behind=True))
    keel.open_alarm("ebb", "a1")
    assert keel.run().behind
    for model in MODELS:
        keel.configure(model, keel.text(model) + "live: null\n")

    assert keel.run(REFRESH_SECONDS) == Pass()
    assert keel.run(REFRESH_SECONDS * 10) == Pass()  # nobody judges an alarm of a model that is not monitored


def test_run_of_many_backlogs_goes_on_where_the_last_pass_ended(
    keel: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []

    def slowly(_: Workspace, config: ModelConfig, **__: object) -> LiveProgress:
        turns.append(config.model)
        keel.clock.now += 3.0
        return LiveProgress(model=config.model, behind=True)

    monkeypatch.setattr(polling, "catch_up", slowly)
    models = {f"m{i}" for i in range(5)}
    for model in models:
        keel.configure(model)

    for _ in range(5):
        assert keel.poll.run(models, now=NOON).behind

    assert turns == [f"m{i}" for i in range(5)] * 2


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


@pytest.mark.parametrize("settings", [{"block_size": 20, "thinning": 50}, {"block_size": 100}])
def test_run_reads_a_page_of_a_backlog_before_it_is_the_next_models_turn(
    trained: Trained, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]
) -> None:
    model = LiveModel.new(trained, sqlite_store, live={"context": None, "columns": ["x"], **settings})
    polls = Polled(model, monkeypatch)
    model.arrive(2 * PAGE_ROWS + 1000)

    assert [polls.run().behind for _ in range(3)] == [True, True, False]
    assert polls.read == [PAGE_ROWS, 2 * PAGE_ROWS, 2 * PAGE_ROWS + 1000]


def test_run_reads_a_page_of_labels_that_complete_no_block(
    trained: Trained, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harm, "LATE_PAGE", 10)
    model = LiveModel.new(trained, sqlite_store, live={"context": None, "columns": ["x"]})
    polls = Polled(model, monkeypatch)
    rows = model.arrive(95)
    model.now += DAY
    model.arrive(105)
    assert not polls.run().behind
    model.label(rows, rows["prediction"])
    revision = model.stored.revision

    assert polls.run().behind
    assert model.stored.revision == revision + 1


def test_run_of_a_model_that_works_again_before_a_check_has_judged_its_failures_says_so_once(
    model: LiveModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    polls = Polled(model, monkeypatch)
    polls.ws = model.without_registry(tmp_path).ws
    model.arrive(200)
    while not (rings := polls.run().rings):
        pass
    [failing] = model.open
    assert "are not monitored until they work again" in failing.sentence

    polls.ws = model.ws
    polls.poll.close()
    polls.run(600)

    [alarm] = model.open
    assert (alarm.alarm_id, rings[0].alarm_ids) == (failing.alarm_id, (failing.alarm_id,))
    assert f"They work again since {model.now:%Y-%m-%d %H:%M} UTC" in alarm.sentence
    assert "not monitored" not in alarm.sentence
    assert "failed 3 times in a row" in alarm.sentence
    polls.run(600)
    assert model.open == [alarm]


def test_run_of_a_process_after_one_that_failed_says_that_the_monitors_work_again(
    model: LiveModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing = Polled(model, monkeypatch)
    failing.ws = model.without_registry(tmp_path).ws
    model.arrive(200)
    while not failing.run().rings:
        pass

    Polled(model, monkeypatch).run()

    [alarm] = model.open
    assert "They work again since" in alarm.sentence
