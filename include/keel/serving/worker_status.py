"""Worker status: what the worker processes of one service know of each other, from one small file per worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PUBLISH_SECONDS = 1.0
"""Between two publications of a worker's status."""
STALE_SECONDS = 15.0
"""A worker whose event loop has published nothing for so long accepts requests that it does not answer."""


@dataclass(frozen=True)
class Worker:
    """The known status of one worker process.

    pid: None while it accepts no requests. missing: why it is not ready, by model or part. ends: how often it has ended
    and was restarted. ended: how it ended last; None once it runs again.
    """

    number: int
    pid: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    ends: int = 0
    ended: str | None = None


class WorkerStatus:
    """The workers of one service, seen by worker number ``own``. folder: None if this process is the only one."""

    def __init__(self, folder: Path | None, own: int = 0, workers: int = 1) -> None:
        self.own, self._folder, self._count = own, folder, workers
        self._published: bytes | None = None

    @property
    def several(self) -> bool:
        """Whether there are other workers."""
        return self._folder is not None

    def publish(self, missing: Mapping[str, str]) -> None:
        """Publish that this worker accepts requests, and why it is not ready, if it is not."""
        if self._folder is None:
            return
        content = json.dumps({"pid": os.getpid(), "missing": dict(missing)}).encode()
        path = _status_file(self._folder, self.own)
        with suppress(OSError):  # if the folder cannot be written, the status becomes stale, and the others report that
            if content != self._published:
                _replace(path, content)
                self._published = content
            os.utime(path)

    def withdraw(self) -> None:
        """Publish that this worker accepts no requests yet."""
        if self._folder is not None:
            _status_file(self._folder, self.own).unlink(missing_ok=True)
            self._published = None

    def all(self) -> list[Worker]:
        """Return the status of all workers, by number."""
        return [self._read(number) for number in range(self._count)]

    def missing(self) -> dict[str, str]:
        """Return why other workers that accept requests are not ready, by worker; empty if all are ready."""
        others = [worker for worker in self.all() if worker.number != self.own and worker.pid is not None]
        return {f"worker {worker.number}": "; ".join(worker.missing.values()) for worker in others if worker.missing}

    def another_is_ready(self) -> bool:
        """Return whether another worker accepts requests and can answer them."""
        return any(w.pid is not None and not w.missing for w in self.all() if w.number != self.own)

    def _read(self, number: int) -> Worker:
        if self._folder is None:
            return Worker(number, os.getpid())
        ended = _load(_end_file(self._folder, number))
        path = _status_file(self._folder, number)
        status = _load(path)
        try:
            age = time.time() - path.stat().st_mtime
        except OSError:
            status = {}
        if status and age > STALE_SECONDS:
            status["missing"] = {"process": f"has not published its status for {age:.0f} s"}
        return Worker(number, **status, **ended)


def record_end(folder: Path, number: int, ends: int, ended: str | None) -> None:
    """Record that a worker has ended for the ``ends``-th time, or, if ``ended`` is None, that it runs again."""
    _status_file(folder, number).unlink(missing_ok=True)
    _replace(_end_file(folder, number), json.dumps({"ends": ends, "ended": ended}).encode())


def accepts_requests(folder: Path, workers: int) -> bool:
    """Return whether any of so many workers has published that it accepts requests."""
    return any(_status_file(folder, number).exists() for number in range(workers))


def to_dict(worker: Worker) -> dict[str, Any]:
    """Return a worker's status as JSON-able values."""
    return asdict(worker)


def _status_file(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.json"


def _end_file(folder: Path, number: int) -> Path:
    return folder / f"ended-{number}.json"


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(content)
    new.replace(path)
