"""The write guard: whether the spool accepts writes, by the last write's result and then by probing the disk."""

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

PROBE_BYTES = 2**18
"""What a probe writes, and what must be free below the spool's limit: space for several requests."""
PROBE_SECONDS = 1.0
"""Between probes, however often they are asked for."""


class WriteGuard:
    """Knows whether a spool accepts writes.

    failed: what the disk reported, if it does not write. full: why there is no space. Both are None when the last write
    or a probe since then succeeded.
    """

    def __init__(self, spool: Spool, folder: Path, max_bytes: int, *, probe_seconds: float = PROBE_SECONDS) -> None:
        self.failed: str | None = None
        self.full: str | None = None
        self._spool, self._max_bytes, self._probe_seconds = spool, max_bytes, probe_seconds
        self._probe_file = folder / f"probe-{os.getpid()}"
        self._files = LocalFiles()
        self._probing = threading.Lock()
        self._probed_at = float("-inf")

    @property
    def refusal(self) -> str | None:
        """Why writes are refused; None if they are not."""
        return self.failed or self.full

    def record(self, write: Future[None]) -> None:
        """Record the result of a write that is done."""
        error = write.exception()
        if error is None:
            self._set(None, None)
        elif isinstance(error, SpoolFailed):
            self._set(str(error), None)
        elif isinstance(error, SpoolFull):
            self._set(None, str(error))

    def probe(self) -> None:
        """While writes are refused, test whether they would succeed now, as no request may come to find out."""
        if self.refusal is None or not self._probing.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._probed_at < self._probe_seconds:
                return
            self._probed_at = time.monotonic()
            needed = min(PROBE_BYTES, self._max_bytes // 8)
            if self._spool.stats.bytes + needed <= self._max_bytes and self._can_write():
                self._set(None, None)
        finally:
            self._probing.release()

    def _set(self, failed: str | None, full: str | None) -> None:
        before, self.failed, self.full = self.refusal, failed, full
        if before and not self.refusal:
            log.info("the spool accepts records again")
        elif self.refusal and not before:
            log.error("requests are refused: %s", self.refusal)

    def _can_write(self) -> bool:
        """Write a new file, as the spool does after a failure."""
        try:
            handle = self._files.open(self._probe_file)
            try:
                self._files.write(handle, bytes(PROBE_BYTES), 0)
                self._files.sync(handle)
            finally:
                self._files.close(handle)
                self._files.remove(self._probe_file)
        except OSError:
            return False
        return True
