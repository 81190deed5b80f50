"""Worker processes: what they know of each other, and how the supervisor restarts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from keel.errors import ConfigError
from keel.serving.process.server import wait_for_versions
from keel.serving.process.supervisor import Supervisor
from keel.serving.worker_status import STALE_SECONDS, WorkerStatus, record_end

LOADING = {"toy": "toy: version 3 is being loaded"}


@pytest.fixture
def two(tmp_path):
    return WorkerStatus(tmp_path, 0, 2), WorkerStatus(tmp_path, 1, 2)


def starting(workers, number):
    """The service of a worker that is still loading its versions."""
    return SimpleNamespace(missing=LOADING, workers=workers, settings=SimpleNamespace(worker=number))


def test_worker_is_not_ready_before_all_that_accept_requests_are(two):
    first, second = two
    first.publish({})
    assert first.missing() == {}, "the other accepts no requests yet"
    second.publish(LOADING)
    assert first.missing() == {"worker 1": LOADING["toy"]}
    assert second.missing() == {}, "its own status is not among the others'"
    assert (first.another_is_ready(), second.another_is_ready()) == (False, True)
    second.publish({})
    assert first.missing() == {}
    assert first.another_is_ready()


def test_worker_that_cannot_answer_accepts_requests_if_no_other_can(two):
    first, second = two
    first.publish(LOADING)
    wait_for_versions(starting(second, 1))
    assert first.missing() == {"worker 1": LOADING["toy"]}


def test_worker_that_cannot_answer_accepts_no_request_while_another_can(two):
    first, second = two
    service, entered = starting(second, 1), threading.Event()
    first.publish({})
    another_is_ready = second.another_is_ready
    second.another_is_ready = lambda: entered.set() or another_is_ready()
    waiting = threading.Thread(target=wait_for_versions, args=(service,), kwargs={"wait_seconds": 0.005})
    waiting.start()
    assert entered.wait(10)
    assert first.all()[1].pid is None
    assert waiting.is_alive()
    service.missing = {}
    waiting.join(10)
    assert not waiting.is_alive()


def test_worker_that_becomes_ready_between_check_and_publication_is_noticed(two):
    first, second = two
    service, publish = starting(second, 1), second.publish

    def publish_late(missing):
        first.publish({})
        assert first.missing() == {}  # so the first worker reports that it is ready
        publish(missing)
        service.missing, second.publish = {}, None  # the second withdraws its status, and starts when it is ready

    second.publish = publish_late
    wait_for_versions(service, wait_seconds=0.0)
    assert first.all()[1].pid is None


def test_worker_with_a_stale_status_is_not_ready(two, tmp_path):
    first, second = two
    second.publish({})
    then = time.time() - STALE_SECONDS - 5
    os.utime(tmp_path / "worker-1.json", (then, then))
    assert "20 s" in first.missing()["worker 1"]
    assert not first.another_is_ready()
    second.publish({})
    assert first.missing() == {}


def test_worker_that_has_ended_is_reported_and_not_waited_for(two, tmp_path):
    first, second = two
    second.publish(LOADING)
    record_end(tmp_path, 1, 3, "ended after 2 s with exit code 1, 3 times in a row")
    assert first.missing() == {}
    status = first.all()[1]
    assert (status.pid, status.ends) == (None, 3)
    assert "3 times in a row" in status.ended
    record_end(tmp_path, 1, 3, None)
    WorkerStatus(tmp_path, 1, 2).publish({})
    status = first.all()[1]
    assert (status.pid, status.ends, status.ended) == (os.getpid(), 3, None)


def test_worker_status_in_an_incomplete_file_is_ignored(two, tmp_path):
    (tmp_path / "worker-1.json").write_text('{"pid": 1')
    assert two[0].missing() == {}


def test_worker_status_of_a_single_process_knows_only_itself():
    alone = WorkerStatus(None)
    alone.publish(LOADING)
    assert not alone.several
    assert alone.missing() == {}
    assert [worker.pid for worker in alone.all()] == [os.getpid()]


@pytest.fixture
def supervisor_of(monkeypatch):
    """Return a function that makes a supervisor of one worker, whose processes end at once with an exit code."""
    monkeypatch.setattr("keel.serving.service.Service.check", lambda _: None)
    made = []

    def make(code):
        supervisor = Supervisor(SimpleNamespace(workers=1), None)
        supervisor.start = lambda _: subprocess.Popen(["/bin/sh", "-c", f"exit {code}"])
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        for worker in supervisor.workers:
            assert worker.process is None or worker.process.wait(30) is not None
        shutil.rmtree(supervisor.folder)


def pause_after_end(supervisor, started, seconds):
    """Start the worker and let it end after so many seconds of the supervisor's clock; return the next pause."""
    [worker] = supervisor.workers
    supervisor.check(worker, started)
    assert worker.process is not None
    worker.process.wait(30)
    supervisor.check(worker, started + seconds)
    assert worker.process is None
    supervisor.check(worker, worker.starts_at - 0.01)
    assert worker.process is None, "it is restarted too soon"
    return worker.starts_at - started - seconds


def test_supervisor_restarts_a_failing_worker_less_and_less_often(supervisor_of, caplog):
    supervisor, now, pauses = supervisor_of(7), 100.0, []
    for _ in range(9):
        pauses.append(pause_after_end(supervisor, now, 2.0))
        now += 2.0 + pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert caplog.messages[-1] == ("worker 0 ended after 2 s with exit code 7, 9 times in a row; restarting it in 60 s")
    status = WorkerStatus(supervisor.folder, 1, 1).all()[0]
    assert status.ends == 9
    assert "exit code 7, 9 times in a row" in status.ended
    assert pause_after_end(supervisor, now, 3600.0) == 1, "it ran long enough"


def test_supervisor_counts_a_process_that_cannot_start_as_an_end(supervisor_of):
    supervisor = supervisor_of(0)

    def fails(_):
        raise BlockingIOError("Resource temporarily unavailable")

    supervisor.start = fails
    [worker] = supervisor.workers
    supervisor.check(worker, 100.0)
    assert (worker.process, worker.ends, worker.starts_at) == (None, 1, 101.0)


def test_supervisor_drops_the_gauges_of_an_ended_worker(supervisor_of):
    supervisor = supervisor_of(1)
    [worker] = supervisor.workers
    supervisor.check(worker, 100.0)
    gauges, counters = (supervisor.folder / f"{kind}_{worker.process.pid}.db" for kind in ("gauge_livesum", "counter"))
    for file in (gauges, counters):
        file.write_bytes(b"")
    worker.process.wait(30)
    supervisor.check(worker, 100.5)
    assert (gauges.exists(), counters.exists()) == (False, True)


def test_supervisor_ends_if_no_worker_can_run_with_the_configuration(supervisor_of):
    supervisor = supervisor_of(ConfigError.exit_code)
    [worker] = supervisor.workers
    supervisor.check(worker, 100.0)
    worker.process.wait(30)
    with pytest.raises(ConfigError):
        supervisor.check(worker, 100.5)
