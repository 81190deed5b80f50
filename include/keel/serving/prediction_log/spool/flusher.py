"""The thread that writes: what waits becomes one group, so that many appends share one sync."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from keel.errors import KeelError, SpoolFailed, SpoolFull
from keel.serving.prediction_log.spool.frames import FRAME_BYTES

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.writer import Writer

log = logging.getLogger(__name__)

GROUP_BYTES = 2**22
"""No more is taken into a group, so that nobody waits for one long write; a larger append is a group by itself."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Work(NamedTuple):
    records: Sequence[bytes]
    size: int
    done: Future[None]


class Flusher:
    """Takes records from any thread, and tells each when its own are kept.

    queued : int
        Bytes taken and not yet kept.
    no_room : bool
        True when the last group failed because the disk was full.
    appended, failed, durable_writes : int
        Records kept, records refused by the disk, groups kept.
    """

    def __init__(self, writer: Writer, root: Path) -> None:
        self.queued = self.appended = self.failed = self.durable_writes = 0
        self.no_room = False
        self._writer = writer
        self._root = root
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="keel-spool", daemon=True)
        self._thread.start()

    def add(self, records: Sequence[bytes], size: int, done: Future[None]) -> None:
        """Take records; ``done`` is told. The caller sees to it that nothing comes after ``stop``."""
        with self._lock:
            self.queued += size
        self._queue.put(_Work(records, size, done))

    def claim(self, size: int) -> bool:
        """Let the caller's thread write by itself, by ``write_here``; False if others wait or are being kept.

        The caller sees to it that nothing comes after ``stop``, which waits for whoever has claimed.
        """
        with self._lock:
            # not the queue: the thread may have taken from it what it has not begun to write
            if self.queued or not self._writing.acquire(blocking=False):
                return False
            self.queued += size
        return True

    def write_here(self, records: Sequence[bytes], size: int, done: Future[None]) -> None:
        """Keep records in this thread, which has claimed it: that spares two handovers between threads."""
        try:
            self._flush([_Work(records, size, done)])
        finally:
            self._writing.release()

    def stop(self) -> None:
        """Keep what was added, end the file, and wait for that."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._next_group()
            if group:
                with self._writing:
                    self._flush(group)
        with self._writing:
            try:
                self._writer.close()
            except Exception as error:
                log.error("the spool in %s could not be ended properly: %r", self._root, error)

    def _next_group(self) -> tuple[list[_Work], bool]:
        """Wait for work, take with it what else waits, and say whether that is the end."""
        group: list[_Work] = []
        size = 0
        while not group or (size < GROUP_BYTES and not self._queue.empty()):
            work = self._queue.get()
            if work is None:
                return group, True
            group.append(work)
            size += work.size
        return group, False

    def _flush(self, group: list[_Work]) -> None:
        count = sum(len(work.records) for work in group)
        failure: KeelError | None = None
        try:
            self._writer.write([record for work in group for record in work.records])
        except Exception as error:
            # whatever it is, those who wait must hear of it, and the next group finds a new file
            failure = _named(error, self._root)
            self.failed += count
            log.error("%d records could not be kept: %s", count, failure)
        else:
            self.appended += count
            self.durable_writes += 1
        finally:  # also where a thread that writes by itself is interrupted: nobody could write by himself any more
            with self._lock:
                self.queued -= sum(work.size for work in group)
        self.no_room = isinstance(failure, SpoolFull)
        for work in group:
            if failure:
                work.done.set_exception(failure)
            else:
                work.done.set_result(None)


def size_of(records: Sequence[bytes]) -> int:
    """Return what records take in a file, in bytes."""
    return sum(map(len, records)) + FRAME_BYTES * len(records)


def _named(error: Exception, root: Path) -> KeelError:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return SpoolFull(f"the disk under the spool in {root} is full: {error}; make room there")
    return SpoolFailed(f"the spool in {root} cannot be written: {error!r}")
