"""The supervisor: starts the workers of a service, restarts them when they end, and stops them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from keel.errors import ConfigError
from keel.serving.metrics import SHARED_FOLDER
from keel.serving.process.server import BACKLOG, SIGNALS, configure_logging, serve
from keel.serving.settings import Settings
from keel.serving.worker_status import accepts_requests, record_end

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until an ended worker is restarted; doubled each time that it ends soon again."""
STABLE_SECONDS = 60.0
"""A worker that ran this long ended for another reason than its start."""
CHECK_SECONDS = 0.2
"""Between checks of the workers."""


@dataclass
class WorkerProcess:
    """A worker process.

    process: None until it is restarted. starts_at: when it was or will be started. early_ends: consecutive ends soon
    after a start. ends: all ends.
    """

    number: int
    process: subprocess.Popen[bytes] | None = None
    starts_at: float = 0.0
    early_ends: int = 0
    ends: int = 0


class Supervisor:
    """Keeps the workers running. They share one socket, and a folder for their metrics and their status."""

    def __init__(
        self, settings: Settings, listener: socket.socket, *, announce: Callable[[], None] = lambda: None
    ) -> None:
        """Check the settings. announce: called as soon as the first worker accepts requests."""
        from keel.serving.service import Service

        Service.check(settings)  # once here, instead of an error from every worker
        self._settings, self._listener = settings, listener
        self._stopping = False
        self.workers = [WorkerProcess(number) for number in range(settings.workers)]
        self._announce: Callable[[], None] | None = announce
        self.folder = Path(tempfile.mkdtemp(prefix="keel-metrics-"))

    def run(self) -> int:
        """Serve until a signal asks to stop, and return the exit code; raises ConfigError if no worker can run."""
        for number in SIGNALS:
            signal.signal(number, self._stop)
        try:
            self._listener.listen(BACKLOG)
            while not self._stopping:
                for worker in self.workers:
                    self.check(worker, time.monotonic())
                self._announce_once()
                time.sleep(CHECK_SECONDS)
            return 0
        except ConfigError:
            self._stopping = True
            raise
        finally:
            self._end()

    def _announce_once(self) -> None:
        if self._announce is not None and accepts_requests(self.folder, len(self.workers)):
            self._announce()
            self._announce = None

    def check(self, worker: WorkerProcess, now: float) -> None:
        """Start a worker that is due at ``now``, or record that it has ended.

        Raises ConfigError if its exit code says that no worker can run with this configuration.
        """
        if self._stopping:
            return
        if worker.process is None:
            if now >= worker.starts_at:
                self._start(worker, now)
            return
        code = worker.process.poll()
        if code == ConfigError.exit_code:
            raise ConfigError("a worker cannot run with this configuration; see the log above for the reason")
        if code is not None:
            mark_process_dead(worker.process.pid, str(self.folder))  # type: ignore[no-untyped-call]
            self._record_end(worker, f"exit code {code}", now)

    def _start(self, worker: WorkerProcess, now: float) -> None:
        worker.starts_at = now
        try:
            worker.process = self.start(worker.number)
        except OSError as error:  # the machine cannot start another process now
            self._record_end(worker, str(error), now)
            return
        if worker.ends:
            record_end(self.folder, worker.number, worker.ends, None)

    def _record_end(self, worker: WorkerProcess, how: str, now: float) -> None:
        seconds = now - worker.starts_at
        worker.process = None
        worker.ends += 1
        worker.early_ends = worker.early_ends + 1 if seconds < STABLE_SECONDS else 0
        pause = min(FIRST_PAUSE * 2 ** min(max(0, worker.early_ends - 1), 10), LONGEST_PAUSE)
        worker.starts_at = now + pause
        repeated = f", {worker.early_ends} times in a row" if worker.early_ends > 1 else ""
        ended = f"ended after {seconds:.0f} s with {how}{repeated}"
        log.error("worker %d %s; restarting it in %.0f s", worker.number, ended, pause)
        record_end(self.folder, worker.number, worker.ends, ended)

    def start(self, number: int) -> subprocess.Popen[bytes]:
        """Start a worker; raises OSError if the machine cannot start another process."""
        process = subprocess.Popen(
            [sys.executable, "-m", "keel.serving.process.worker", str(self._listener.fileno())],
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            pass_fds=[self._listener.fileno()],
            env={**os.environ, SHARED_FOLDER: str(self.folder)},
            start_new_session=True,  # a terminal's Ctrl-C reaches only the supervisor, which passes it on once
        )
        assert process.stdin is not None
        settings = self._settings.model_copy(update={"worker": number})
        with suppress(BrokenPipeError):  # the worker has ended already
            process.stdin.write(settings.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        return process

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            for process in self._running():
                process.kill()
            os._exit(128 + number)
        self._stopping = True

    def _running(self) -> list[subprocess.Popen[bytes]]:
        return [worker.process for worker in self.workers if worker.process is not None]

    def _end(self) -> None:
        self._listener.close()
        for process in self._running():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2 * self._settings.stop_seconds + 5
        for process in self._running():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_worker(fd: int, lifeline: Any) -> int:
    """Run one worker with the settings in ``lifeline`` on the socket ``fd``, until ``lifeline`` ends."""
    configure_logging()
    settings = Settings.model_validate_json(lifeline.readline())

    def end_with_parent() -> None:
        lifeline.read(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, name="keel-lifeline", daemon=True).start()
    return serve(settings, socket.socket(fileno=fd))
