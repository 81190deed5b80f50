"""The flusher: a thread that writes waiting records as one group, so that many appends share one sync."""

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
"""Upper size of a group, so that no caller waits for one long write. A larger append is a group by itself."""
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Work(NamedTuple):
    records: Sequence[bytes]
    size: int
    done: Future[None]


class Flusher:
    """Accepts records from any thread and resolves their futures when they are written.

    queued : int
        Bytes accepted and not yet written.
    disk_full : bool
        True when the last group failed because the disk was full.
    appended, failed, durable_writes : int
        Records written, records that the disk did not take, groups written.
    """

    def __init__(self, writer: Writer, root: Path) -> None:
        self.queued = self.appended = self.failed = self.durable_writes = 0
        self.disk_full = False
        self._writer = writer
        self._root = root
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="keel-spool", daemon=True)
        self._thread.start()

    def add(self, records: Sequence[bytes], size: int, done: Future[None]) -> None:
        """Queue records and resolve ``done`` when they are written. Must not be called after ``stop``."""
        with self._lock:
            self.queued += size
        self._queue.put(_Work(records, size, done))

    def try_claim(self, size: int) -> bool:
        """Reserve the disk for the caller's thread, which then calls ``write_inline``; False if other records wait.

        Must not be called after ``stop``, which waits for a thread that has claimed.
        """
        with self._lock:
            # not the queue: the thread may hold records from it that it has not started to write
            if self.queued or not self._writing.acquire(blocking=False):
                return False
            self.queued += size
        return True

    def write_inline(self, records: Sequence[bytes], size: int, done: Future[None]) -> None:
        """Write records in this thread after `try_claim`, which saves two handovers between threads."""
        try:
            self._flush([_Work(records, size, done)])
        finally:
            self._writing.release()

    def stop(self) -> None:
        """Write what is queued, end the file, and wait for both."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self.next_group()
            if group:
                with self._writing:
                    self._flush(group)
        with self._writing:
            try:
                self._writer.close()
            except Exception as error:
                log.error("cannot write the end mark of the spool in %s: %r", self._root, error)

    def next_group(self) -> tuple[list[_Work], bool]:
        """Wait for records, take all that wait, and return them and whether ``stop`` was called."""
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
            # every error must reach the waiting callers; the next group starts a new file
            failure = _named(error, self._root)
            self.failed += count
            log.error("cannot write %d records: %s", count, failure)
        else:
            self.appended += count
            self.durable_writes += 1
        finally:  # also when an inline write is interrupted; otherwise no thread could write inline any more
            with self._lock:
                self.queued -= sum(work.size for work in group)
        self.disk_full = isinstance(failure, SpoolFull)
        for work in group:
            if failure:
                work.done.set_exception(failure)
            else:
                work.done.set_result(None)


def size_of(records: Sequence[bytes]) -> int:
    """Return the bytes that records take in a file."""
    return sum(map(len, records)) + FRAME_BYTES * len(records)


def _named(error: Exception, root: Path) -> KeelError:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return SpoolFull(f"the disk of the spool in {root} is full: {error}. Free space there.")
    return SpoolFailed(f"the spool in {root} cannot be written: {error!r}")
