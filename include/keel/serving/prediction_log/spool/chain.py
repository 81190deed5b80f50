"""A chain: the records of one writer in order, segment after segment, read from the first one not acknowledged."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.serving.prediction_log.spool.ack_mark import AckMark
from keel.serving.prediction_log.spool.frames import FRAME_BYTES, Bad, Frame, scan
from keel.serving.prediction_log.spool.segments import (
    HEAD_BYTES,
    VERSION,
    Bounds,
    Segment,
    damaged_head,
    read_readable,
    version_of,
)

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.claims import Claim
    from keel.serving.prediction_log.spool.dead_letters import DeadLetters, Kind


@dataclass(frozen=True, slots=True)
class Position:
    """Where a batch lies: its segment, its records' numbers, where the last ends, and when the first was appended."""

    chain: Chain
    segment: int
    end: int
    sequences: tuple[int, ...]
    at: int


class Chain:
    """One writer's folder. The writer's thread calls ``extend``; one reader at a time calls all other methods.

    bytes : int
        Size of the records that are durable and not acknowledged, with their headers.
    oldest : int or None
        When the first of them was appended, in microseconds since 1970.
    """

    def __init__(self, claim: Claim, dead_letters: DeadLetters, *, growing: bool) -> None:
        self.claim = claim
        self.folder = claim.folder
        self.segments: deque[Segment] = deque()
        self.growing = growing
        self.end = self.acknowledged = 1
        self.bytes = 0
        self.oldest: int | None = None
        self._files = claim.files
        self._mark = AckMark(claim.folder, claim.files)
        self._dead_letters = dead_letters
        self._lock = threading.Lock()
        self._offset = 0
        self._expected = 1
        self._loaded: tuple[int, int, bytes] = (-1, 0, b"")
        self._reported: set[tuple[int, str]] = set()
        self._preserve_file = False

    @property
    def records(self) -> int:
        """How many records are durable and not acknowledged."""
        return max(0, self.end - self.acknowledged)

    def load(self) -> None:
        """Read what an ended process left in the folder."""
        found = [Segment.named(self.folder / name) for name in self._files.names(self.folder)]
        self.segments = deque(sorted((segment for segment in found if segment), key=lambda segment: segment.number))
        for segment, following in zip(self.segments, list(self.segments)[1:], strict=False):
            segment.bounds = Bounds(self._files.size(segment.path), following.first)
        if isinstance(marked := self._mark.read(), bytes):
            reason = "the acknowledgement mark cannot be read; records are delivered again"
            self._dead_letters.add("torn", f"{self.folder.name}/{self._mark.path.name}", marked, reason)
            marked = 0
        if self.segments:
            last = self.segments[-1]
            self.end = last.find_end(read_readable(self._files, last.path, 0, self._files.size(last.path))[0])
            self._expected = self.segments[0].first
        self.acknowledged = max(marked, self._expected)
        self.bytes = sum(max(0, segment.bounds.size - HEAD_BYTES) for segment in self.segments)
        while len(self.segments) > 1 and self.segments[1].first <= self.acknowledged:
            self._finish_segment()
        self._update_oldest()
        self._skip_acknowledged()

    def extend(self, segment: Segment, bounds: Bounds, at: int) -> None:
        """Add records that have become durable in a segment, which may be a new one."""
        with self._lock:
            is_new = not self.segments or self.segments[-1] is not segment
            self.bytes += bounds.size - (HEAD_BYTES if is_new else segment.bounds.size)
            segment.bounds = bounds
            if is_new:
                self.segments.append(segment)
            self.end = bounds.end or self.end
            if self.oldest is None:
                self.oldest = at

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the oldest records not yet acknowledged, of one segment; None if there are none."""
        while self.segments:
            # in this order: once another segment is started, this one no longer grows
            growing = self.growing and len(self.segments) == 1
            batch = self._read(self.segments[0], max_records, max_bytes)
            if batch or growing:
                return batch
            self._finish_segment()
        return None

    def acknowledge(self, position: Position) -> bool:
        """Mark a batch as stored; False if it was marked before."""
        if not self.segments or self.segments[0].number != position.segment or position.end <= self._offset:
            return False
        with self._lock:
            self.bytes -= position.end - max(self._offset, HEAD_BYTES)
            self._offset = position.end
            self._expected = self.acknowledged = position.sequences[-1] + 1
        self._mark.write(self.acknowledged)
        self._update_oldest()
        return True

    def reject(self, position: Position, index: int, record: bytes, reason: str) -> None:
        """Move one record of a batch to the dead letters."""
        place = f"{self.folder.name}/{position.sequences[index]}"
        damage = self._dead_letters.add("rejected", place, record, reason)
        self._preserve_file |= damage.file is None

    def release(self) -> None:
        """Release the folder for the next process; delete it if nothing in it is left to deliver."""
        self.growing = False
        if not self.records:
            while self.segments:
                self._finish_segment()
        self._mark.close(remove=not self.segments)
        if self.segments:
            self.claim.release()
        else:
            self.claim.delete()

    def abandon(self) -> None:
        """Close the handles without touching any file, as in a fork, where the lock is the parent's."""
        self._mark.close(remove=False)
        self.claim.release()

    def _skip_acknowledged(self) -> None:
        ahead = self.read(1, 0)
        if ahead is not None:
            self._offset = ahead.position.end - len(ahead.records[0]) - FRAME_BYTES
            self._expected = ahead.position.sequences[0]
            self.bytes -= self._offset - HEAD_BYTES

    def _update_oldest(self) -> None:
        ahead = self.read(1, 0)
        with self._lock:
            if ahead is not None:
                self.oldest = ahead.position.at
            elif not self.records:
                self.oldest = None

    def _read(self, segment: Segment, max_records: int, max_bytes: int) -> Batch | None:
        records: list[bytes] = []
        sequences: list[int] = []
        end = at = size = 0
        for found in self._walk(segment):
            size += len(found.content)
            if records and (len(records) >= max_records or size > max_bytes):
                break
            at = at if records else found.at
            records.append(found.content)
            sequences.append(found.sequence)
            end = found.end
        if not records:
            return None
        return Batch(tuple(records), Position(self, segment.number, end, tuple(sequences), at))

    def _walk(self, segment: Segment) -> Iterator[Frame]:
        """Yield the records of a segment that are to be delivered, and report damage on the way."""
        bounds, expected, explained = segment.bounds, self._expected, False
        base, data = self._data(segment, bounds.size)
        if self._offset == 0 and (bad := damaged_head(data, segment)):
            if (version := version_of(data)) not in (None, VERSION):
                self._preserve_file = True
                reason = (
                    f"written in format {version}, but this Keel reads format {VERSION}; the whole file is preserved"
                )
                self._dead_letters.add("damaged", self._place(segment, 0), b"", reason)
                return
            self._report(segment, bad, data[: bad.end], expected)
        for found in scan(data, max(self._offset, HEAD_BYTES) - base, segment.salt):
            found = found._replace(start=found.start + base, end=found.end + base)
            if isinstance(found, Bad):
                self._report(segment, found, data[found.start - base : found.end - base], expected)
                explained = True
                continue
            if bounds.end is not None and found.sequence >= bounds.end:
                break
            if found.sequence < expected:
                again = Bad(found.start, found.end, f"record {found.sequence} a second time")
                self._report(segment, again, data[found.start - base : found.end - base], 0)
                continue
            if found.sequence > expected and not explained:
                self._report_missing(segment, found.start, expected, found.sequence)
            expected, explained = found.sequence + 1, False
            if found.content and found.sequence >= self.acknowledged:
                yield found
        if bounds.end is not None and expected < bounds.end and not explained:
            self._report_missing(segment, bounds.size, expected, bounds.end)

    def _data(self, segment: Segment, size: int) -> tuple[int, bytes]:
        number, base, data = self._loaded
        if number != segment.number or base + len(data) < size:
            base = self._offset
            data, whole = read_readable(self._files, segment.path, base, size - base)
            self._preserve_file |= not whole
            self._loaded = (segment.number, base, data)
        return base, data

    def _report(self, segment: Segment, bad: Bad, content: bytes, expected: int) -> None:
        end = segment.bounds.end
        if end is not None and expected >= end:
            return
        kind: Kind = "torn" if end is None and expected >= segment.durable_before else "damaged"
        key = (bad.start, kind)
        if key in self._reported:
            return
        self._reported.add(key)
        damage = self._dead_letters.add(kind, self._place(segment, bad.start), content, bad.reason)
        self._preserve_file |= damage.file is None and kind == "damaged"

    def _report_missing(self, segment: Segment, offset: int, first: int, end: int) -> None:
        if (offset, "missing") not in self._reported:
            self._reported.add((offset, "missing"))
            reason = f"records {first} to {end - 1} are missing"
            self._dead_letters.add("damaged", self._place(segment, offset), b"", reason)

    def _place(self, segment: Segment, offset: int) -> str:
        return f"{self.folder.name}/{segment.path.name}:{offset}"

    def _finish_segment(self) -> None:
        """Delete a segment that is read to its end, or preserve it if a part of it is not in the dead letters."""
        segment = self.segments[0]
        if self._preserve_file:
            self._dead_letters.add_file(segment.path, f"{self.folder.name}/{segment.path.name}")
        else:
            self._files.remove(segment.path)
        # sync after each deletion, so that a power loss never brings back a segment between two deleted ones; if the
        # sync fails, it may, and its records are delivered again
        with contextlib.suppress(OSError):
            self._files.sync_folder(self.folder)
        with self._lock:
            self.bytes -= max(0, segment.bounds.size - max(self._offset, HEAD_BYTES))
            self.segments.popleft()
            following = self.segments[0].first if self.segments else self.end
            self._offset, self._expected = 0, following
            self.acknowledged = max(self.acknowledged, following)
            self._preserve_file = False
        self._reported.clear()
        self._loaded = (-1, 0, b"")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order in which they were appended.

    records : sequence of bytes
        As passed to ``Spool.append``, at least one, none of them empty.
    position : Position
        For the spool only.
    """

    records: Sequence[bytes]
    position: Position
