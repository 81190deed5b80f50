"""The unique clock: microseconds for rows without a time, each returned only once on a machine."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from pathlib import Path

NAME = "ticks"
SET_BACK_MICROS = 1_000_000
"""Rows never arrive fast enough to be a second ahead of the clock. A larger lead means that the clock was set back."""
_NEXT = struct.Struct("<q")


class UniqueClock:
    """Returns microseconds since the epoch, none of them twice unless the clock is set back.

    folder: an existing folder on a local disk, in which all serving processes of a machine share the last microsecond.
    They must share it because an id is derived from entity and time, and the store keeps one of two rows with the same
    id. None: this process shares with no other. Raises OSError if the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._handle: int | None = None
        if folder is None:
            self._shared = mmap.mmap(-1, _NEXT.size)
            return
        self._handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            if os.fstat(self._handle).st_size < _NEXT.size:
                os.pwrite(
                    self._handle, bytes(_NEXT.size), 0
                )  # not a sparse file, which could fail later on a full disk
            self._shared = mmap.mmap(self._handle, _NEXT.size)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def __call__(self, rows: int) -> int:
        """Return the first of ``rows`` consecutive microseconds since the epoch."""
        with self._lock:
            if self._handle is None:
                return self._take(rows)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                return self._take(rows)
            finally:
                fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _take(self, rows: int) -> int:
        now = time.time_ns() // 1000
        (following,) = _NEXT.unpack_from(self._shared)
        first = now if following - now > SET_BACK_MICROS else max(now, following)
        _NEXT.pack_into(self._shared, 0, first + rows)
        return first
