"""The writer of a process's own chain: a group of records is one write and one sync, all or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keel.serving.prediction_log.spool.frames import FRAME_BYTES, frame
from keel.serving.prediction_log.spool.segments import HEAD_BYTES, Bounds, Segment
from keel.serving.prediction_log.spool.state import Durability

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.chain import Chain

PREALLOCATION = 2**18
"""Zeros are written ahead in steps of this many bytes. Most syncs then write no new file length, at half the cost."""


class Writer:
    """Appends groups to a chain. One thread at a time calls it.

    After any failure the writer abandons the file: the effect of a failed write or sync is unknown, and pages that were
    not synced may count as clean. The next group starts a new file, whose name states which old records are void.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        durability: Durability,
        segment_bytes: int,
        clock: Callable[[], float],
        preallocation: int = PREALLOCATION,
    ) -> None:
        self._chain = chain
        self._files = chain.claim.files
        self._sync = durability is Durability.FSYNC
        self._segment_bytes = segment_bytes
        self._preallocation = preallocation
        self._clock = clock
        self._handle: int | None = None
        self._segment: Segment | None = None
        self._end = self._allocated = self._number = 0

    def write(self, records: Sequence[bytes]) -> None:
        """Write a group as durably as configured. Raises OSError if that failed; then no record of it counts."""
        first = self._chain.end
        at = int(self._clock() * 1e6)
        size = sum(map(len, records)) + FRAME_BYTES * len(records)
        if self._segment and self._end > HEAD_BYTES and self._end + size > self._segment_bytes:
            self._close_segment(self._end)
        try:
            segment = self._segment or self._start_segment(first)
            frames = [
                frame(record, sequence=first + i, group=first, at=at, salt=segment.salt)
                for i, record in enumerate(records)
            ]
            self._put(segment, frames, size)
        except BaseException:
            self.abandon_segment()
            raise
        self._chain.extend(segment, Bounds(self._end, first + len(records)), at)

    def close(self) -> None:
        """Write the end mark, so that the next owner knows that no write was in progress."""
        if self._segment is None:
            return
        first = self._chain.end
        mark = frame(b"", sequence=first, group=first, at=int(self._clock() * 1e6), salt=self._segment.salt)
        with contextlib.suppress(OSError):
            self._put(self._segment, [mark], len(mark))
        self._close_segment(self._end)

    def _start_segment(self, first: int) -> Segment:
        self._number += 1
        self._segment = segment = Segment.new(self._chain.folder, self._number, first)
        self._handle = self._files.open(segment.path)
        self._end = self._allocated = 0
        return segment

    def _put(self, segment: Segment, frames: list[bytes], size: int) -> None:
        assert self._handle is not None
        is_new = self._end == 0
        content = b"".join([segment.head, *frames] if is_new else frames)
        end = self._end + len(content)
        if end > self._allocated:
            self._allocated = (end // self._preallocation + 1) * self._preallocation
            content = content.ljust(self._allocated - self._end, b"\0")
        self._files.write(self._handle, content, self._end)
        if self._sync:
            self._files.sync(self._handle)
            if is_new:
                self._files.sync_folder(self._chain.folder)
        self._end = end

    def _close_segment(self, size: int) -> None:
        """Close the file and cut off the preallocated bytes that it did not use."""
        handle, self._handle, self._segment = self._handle, None, None
        if handle is not None:
            with contextlib.suppress(OSError):
                self._files.truncate(handle, size)
            with contextlib.suppress(OSError):
                self._files.close(handle)

    def abandon_segment(self) -> None:
        """Close the file after a failure, cut back to where the failed group started if the disk allows it."""
        segment, end = self._segment, self._end
        self._close_segment(end)
        if segment and end == 0:
            with contextlib.suppress(OSError):
                self._files.remove(segment.path)
