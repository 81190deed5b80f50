"""The process that starts the workers of a service, starts them anew when they end, and stops them."""

from __future__ import annotations

import json
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
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from keel.errors import ConfigError
from keel.serving.metrics import SHARED_FOLDER, forget_dead
from keel.serving.prediction_log.spool import Durability
from keel.serving.process.server import BACKLOG, SIGNALS, log_plainly, serve
from keel.serving.settings import Settings
from keel.serving.worker_status import note_end

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a worker that has ended begins anew; doubled each time that it did not last."""
LASTING_SECONDS = 60.0
"""After which a worker's end has nothing to do with how it began."""
LOOK_SECONDS = 0.2


@dataclass
class Child:
    """A worker process. process: None until it begins anew. brief: ends in a row that came soon; ends: all of them."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    begins_at: float = 0.0
    brief: int = 0
    ends: int = 0


class Supervisor:
    """Keeps the worker processes running; they share one socket, and a folder for their metrics and how they are."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        from keel.serving.service import Service

        Service.check(settings)  # once, before there are many processes to say the same
        self._settings, self._listener = settings, listener
        self._stopping = False
        self.children = [Child(number) for number in range(settings.workers)]
        self.folder = Path(tempfile.mkdtemp(prefix="keel-metrics-"))

    def run(self) -> int:
        """Serve until a signal asks to stop, and return the exit code; raises ConfigError if no worker can run."""
        for number in SIGNALS:
            signal.signal(number, self._stop)
        try:
            self._listener.listen(BACKLOG)
            while not self._stopping:
                for child in self.children:
                    self.look_after(child, time.monotonic())
                time.sleep(LOOK_SECONDS)
            return 0
        except ConfigError:
            self._stopping = True
            raise
        finally:
            self._end()

    def look_after(self, child: Child, now: float) -> None:
        """Start a worker that is to run at ``now``, or note that it has ended.

        Raises ConfigError if it says that it, as any other, cannot run with this configuration.
        """
        if self._stopping:
            return
        if child.process is None:
            if now >= child.begins_at:
                self._begin(child, now)
            return
        code = child.process.poll()
        if code == ConfigError.exit_code:
            raise ConfigError("a worker cannot run with this configuration; the log above says why")
        if code is not None:
            self._note_end(child, f"exit code {code}", now)

    def _begin(self, child: Child, now: float) -> None:
        child.begins_at = now
        try:
            child.process = self.start(child.number)
        except OSError as error:  # the machine has no room for a process now
            self._note_end(child, str(error), now)
            return
        if child.ends:
            note_end(self.folder, child.number, child.ends, None)

    def _note_end(self, child: Child, how: str, now: float) -> None:
        lasted = now - child.begins_at
        child.process = None
        child.ends += 1
        child.brief = child.brief + 1 if lasted < LASTING_SECONDS else 0
        pause = min(FIRST_PAUSE * 2 ** min(max(0, child.brief - 1), 10), LONGEST_PAUSE)
        child.begins_at = now + pause
        again = f", {child.brief} times in a row" if child.brief > 1 else ""
        said = f"ended after {lasted:.0f} s with {how}{again}"
        log.error("worker %d %s; starting it anew in %.0f s", child.number, said, pause)
        forget_dead(str(self.folder), [each.process.pid for each in self.children if each.process is not None])
        note_end(self.folder, child.number, child.ends, said)

    def start(self, number: int) -> subprocess.Popen[bytes]:
        """Start a worker; raises OSError if there is no room for a process."""
        process = subprocess.Popen(
            [sys.executable, "-m", "keel.serving.process.worker", str(self._listener.fileno())],
            stdin=subprocess.PIPE,  # closes with us, however we end
            pass_fds=[self._listener.fileno()],
            env={**os.environ, SHARED_FOLDER: str(self.folder)},
            start_new_session=True,  # a terminal's Ctrl-C reaches only us, who pass it on once
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already
            process.stdin.write(dump(replace(self._settings, worker=number)) + b"\n")
            process.stdin.flush()
        return process

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            for process in self._running():
                process.kill()
            os._exit(128 + number)
        self._stopping = True

    def _running(self) -> list[subprocess.Popen[bytes]]:
        return [child.process for child in self.children if child.process is not None]

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


def work(fd: int, lifeline: Any) -> int:
    """Be one worker: read the settings from ``lifeline``, serve on the socket ``fd``, end when ``lifeline`` does."""
    log_plainly()
    settings = load(lifeline.readline())

    def end_with_parent() -> None:
        lifeline.read(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, name="keel-lifeline", daemon=True).start()
    return serve(settings, socket.socket(fileno=fd))


def dump(settings: Settings) -> bytes:
    """Return settings as one line of JSON."""
    return json.dumps(asdict(settings), default=str).encode()


def load(line: bytes) -> Settings:
    """Return the settings that `dump` was given.

    >>> load(dump(Settings(port=8091, models=("toy",)))) == Settings(port=8091, models=("toy",))
    True
    """
    raw = json.loads(line)
    for name in ("home", "keys_file", "spool"):
        raw[name] = Path(raw[name]) if raw[name] is not None else None
    return Settings(**{**raw, "models": tuple(raw["models"]), "durability": Durability(raw["durability"])})
