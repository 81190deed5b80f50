"""The writing side of a process's own chain: a group of records is one write and one sync, or it never was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keel.serving.prediction_log.spool.frames import FRAME_BYTES, frame
from keel.serving.prediction_log.spool.segments import HEAD_BYTES, Bounds, Segment
from keel.serving.prediction_log.spool.state import Durability

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.chain import Chain

ROOM = 2**18
"""Zeros are written ahead in steps of so many bytes: most syncs then need not write a new length, half the cost."""


class Writer:
    """Adds groups to a chain. One thread calls it.

    After any failure the file is left: what a failed write or sync has done to it is not known, and pages that could
    not be synced may since count as clean. The next group begins a new file, whose name says what of the old is void.
    """

    def __init__(self, chain: Chain, *, durability: Durability, segment_bytes: int, clock: Callable[[], float]) -> None:
        self._chain = chain
        self._files = chain.claim.files
        self._sync = durability is Durability.FSYNC
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._handle: int | None = None
        self._segment: Segment | None = None
        self._end = self._room = self._number = 0

    def write(self, records: Sequence[bytes]) -> None:
        """Write a group and make it as durable as promised; OSError if that failed, and then nothing of it counts."""
        first = self._chain.end
        at = int(self._clock() * 1e6)
        size = sum(map(len, records)) + FRAME_BYTES * len(records)
        if self._segment and self._end > HEAD_BYTES and self._end + size > self._segment_bytes:
            self._leave(self._end)
        try:
            segment = self._segment or self._begin(first)
            frames = [
                frame(record, sequence=first + i, group=first, at=at, salt=segment.salt)
                for i, record in enumerate(records)
            ]
            self._put(segment, frames, size)
        except BaseException:
            self._give_up()
            raise
        self._chain.extend(segment, Bounds(self._end, first + len(records)), at)

    def close(self) -> None:
        """Set the end after what was written, so that whoever adopts it knows that nothing was under way."""
        if self._segment is None:
            return
        first = self._chain.end
        mark = frame(b"", sequence=first, group=first, at=int(self._clock() * 1e6), salt=self._segment.salt)
        with contextlib.suppress(OSError):
            self._put(self._segment, [mark], len(mark))
        self._leave(self._end)

    def _begin(self, first: int) -> Segment:
        self._number += 1
        self._segment = segment = Segment.new(self._chain.folder, self._number, first)
        self._handle = self._files.open(segment.path)
        self._end = self._room = 0
        return segment

    def _put(self, segment: Segment, frames: list[bytes], size: int) -> None:
        assert self._handle is not None
        begins = self._end == 0
        content = b"".join([segment.head, *frames] if begins else frames)
        end = self._end + len(content)
        if end > self._room:
            self._room = (end // ROOM + 1) * ROOM
            content = content.ljust(self._room - self._end, b"\0")
        self._files.write(self._handle, content, self._end)
        if self._sync:
            self._files.sync(self._handle)
            if begins:
                self._files.sync_folder(self._chain.folder)
        self._end = end

    def _leave(self, size: int) -> None:
        """Close the file and give back the room that it did not need."""
        handle, self._handle, self._segment = self._handle, None, None
        if handle is not None:
            with contextlib.suppress(OSError):
                self._files.truncate(handle, size)
            with contextlib.suppress(OSError):
                self._files.close(handle)

    def _give_up(self) -> None:
        """Leave the file as it was before the group, as far as the disk lets."""
        segment, end = self._segment, self._end
        self._leave(end)
        if segment and end == 0:
            with contextlib.suppress(OSError):
                self._files.remove(segment.path)
