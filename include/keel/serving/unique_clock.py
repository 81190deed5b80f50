"""Times for rows that state none: the clock's microseconds, each given once on a machine."""

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
"""No rows come so fast that they are a second ahead of the clock: then it was set back, and what it says now counts."""
_NEXT = struct.Struct("<q")


class UniqueClock:
    """Gives microseconds, none twice while nobody sets the clock back.

    folder: where all processes of a machine that answer for the same models share what was given last, as an id follows
    from entity and time, and of two rows with one id the store keeps one. None: this process shares with nobody. The
    folder is there, on a local disk; raises OSError if it cannot be used.
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
                os.pwrite(self._handle, bytes(_NEXT.size), 0)  # not a hole, for which a full disk would have no room
            self._shared = mmap.mmap(self._handle, _NEXT.size)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def __call__(self, rows: int) -> int:
        """Return the first of ``rows`` consecutive microseconds since the epoch."""
        with self._lock:
            if self._handle is None:
                return self._given(rows)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                return self._given(rows)
            finally:
                fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _given(self, rows: int) -> int:
        now = time.time_ns() // 1000
        (following,) = _NEXT.unpack_from(self._shared)
        first = now if following - now > SET_BACK_MICROS else max(now, following)
        _NEXT.pack_into(self._shared, 0, first + rows)
        return first
