"""What the worker processes of one service know of each other: a small file each, in a folder that they share."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TELL_SECONDS = 1.0
"""Between two times that a worker says how it is."""
SILENT_SECONDS = 15.0
"""Without a word from its event loop, a worker takes requests that it does not answer."""


@dataclass(frozen=True)
class Worker:
    """One worker process, as far as is known.

    pid: None while it takes no requests. missing: why it is not ready, by model or part. ends: how often it has ended
    and was started anew. ended: how it did last, and when it begins again.
    """

    number: int
    pid: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    ends: int = 0
    ended: str | None = None


class WorkerStatus:
    """The workers of one service, of which this process is number ``own``; alone where there is no folder."""

    def __init__(self, folder: Path | None, own: int = 0, workers: int = 1) -> None:
        self.own, self._folder, self._count = own, folder, workers
        self._told: bytes | None = None

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self._folder is not None

    def tell(self, missing: Mapping[str, str]) -> None:
        """Say that this worker takes requests, and why it is not ready, if it is not."""
        if self._folder is None:
            return
        said = json.dumps({"pid": os.getpid(), "missing": dict(missing)}).encode()
        path = _path(self._folder, self.own)
        with suppress(OSError):  # where nothing can be written, the others hear nothing, and say so
            if said != self._told:
                _replace(path, said)
                self._told = said
            os.utime(path)

    def withdraw(self) -> None:
        """Say that this worker takes no requests yet."""
        if self._folder is not None:
            _path(self._folder, self.own).unlink(missing_ok=True)
            self._told = None

    def workers(self) -> list[Worker]:
        """Return what is known of all of them, by their numbers."""
        return [self._read(number) for number in range(self._count)]

    def missing(self) -> dict[str, str]:
        """Return why others that take requests are not ready, by worker; empty when all of them are."""
        others = [worker for worker in self.workers() if worker.number != self.own and worker.pid is not None]
        return {f"worker {worker.number}": "; ".join(worker.missing.values()) for worker in others if worker.missing}

    def answering(self) -> bool:
        """Return whether another one takes requests and can answer them."""
        return any(w.pid is not None and not w.missing for w in self.workers() if w.number != self.own)

    def _read(self, number: int) -> Worker:
        if self._folder is None:
            return Worker(number, os.getpid())
        ended = _load(self._folder / f"ended-{number}.json")
        path = _path(self._folder, number)
        said = _load(path)
        try:
            silent = time.time() - path.stat().st_mtime
        except OSError:
            said = {}
        if said and silent > SILENT_SECONDS:
            said["missing"] = {"process": f"has not been heard of for {silent:.0f} s"}
        return Worker(number, **said, **ended)


def note_end(folder: Path, number: int, ends: int, said: str | None) -> None:
    """Note that a worker has ended for the ``ends``-th time and takes no requests, or, without a word, begins again."""
    _path(folder, number).unlink(missing_ok=True)
    _replace(folder / f"ended-{number}.json", json.dumps({"ends": ends, "ended": said}).encode())


def to_dict(worker: Worker) -> dict[str, Any]:
    """Return what is known of a worker, as JSON-able values."""
    return asdict(worker)


def _path(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.json"


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(content)
    new.replace(path)
