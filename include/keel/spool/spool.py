"""A folder on the local disk that keeps records until they are in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from keel.spool.files import Files
from keel.spool.state import Batch, Durability, Stats

MAX_BYTES = 2**30
SEGMENT_BYTES = 2**23


class Spool:
    """Records on the way to the store, in the order in which they were appended; one writer per process.

    Threads may share it. Any number may append; one at a time should read (``next_batch`` … ``acknowledge``). A fork of
    the process must not use it: every method raises SpoolFailed there.
    """

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

        Raises SpoolFailed if the folder cannot be used.
        """
        raise NotImplementedError

    def append(self, records: Sequence[bytes]) -> Future[None]:
        """Keep records, all or none; the future is done once they are as durable as promised.

        It never blocks and cannot be cancelled. The future fails with SpoolFull (at once at ``max_bytes``, later if
        the disk is full) or SpoolFailed (the disk does not write; the spool is closed); what failed is not delivered.
        """
        raise NotImplementedError

    def next_batch(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the oldest durable records not yet acknowledged, those of adopted spools first; None if there are none.

        At least one record, whatever its size; then at most so many records and bytes. Until it is acknowledged, the
        same call gives the same records again. Damaged stretches on the way are set aside.
        """
        raise NotImplementedError

    def acknowledge(self, batch: Batch) -> None:
        """The batch is in the store: never deliver it again, and delete the files that are through. Twice is harmless."""
        raise NotImplementedError

    def reject(self, batch: Batch, index: int, reason: str) -> None:
        """Set aside one record of a batch that no store will ever take; it is out once the batch is acknowledged."""
        raise NotImplementedError

    def adopt(self) -> int:
        """Take over the spools of processes that have ended, and return how many there were."""
        raise NotImplementedError

    @property
    def stats(self) -> Stats:
        """What the spool holds and has done."""
        raise NotImplementedError

    def close(self) -> None:
        """Make durable what waits, and stop; what is not acknowledged stays in the folder for the next to adopt."""
        raise NotImplementedError
