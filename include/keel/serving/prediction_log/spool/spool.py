"""A folder on the local disk that keeps records until they are in the store."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from keel.errors import KeelError, SpoolFailed, SpoolFull
from keel.serving.prediction_log.spool import claims
from keel.serving.prediction_log.spool.chain import Batch, Chain
from keel.serving.prediction_log.spool.dead_letters import DeadLetters
from keel.serving.prediction_log.spool.files import LocalFiles
from keel.serving.prediction_log.spool.flusher import Flusher, size_of
from keel.serving.prediction_log.spool.frames import LONGEST
from keel.serving.prediction_log.spool.state import Durability, Stats
from keel.serving.prediction_log.spool.writer import Writer

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.files import Files

log = logging.getLogger(__name__)

MAX_BYTES = 2**30
SEGMENT_BYTES = 2**23
IN_A_FORK = "this process is a fork of the one that opened it; open one here"

_OPEN: weakref.WeakSet[Spool] = weakref.WeakSet()


class Spool:
    """Records on the way to the store, in the order in which they were appended; one writer per process.

    Threads may share it. Any number may append; one at a time should read (``next_batch`` … ``acknowledge``). A fork of
    the process must not use it: every method raises SpoolFailed there, and what its parent appended stays the parent's.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability,
        max_bytes: int,
        segment_bytes: int,
        files: Files,
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._files = files
        self._max_bytes = max_bytes
        self._aside = DeadLetters(root, files, clock)
        self._own = Chain(claims.create(root, files, clock()), self._aside, growing=True)
        self._adopted: list[Chain] = []
        writer = Writer(self._own, durability=durability, segment_bytes=segment_bytes, clock=clock)
        self._flusher = Flusher(writer, root)
        self._appending = threading.Lock()
        self._reading = threading.RLock()
        self._ended: str | None = None
        self._acknowledged = self._takeovers = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        durability: Durability = Durability.FSYNC,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open a spool for this process in a folder that any number of processes share, and adopt what others left.

        max_bytes : int
            How much may wait in it, with what it adopts; what it takes on the disk is up to two segments more.
        segment_bytes : int
            How long a file gets before the next is begun.

        Raises SpoolFailed if the folder cannot be used.
        """
        try:
            spool = cls(
                Path(folder), durability=durability, max_bytes=max_bytes, segment_bytes=segment_bytes,
                files=files or LocalFiles(), clock=clock,
            )  # fmt: skip
        except OSError as error:
            raise SpoolFailed(f"the spool in {folder} cannot be opened: {error}") from error
        _OPEN.add(spool)
        spool.adopt()
        return spool

    def append(self, records: Sequence[bytes], *, here: bool = False) -> Future[None]:
        """Keep records, all or none; the future is done once they are as durable as promised.

        It does not wait, and cannot be cancelled. With ``here`` it may wait: this thread then writes by itself, if no
        other is writing, which is sooner for one who has nothing else to do. The future fails with SpoolFull (at once
        at ``max_bytes``, later if the disk is full) or SpoolFailed (the disk does not write, or the spool is closed).
        What failed is not delivered, unless the process ends before anything else is written. Raises ValueError for an
        empty record.
        """
        records = tuple(records)
        if not all(isinstance(record, bytes) and 0 < len(record) <= LONGEST for record in records):
            raise ValueError(f"a record is 1 to {LONGEST} bytes")
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        size = size_of(records)
        # in a fork the lock may be held by a thread that is not there
        refusal = self._refusal(size) if self._ended else None
        claimed = False
        if refusal is None:
            with self._appending:
                refusal = self._refusal(size)
                if refusal is None:
                    claimed = here and self._flusher.claim(size)
                    if not claimed:
                        self._flusher.add(records, size, done)
        if refusal is not None:
            done.set_exception(refusal)
        elif claimed:  # without the lock, which others would wait for as long as the disk takes
            self._flusher.write_here(records, size, done)
        return done

    def next_batch(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the oldest durable records not yet acknowledged, of adopted spools first; None if there are none.

        At least one record, whatever its size; then at most so many records and bytes, and none beyond the end of a
        file. Until it is acknowledged, the same call gives the same records again. Damaged stretches on the way are set
        aside. Raises SpoolFailed if something cannot be read now, once all else is acknowledged.
        """
        failure: OSError | None = None
        with self._reader():
            for chain in [*self._adopted, self._own]:
                try:
                    batch = chain.read(max_records, max_bytes)
                    if batch is not None:
                        return batch
                    self._let_go(chain)
                except OSError as error:
                    log.error("cannot read the spool in %s: %s", chain.folder, error)
                    failure = error
        if failure is not None:
            raise SpoolFailed(f"the spool in {self._root} cannot be read: {failure}") from failure
        return None

    def acknowledge(self, batch: Batch) -> None:
        """Never deliver a batch again: it is in the store. Deletes files that are through; twice is harmless."""
        with self._reader():
            chain = batch.position.chain
            try:
                if chain.acknowledge(batch.position):
                    self._acknowledged += len(batch.records)
                if not chain.segments:
                    self._let_go(chain)
            except OSError as error:
                raise SpoolFailed(f"the spool in {chain.folder} cannot be read or tidied up: {error}") from error

    def reject(self, batch: Batch, index: int, reason: str) -> None:
        """Set aside one record of a batch that no store will ever take; it is out once the batch is acknowledged."""
        with self._reader():
            batch.position.chain.reject(batch.position, index, batch.records[index], reason)

    def adopt(self) -> int:
        """Take over the spools of processes that have ended, and return how many had anything in them."""
        count = 0
        with self._reader():
            held = {chain.folder.name for chain in (self._own, *self._adopted)}
            for claim in claims.left_behind(self._root, self._files, held):
                chain = Chain(claim, self._aside, growing=False)
                try:
                    chain.load()
                except OSError as error:
                    log.error("cannot adopt the spool in %s, and try again later: %s", chain.folder, error)
                    chain.forget()
                    continue
                self._adopted.append(chain)
                if chain.segments:
                    count += 1
                    log.info("adopted %d records of an ended process in %s", chain.records, chain.folder)
                else:
                    self._let_go(chain)
            self._takeovers += count
        return count

    @property
    def stats(self) -> Stats:
        """What the spool holds and has done; also when it is closed."""
        chains = (self._own, *self._adopted)
        oldest = min((chain.oldest for chain in chains if chain.oldest is not None), default=None)
        return Stats(
            records=sum(chain.records for chain in chains),
            bytes=sum(chain.bytes for chain in chains),
            oldest_at=None if oldest is None else datetime.fromtimestamp(oldest / 1e6, UTC),
            full=self._flusher.no_room or self._used() >= self._max_bytes,
            set_aside=self._aside.count,
            torn=self._aside.torn,
            damage=tuple(self._aside.latest),
            appended=self._flusher.appended,
            acknowledged=self._acknowledged,
            failed=self._flusher.failed,
            durable_writes=self._flusher.durable_writes,
            adopted=self._takeovers,
        )

    def close(self) -> None:
        """Make durable what waits, and stop; what is not acknowledged stays in the folder for the next to adopt."""
        if self._ended:
            return
        with self._appending:
            self._ended = "close was called"
        self._flusher.stop()
        _OPEN.discard(self)
        with self._reading:
            for chain in (*self._adopted, self._own):
                try:
                    chain.release()
                except OSError as error:
                    log.error("cannot tidy up the spool in %s: %s", chain.folder, error)

    def _refusal(self, size: int) -> KeelError | None:
        if self._ended:
            return SpoolFailed(f"the spool in {self._root} is closed: {self._ended}")
        if self._used() + size > self._max_bytes:
            return SpoolFull(
                f"the spool in {self._root} holds the {self._max_bytes} bytes it may: see why the store does not take "
                "them, or allow the spool more"
            )
        return None

    def _used(self) -> int:
        return self._flusher.queued + self._own.bytes + sum(chain.bytes for chain in self._adopted)

    @contextmanager
    def _reader(self) -> Iterator[None]:
        if self._ended:
            raise SpoolFailed(f"the spool in {self._root} is closed: {self._ended}")
        with self._reading:
            yield

    def _let_go(self, chain: Chain) -> None:
        if chain in self._adopted:
            chain.release()
            self._adopted.remove(chain)

    def _forget(self) -> None:
        """Be of no use in a fork, and keep nobody from adopting the folder when the parent has ended."""
        self._ended = IN_A_FORK
        for chain in (*self._adopted, self._own):
            chain.forget()


def _after_fork() -> None:
    for spool in list(_OPEN):
        spool._forget()


os.register_at_fork(after_in_child=_after_fork)
