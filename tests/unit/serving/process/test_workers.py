"""Several worker processes: what they know of each other, and who starts them anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from keel.errors import ConfigError
from keel.serving.process.server import _wait_for_versions
from keel.serving.process.supervisor import Supervisor
from keel.serving.worker_status import SILENT_SECONDS, WorkerStatus, note_end

LOADING = {"toy": "toy: version 3 is being loaded"}


@pytest.fixture
def two(tmp_path):
    return WorkerStatus(tmp_path, 0, 2), WorkerStatus(tmp_path, 1, 2)


def test_none_is_ready_before_all_that_take_requests_are(two):
    first, second = two
    first.tell({})
    assert first.missing() == {}, "the other takes no requests yet"
    second.tell(LOADING)
    assert first.missing() == {"worker 1": "toy: version 3 is being loaded"}
    assert second.missing() == {}, "its own it knows itself"
    assert (first.answering(), second.answering()) == (False, True)
    second.tell({})
    assert first.missing() == {}
    assert first.answering()


def test_one_that_cannot_answer_takes_no_request_while_another_can(two, caplog):
    caplog.set_level("INFO")
    first, second = two
    begun = SimpleNamespace(missing=LOADING, siblings=second, settings=SimpleNamespace(worker=1))
    first.tell(LOADING)
    _wait_for_versions(begun)  # nobody can: it takes them, and says so
    assert first.missing() == {"worker 1": LOADING["toy"]}
    second.withdraw()
    first.tell({})
    waiting = threading.Thread(target=_wait_for_versions, args=(begun,))
    waiting.start()
    while "worker 1: the others answer until it can, too" not in caplog.text:
        time.sleep(0.01)
    assert first.missing() == {}
    begun.missing = {}
    waiting.join(5)
    assert not waiting.is_alive()


def test_one_that_becomes_ready_meanwhile_is_seen(two):
    """Between a look at the others and saying so to them, one of them may have told that it is ready."""
    first, second = two
    begun = SimpleNamespace(missing=LOADING, siblings=second, settings=SimpleNamespace(worker=1))
    tell = second.tell

    def slowly(missing):
        first.tell({})
        assert first.missing() == {}  # so it says that it is ready
        tell(missing)
        begun.missing, second.tell = {}, None  # what it told is to be taken back, and it begins when it is ready

    second.tell = slowly
    _wait_for_versions(begun)
    assert first.workers()[1].pid is None


def test_one_that_is_silent_is_not_ready(two, tmp_path):
    first, second = two
    second.tell({})
    then = time.time() - SILENT_SECONDS - 5
    os.utime(tmp_path / "worker-1.json", (then, then))
    assert "has not been heard of for 20 s" in first.missing()["worker 1"]
    assert not first.answering()
    second.tell({})
    assert first.missing() == {}


def test_one_that_has_ended_is_told_and_not_waited_for(two, tmp_path):
    first, second = two
    second.tell(LOADING)
    note_end(tmp_path, 1, 3, "ended after 2 s with exit code 1, 3 times in a row")
    assert first.missing() == {}
    told = first.workers()[1]
    assert (told.pid, told.ends) == (None, 3)
    assert "3 times in a row" in told.ended
    note_end(tmp_path, 1, 3, None)
    WorkerStatus(tmp_path, 1, 2).tell({})
    assert (first.workers()[1].pid, first.workers()[1].ends, first.workers()[1].ended) == (os.getpid(), 3, None)


def test_half_a_file_is_nothing(two, tmp_path):
    (tmp_path / "worker-1.json").write_text('{"pid": 1')
    assert two[0].missing() == {}


def test_alone_there_is_nobody_to_tell():
    alone = WorkerStatus(None)
    alone.tell(LOADING)
    assert not alone.several
    assert alone.missing() == {}
    assert [worker.pid for worker in alone.workers()] == [os.getpid()]


@pytest.fixture
def supervised(monkeypatch):
    """A supervisor of one worker whose processes end at once with the exit code that is given, and its clock."""
    monkeypatch.setattr("keel.serving.service.Service.check", lambda _: None)
    made = []

    def make(code):
        supervisor = Supervisor(SimpleNamespace(workers=1), None)
        supervisor.start = lambda _: subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        for child in supervisor.children:
            assert child.process is None or child.process.wait(30) is not None
        shutil.rmtree(supervisor.folder)


def ended(supervisor, began, lasted):
    """Start the worker, let it end after so many seconds of the supervisor's clock; return the pause that follows."""
    [child] = supervisor.children
    supervisor.look_after(child, began)
    assert child.process is not None
    child.process.wait(30)
    supervisor.look_after(child, began + lasted)
    assert child.process is None
    supervisor.look_after(child, child.begins_at - 0.01)
    assert child.process is None, "it begins too soon"
    return child.begins_at - began - lasted


def test_a_worker_that_ends_in_a_loop_is_started_less_and_less_often_and_that_is_told(supervised, caplog):
    supervisor, now, pauses = supervised(7), 100.0, []
    for _ in range(9):
        pauses.append(ended(supervisor, now, 2.0))
        now += 2.0 + pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert "worker 0 ended after 2 s with exit code 7, 9 times in a row; starting it anew in 60 s" in caplog.text
    told = WorkerStatus(supervisor.folder, 1, 1).workers()[0]
    assert told.ends == 9
    assert "exit code 7, 9 times in a row" in told.ended
    assert ended(supervisor, now, 3600.0) == 1, "it has lasted"


def test_no_room_for_a_process_is_an_end_too(supervised):
    supervisor = supervised(0)

    def fails(_):
        raise BlockingIOError("Resource temporarily unavailable")

    supervisor.start = fails
    [child] = supervisor.children
    supervisor.look_after(child, 100.0)
    assert (child.process, child.ends, child.begins_at) == (None, 1, 101.0)


def test_a_configuration_that_none_can_run_with_ends_it_all(supervised):
    supervisor = supervised(ConfigError.exit_code)
    [child] = supervisor.children
    supervisor.look_after(child, 100.0)
    child.process.wait(30)
    with pytest.raises(ConfigError):
        supervisor.look_after(child, 100.5)
