"""Whether what is answered can be written down: what the last write said, and then what a try says."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from keel.errors import SpoolFailed, SpoolFull
from keel.serving.prediction_log.spool.files import LocalFiles

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool import Spool

log = logging.getLogger(__name__)

TRY_BYTES = 2**18
"""What a try writes, and what must be left below the limit: room for some requests, not for one."""
TRY_SECONDS = 1.0
"""Between tries, whoever asks."""


class WriteGuard:
    """What stands in the way of writing to a spool, or nothing.

    failed: what the disk said, if it did not write. full: why there is no room. Both None: the last write succeeded, or
    a try did since.
    """

    def __init__(self, spool: Spool, folder: Path, max_bytes: int) -> None:
        self.failed: str | None = None
        self.full: str | None = None
        self._spool, self._max_bytes = spool, max_bytes
        self._try = folder / f"room-{os.getpid()}"
        self._files = LocalFiles()
        self._trying = threading.Lock()
        self._tried_at = float("-inf")

    @property
    def missing(self) -> str | None:
        """Why writes are refused; None if they are not."""
        return self.failed or self.full

    def note(self, kept: Future[None]) -> None:
        """Note what became of a write."""
        error = kept.exception()
        if error is None:
            self._is(None, None)
        elif isinstance(error, SpoolFailed):
            self._is(str(error), None)
        elif isinstance(error, SpoolFull):
            self._is(None, str(error))

    def look(self) -> None:
        """If writes are refused, try whether they would be still: no request may come that finds out."""
        if self.missing is None or not self._trying.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._tried_at < TRY_SECONDS:
                return
            self._tried_at = time.monotonic()
            if self._spool.stats.bytes + min(TRY_BYTES, self._max_bytes // 8) <= self._max_bytes and self._can_write():
                self._is(None, None)
        finally:
            self._trying.release()

    def _is(self, failed: str | None, full: str | None) -> None:
        before, self.failed, self.full = self.missing, failed, full
        if (before is None) is not (self.missing is None):
            log.info("the spool takes records again") if before else log.error("requests are refused: %s", self.missing)

    def _can_write(self) -> bool:
        """Do what the spool does after a failure: begin a file."""
        try:
            handle = self._files.open(self._try)
            try:
                self._files.write(handle, bytes(TRY_BYTES), 0)
                self._files.sync(handle)
            finally:
                self._files.close(handle)
                self._files.remove(self._try)
        except OSError:
            return False
        return True
