"""The trigger of the live monitors in Airflow's own runner, which shares one stream among the triggers of a process."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from keel.monitoring.records import LiveAlarm, LiveProgress
from keel.workspace import Workspace
from tests.dags.test_structure import write_model

if TYPE_CHECKING:
    from airflow.jobs.triggerer_job_runner import TriggerRunner

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two models, polled often."""
    for name in ("ebb", "tide"):
        write_model(tmp_path / "models", name)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("KEEL_LIVE_POLL_SECONDS", "0.1")
    return ["ebb", "tide"]


class Supervisor:
    """In place of the process that writes events to Airflow's database, at the command of a test."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        """Those written."""
        self.told: list[Any] = []
        """Those that the runner asked to have written."""
        self.writes = True

    async def asend(self, told: Any) -> Any:
        from airflow.jobs.triggerer_job_runner import messages

        self.told += told.events or ()
        arrived = list(told.events or ()) if self.writes else []
        self.events += [(entry.trigger_id, entry.event.payload) for entry in arrived]
        confirmed = [entry.persist_seq for entry in arrived if entry.persist_seq is not None]
        return messages.TriggerStateSync(to_create=[], to_cancel=set(), events_persisted=confirmed or None)


class Triggerer:
    """Airflow's runner of triggers in this process."""

    def __init__(self) -> None:
        from airflow.jobs.triggerer_job_runner import TriggerRunner

        self.runner: TriggerRunner = TriggerRunner()
        self.supervisor = Supervisor()
        self.runner.comms_decoder = SimpleNamespace(asend=self.supervisor.asend)
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def start(self, models: Iterable[str]) -> None:
        from keel_airflow.triggers import LiveDriftTrigger

        for number, model in enumerate(models, start=1):
            trigger = LiveDriftTrigger(model=model)
            trigger.trigger_id = number
            self.runner.triggers[number] = {"task": None, "is_watcher": True, "name": model, "events": 0}
            self.tasks[number] = asyncio.create_task(self.runner.run_trigger(number, trigger))

    async def until(self, reached: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, "not reached"
            await self.sync()

    async def sync(self) -> None:
        await self.runner.sync_state_to_supervisor([])
        await asyncio.sleep(0.05)

    async def stop(self, *numbers: int) -> None:
        for number in numbers or tuple(self.tasks):
            task = self.tasks.pop(number)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def open_alarm(home: Path, model: str, alarm_id: str) -> None:
    with Workspace.open(home=home, environment={}) as ws:
        alarm = LiveAlarm(
            alarm_id=alarm_id, model=model, version=1, kind="fault", subject=alarm_id, opened_at=NOON, since=NOON,
            sentence="told by a test",
        )  # fmt: skip
        assert ws.store.live.add_fault(alarm.to_dict())


def rings(home: Path, model: str) -> list[int]:
    with Workspace.open(home=home, environment={}) as ws:
        return [alarm["rings"] for alarm in ws.store.live.open_alarms(model)]


def watched() -> set[str]:
    from keel_airflow import triggers

    return set(triggers._watched.values())


def polls() -> int:
    return sum(thread.name.startswith("keel-live") for thread in threading.enumerate())


def test_triggers_share_one_poll_and_each_gets_the_bells_of_its_model(home: Path, models: list[str]) -> None:
    async def play() -> None:
        triggerer = Triggerer()
        open_alarm(home, "tide", "a1")
        triggerer.start(models)
        await triggerer.until(lambda: bool(triggerer.supervisor.events))
        assert polls() == 1
        for _ in range(10):
            await triggerer.sync()
        await triggerer.stop()
        told = {"model": "tide", "reasons": ["opened"], "alarm_ids": ["a1"]}
        assert triggerer.supervisor.events == [(2, told)]

    asyncio.run(play())
    assert rings(home, "tide") == [1]


def test_bell_whose_event_is_not_stored_does_not_count_as_rung_and_rings_in_the_next_process(
    home: Path, models: list[str]
) -> None:
    async def play(*, writes: bool) -> list[Any]:
        triggerer = Triggerer()
        triggerer.supervisor.writes = writes
        triggerer.start(models)
        for _ in range(12):
            await triggerer.sync()
        await triggerer.stop()
        return triggerer.supervisor.told

    open_alarm(home, "tide", "a1")
    assert asyncio.run(play(writes=False))  # the bell rang
    assert rings(home, "tide") == [0]

    assert len(asyncio.run(play(writes=True))) == 1
    assert rings(home, "tide") == [1]


def test_stream_ends_with_its_last_trigger_and_begins_anew_with_the_next(home: Path, models: list[str]) -> None:
    async def play() -> None:
        triggerer = Triggerer()
        triggerer.start(models)
        await triggerer.until(lambda: polls() == 1)
        await triggerer.stop(1)
        await triggerer.sync()
        assert polls() == 1
        await triggerer.stop(2)
        await triggerer.until(lambda: polls() == 0)

        open_alarm(home, "ebb", "a1")
        triggerer.start(models)
        await triggerer.until(lambda: rings(home, "ebb") == [1])
        await triggerer.stop()
        assert [number for number, _ in triggerer.supervisor.events] == [1]

    asyncio.run(play())


def test_stream_that_is_cancelled_again_and_again_in_a_pass_closes_the_store_and_ends_its_thread(
    home: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from keel.monitoring.live import poll

    begun, gone_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slowly(*_: object, **__: object) -> LiveProgress:
        begun.set()
        gone_on.wait(10)
        return LiveProgress(model="ebb")

    close = poll.Poll.close

    def closing(this: poll.Poll) -> None:
        close(this)
        if begun.is_set():
            closed.set()

    monkeypatch.setattr(poll, "catch_up", slowly)
    monkeypatch.setattr(poll.Poll, "close", closing)

    async def play() -> None:
        triggerer = Triggerer()
        triggerer.start(models)
        await triggerer.until(begun.is_set)
        tasks = list(triggerer.tasks.values())
        for _ in range(4):  # Airflow cancels a trigger with every round until it has ended
            for task in tasks:
                task.cancel()
            await triggerer.sync()
        gone_on.set()
        await asyncio.wait(tasks, timeout=10)
        await triggerer.until(lambda: closed.is_set() and polls() == 0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "shared-stream" in task.get_name()]

    asyncio.run(play())
    assert watched() == set()


def test_store_that_is_away_ends_no_trigger(new_keel_home: Path, models: list[str]) -> None:
    (new_keel_home / "keel.db").mkdir(parents=True)  # a folder where the file should be

    async def play() -> None:
        triggerer = Triggerer()
        triggerer.start(models)
        for _ in range(10):
            await triggerer.sync()
        assert not any(task.done() for task in triggerer.tasks.values())
        await triggerer.stop()
        assert triggerer.supervisor.events == []

    asyncio.run(play())


def test_poll_leaves_the_event_loop_free(home: Path, models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from keel_airflow import hooks

    opened = hooks.KeelHook.get_conn

    def slowly(hook: hooks.KeelHook) -> Workspace:
        time.sleep(0.8)
        return opened(hook)

    monkeypatch.setattr(hooks.KeelHook, "get_conn", slowly)

    async def play() -> float:
        triggerer, longest = Triggerer(), 0.0
        triggerer.start(models)
        last = end = time.monotonic()
        while last < end + 1:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        await triggerer.stop()
        return longest

    assert asyncio.run(play()) < 0.5


def test_invalid_poll_seconds_are_logged_and_stop_no_monitor(
    home: Path, models: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KEEL_LIVE_POLL_SECONDS", "often")
    open_alarm(home, "tide", "a1")

    async def play() -> None:
        triggerer = Triggerer()
        triggerer.start(models)
        await triggerer.until(lambda: bool(triggerer.supervisor.events))
        await triggerer.stop()

    asyncio.run(play())
    assert "KEEL_LIVE_POLL_SECONDS: 'often' is no number of seconds" in caplog.text


def test_trigger_of_its_serialised_form_is_the_same() -> None:
    from airflow.triggers.base import BaseEventTrigger

    from keel_airflow.triggers import LiveDriftTrigger

    path, arguments = LiveDriftTrigger(model="tide").serialize()
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)

    assert again.serialize() == (path, arguments)
    # Airflow takes triggers of equal class and arguments for one
    assert BaseEventTrigger.hash(path, arguments) != BaseEventTrigger.hash(path, {"model": "ebb"})
    assert again.shared_stream_key() == LiveDriftTrigger(model="ebb").shared_stream_key()


def test_run_without_shared_streams_yields_the_events_of_the_model(home: Path, models: list[str]) -> None:
    from keel_airflow.triggers import LiveDriftTrigger

    async def play() -> Any:
        events = LiveDriftTrigger(model="tide").run()
        event = await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        return event.payload

    open_alarm(home, "tide", "a1")
    assert asyncio.run(play())["alarm_ids"] == ["a1"]
    for thread in threading.enumerate():
        if thread.name.startswith("keel-live"):
            thread.join(5)
    assert polls() == 0
