"""The spool: a folder on the local disk that holds records until they are in the store."""

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
from functools import partial
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
from keel.serving.prediction_log.spool.writer import PREALLOCATION, Writer

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.files import Files

log = logging.getLogger(__name__)

MAX_BYTES = 2**30
SEGMENT_BYTES = 2**23
IN_A_FORK = "this process is a fork of the one that opened it; open a spool in the fork"

_OPEN: weakref.WeakSet[Spool] = weakref.WeakSet()


class Spool:
    """Records on the way to the store, in the order in which they were appended; one writer per process.

    Threads may share it: any number may append, one at a time should read (``next_batch`` … ``acknowledge``). A fork of
    the process cannot use it: every method raises SpoolFailed there, and the parent's records stay the parent's.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability,
        max_bytes: int,
        segment_bytes: int,
        preallocation: int,
        files: Files,
        clock: Callable[[], float],
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self._root = root
        self._files = files
        self._max_bytes = max_bytes
        self._dead_letters = dead_letters or DeadLetters(root, files, clock)
        self._open_aside = partial(
            Spool,
            root,
            durability=durability,
            max_bytes=max_bytes,
            segment_bytes=segment_bytes,
            preallocation=preallocation,
            files=files,
            clock=clock,
            dead_letters=self._dead_letters,
        )
        self._deferred: Spool | None = None
        self._own = Chain(claims.create(root, files, clock()), self._dead_letters, growing=True)
        self._adopted: list[Chain] = []
        writer = Writer(
            self._own, durability=durability, segment_bytes=segment_bytes, clock=clock, preallocation=preallocation
        )
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
        preallocation: int = PREALLOCATION,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Return a spool for this process in a folder that processes share, with the records of ended ones adopted.

        max_bytes : int
            How many bytes may wait, adopted ones included. The spool takes up to two segments more on the disk.
        segment_bytes : int
            Size of a file at which the next one is started.
        preallocation : int
            Step in bytes in which files grow.

        Raises SpoolFailed if the folder cannot be used.
        """
        try:
            spool = cls(
                Path(folder),
                durability=durability,
                max_bytes=max_bytes,
                segment_bytes=segment_bytes,
                preallocation=preallocation,
                files=files or LocalFiles(),
                clock=clock,
            )
        except OSError as error:
            raise SpoolFailed(f"cannot open the spool in {folder}: {error}") from error
        _OPEN.add(spool)
        spool.adopt()
        return spool

    def append(self, records: Sequence[bytes], *, inline: bool = False, limited: bool = True) -> Future[None]:
        """Append records, all or none; return a future that is done once they are as durable as configured.

        The call does not wait, and the future cannot be cancelled. With ``inline`` the call may wait: this thread
        writes by itself if no other is writing, which is faster for a thread without other work. The future fails with
        SpoolFull (at once at ``max_bytes``, later if the disk is full) or SpoolFailed (the disk does not write, or the
        spool is closed). Failed records are not delivered, unless the process ends before the next write succeeds.
        limited: whether ``max_bytes`` counts. Raises ValueError for an empty record.
        """
        records = tuple(records)
        if not all(isinstance(record, bytes) and 0 < len(record) <= LONGEST for record in records):
            raise ValueError(f"a record must be 1 to {LONGEST} bytes")
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        size = size_of(records)
        # in a fork, a thread that does not exist there may hold the lock
        refusal = self._refusal(size, limited) if self._ended else None
        claimed = False
        if refusal is None:
            with self._appending:
                refusal = self._refusal(size, limited)
                if refusal is None:
                    claimed = inline and self._flusher.try_claim(size)
                    if not claimed:
                        self._flusher.add(records, size, done)
        if refusal is not None:
            done.set_exception(refusal)
        elif claimed:  # without the lock; otherwise other threads would wait for the disk
            self._flusher.write_inline(records, size, done)
        return done

    def next_batch(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the oldest durable records not yet acknowledged, adopted ones first; None if there are none.

        A batch has at least one record, whatever its size; otherwise at most so many records and bytes, all from one
        file. The same call returns the same records until they are acknowledged. Damage on the way goes to the dead
        letters. Raises SpoolFailed if a file cannot be read now, after all others are acknowledged.
        """
        failure: OSError | None = None
        with self._reader():
            for chain in [*self._adopted, self._own]:
                try:
                    batch = chain.read(max_records, max_bytes)
                    if batch is not None:
                        return batch
                    self._release(chain)
                except OSError as error:
                    log.error("cannot read the spool in %s: %s", chain.folder, error)
                    failure = error
        if failure is not None:
            raise SpoolFailed(f"cannot read the spool in {self._root}: {failure}") from failure
        return None

    def acknowledge(self, batch: Batch) -> None:
        """Mark a batch as stored, so that it is not delivered again, and delete finished files. Safe to repeat."""
        with self._reader():
            chain = batch.position.chain
            try:
                if chain.acknowledge(batch.position):
                    self._acknowledged += len(batch.records)
                if not chain.segments:
                    self._release(chain)
            except OSError as error:
                raise SpoolFailed(f"cannot read or clean up the spool in {chain.folder}: {error}") from error

    def reject(self, batch: Batch, index: int, reason: str) -> None:
        """Move one record that no store accepts to the dead letters. Acknowledge the batch afterwards."""
        with self._reader():
            batch.position.chain.reject(batch.position, index, batch.records[index], reason)

    def defer(self, batch: Batch, indexes: Sequence[int], *, again: bool = False) -> None:
        """Copy records of a batch to a folder of their own, where they hold up no others. Acknowledge the batch then.

        If the process ends in between, they are delivered twice. The folder may hold ``max_bytes`` of its own.
        again: whether the batch is of that folder, so that the copies are in the place of the records once it is
        acknowledged; then the folder cannot be too full. Raises SpoolFull or SpoolFailed; then nothing is copied.
        """
        if self._deferred is None:
            try:
                self._deferred = self._open_aside()
            except OSError as error:
                raise SpoolFailed(f"cannot open another spool in {self._root}: {error}") from error
            _OPEN.add(self._deferred)
        self._deferred.append([batch.records[index] for index in indexes], limited=not again).result()

    @property
    def deferred(self) -> Spool | None:
        """The spool of the records that `defer` copied; None before there were any."""
        return self._deferred

    def adopt(self) -> int:
        """Take over the folders of ended processes; return how many of them held records."""
        count = 0
        with self._reader():
            held = {chain.folder.name for chain in (self._own, *self._adopted)}
            for claim in claims.claim_abandoned(self._root, self._files, held):
                chain = Chain(claim, self._dead_letters, growing=False)
                try:
                    chain.load()
                except OSError as error:
                    log.error("cannot adopt the spool in %s, will try again: %s", chain.folder, error)
                    chain.abandon()
                    continue
                self._adopted.append(chain)
                if chain.segments:
                    count += 1
                    log.info("adopted %d records of an ended process in %s", chain.records, chain.folder)
                else:
                    self._release(chain)
            self._takeovers += count
        return count

    @property
    def stats(self) -> Stats:
        """The spool's state, also after it is closed."""
        aside = self._deferred
        chains = (self._own, *self._adopted, *((aside._own,) if aside else ()))
        oldest = min((chain.oldest for chain in chains if chain.oldest is not None), default=None)
        return Stats(
            records=sum(chain.records for chain in chains),
            bytes=sum(chain.bytes for chain in chains),
            oldest_at=None if oldest is None else datetime.fromtimestamp(oldest / 1e6, UTC),
            full=self._flusher.disk_full or self._used() >= self._max_bytes,
            dead_letters=self._dead_letters.count,
            torn=self._dead_letters.torn,
            damage=tuple(self._dead_letters.latest),
            appended=self._flusher.appended,
            acknowledged=self._acknowledged,
            failed=self._flusher.failed,
            durable_writes=self._flusher.durable_writes,
            adopted=self._takeovers,
            deferred=aside._own.records if aside else 0,
        )

    def close(self) -> None:
        """Write what waits and stop. Records not acknowledged stay in the folder for the next process to adopt."""
        if self._ended:
            return
        with self._appending:
            self._ended = "close was called"
        if self._deferred is not None:
            self._deferred.close()
        self._flusher.stop()
        _OPEN.discard(self)
        with self._reading:
            for chain in (*self._adopted, self._own):
                try:
                    chain.release()
                except OSError as error:
                    log.error("cannot clean up the spool in %s: %s", chain.folder, error)

    def _refusal(self, size: int, limited: bool) -> KeelError | None:
        if self._ended:
            return SpoolFailed(f"the spool in {self._root} is closed: {self._ended}")
        if limited and self._used() + size > self._max_bytes:
            return SpoolFull(
                f"the spool in {self._root} holds {self._used()} of the {self._max_bytes} bytes that it may: check "
                "that the store accepts rows, or raise KEEL_SPOOL_MAX_BYTES"
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

    def _release(self, chain: Chain) -> None:
        if chain in self._adopted:
            chain.release()
            self._adopted.remove(chain)

    def _disable(self) -> None:
        """Disable the spool in a fork, and close its locks, so that the folder is free when the parent has ended."""
        self._ended = IN_A_FORK
        for chain in (*self._adopted, self._own):
            chain.abandon()


def _after_fork() -> None:
    for spool in list(_OPEN):
        spool._disable()


os.register_at_fork(after_in_child=_after_fork)
