"""The records of one writer in their order: segment after segment, read from where the acknowledged ones end."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.serving.prediction_log.spool.ack_mark import Mark
from keel.serving.prediction_log.spool.frames import FRAME_BYTES, Bad, Frame, scan
from keel.serving.prediction_log.spool.segments import (
    HEAD_BYTES,
    VERSION,
    Bounds,
    Segment,
    damaged_head,
    read_what_can_be,
    version_of,
)

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.claims import Claim
    from keel.serving.prediction_log.spool.dead_letters import DeadLetters, Kind


@dataclass(frozen=True, slots=True)
class Position:
    """What a batch holds: records of one segment, where the last of them ends, and when the first was appended."""

    chain: Chain
    segment: int
    end: int
    sequences: tuple[int, ...]
    at: int


class Chain:
    """One writer's folder. The writer's thread calls ``extend``; all else is called by one reader at a time.

    bytes : int
        Of records that are durable and not acknowledged, with their headers.
    oldest : int or None
        When the first of them was appended, in microseconds since 1970.
    """

    def __init__(self, claim: Claim, aside: DeadLetters, *, growing: bool) -> None:
        self.claim = claim
        self.folder = claim.folder
        self.segments: deque[Segment] = deque()
        self.growing = growing
        self.end = self.acknowledged = 1
        self.bytes = 0
        self.oldest: int | None = None
        self._files = claim.files
        self._mark = Mark(claim.folder, claim.files)
        self._aside = aside
        self._lock = threading.Lock()
        self._offset = 0
        self._expected = 1
        self._loaded: tuple[int, int, bytes] = (-1, 0, b"")
        self._noted: set[tuple[int, str]] = set()
        self._keep_whole = False

    @property
    def records(self) -> int:
        """How many are durable and not acknowledged."""
        return max(0, self.end - self.acknowledged)

    def load(self) -> None:
        """Find what an ended process has left in the folder."""
        found = [Segment.named(self.folder / name) for name in self._files.names(self.folder)]
        self.segments = deque(sorted((segment for segment in found if segment), key=lambda segment: segment.number))
        for segment, following in zip(self.segments, list(self.segments)[1:], strict=False):
            segment.bounds = Bounds(self._files.size(segment.path), following.first)
        if isinstance(marked := self._mark.read(), bytes):
            reason = "how far records were acknowledged cannot be read; they are delivered again"
            self._aside.keep("torn", f"{self.folder.name}/{self._mark.path.name}", marked, reason)
            marked = 0
        if self.segments:
            last = self.segments[-1]
            self.end = last.look_for_end(read_what_can_be(self._files, last.path, 0, self._files.size(last.path))[0])
            self._expected = self.segments[0].first
        self.acknowledged = max(marked, self._expected)
        self.bytes = sum(max(0, segment.bounds.size - HEAD_BYTES) for segment in self.segments)
        while len(self.segments) > 1 and self.segments[1].first <= self.acknowledged:
            self._finish()
        self._look_ahead()
        self._skip_acknowledged()

    def extend(self, segment: Segment, bounds: Bounds, at: int) -> None:
        """Records have become durable in a segment, which may be a new one."""
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
            # in this order: once another segment has been begun, nothing is added to this one
            growing = self.growing and len(self.segments) == 1
            batch = self._read(self.segments[0], max_records, max_bytes)
            if batch or growing:
                return batch
            self._finish()
        return None

    def acknowledge(self, position: Position) -> bool:
        """Note that what ends there is in the store; False if that is known already."""
        if not self.segments or self.segments[0].number != position.segment or position.end <= self._offset:
            return False
        with self._lock:
            self.bytes -= position.end - max(self._offset, HEAD_BYTES)
            self._offset = position.end
            self._expected = self.acknowledged = position.sequences[-1] + 1
        self._mark.write(self.acknowledged)
        self._look_ahead()
        return True

    def reject(self, position: Position, index: int, record: bytes, reason: str) -> None:
        """Set one record of a batch aside."""
        place = f"{self.folder.name}/{position.sequences[index]}"
        damage = self._aside.keep("rejected", place, record, reason)
        self._keep_whole |= damage.kept is None

    def release(self) -> None:
        """Leave the folder to whoever comes next; delete it if there is nothing more in it to deliver."""
        self.growing = False
        if not self.records:
            while self.segments:
                self._finish()
        self._mark.close(remove=not self.segments)
        if self.segments:
            self.claim.release()
        else:
            self.claim.delete()

    def forget(self) -> None:
        """Give the lock's handle back in a fork, where it keeps nobody out."""
        self._mark.close(remove=False)
        self.claim.release()

    def _skip_acknowledged(self) -> None:
        ahead = self.read(1, 0)
        if ahead is not None:
            self._offset = ahead.position.end - len(ahead.records[0]) - FRAME_BYTES
            self._expected = ahead.position.sequences[0]
            self.bytes -= self._offset - HEAD_BYTES

    def _look_ahead(self) -> None:
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
        """Give what is to be delivered of a segment; note on the way what is not what was written."""
        bounds, expected, explained = segment.bounds, self._expected, False
        base, data = self._data(segment, bounds.size)
        if self._offset == 0 and (bad := damaged_head(data, segment)):
            if (version := version_of(data)) not in (None, VERSION):
                self._keep_whole = True
                reason = f"written in format {version}, and this reads {VERSION}; the file is kept whole"
                self._aside.keep("damaged", self._place(segment, 0), b"", reason)
                return
            self._note(segment, bad, data[: bad.end], expected)
        for found in scan(data, max(self._offset, HEAD_BYTES) - base, segment.salt):
            found = found._replace(start=found.start + base, end=found.end + base)
            if isinstance(found, Bad):
                self._note(segment, found, data[found.start - base : found.end - base], expected)
                explained = True
                continue
            if bounds.end is not None and found.sequence >= bounds.end:
                break
            if found.sequence < expected:
                again = Bad(found.start, found.end, f"record {found.sequence} a second time")
                self._note(segment, again, data[found.start - base : found.end - base], 0)
                continue
            if found.sequence > expected and not explained:
                self._note_missing(segment, found.start, expected, found.sequence)
            expected, explained = found.sequence + 1, False
            if found.content and found.sequence >= self.acknowledged:
                yield found
        if bounds.end is not None and expected < bounds.end and not explained:
            self._note_missing(segment, bounds.size, expected, bounds.end)

    def _data(self, segment: Segment, size: int) -> tuple[int, bytes]:
        number, base, data = self._loaded
        if number != segment.number or base + len(data) < size:
            base = self._offset
            data, whole = read_what_can_be(self._files, segment.path, base, size - base)
            self._keep_whole |= not whole
            self._loaded = (segment.number, base, data)
        return base, data

    def _note(self, segment: Segment, bad: Bad, content: bytes, expected: int) -> None:
        end = segment.bounds.end
        if end is not None and expected >= end:
            return
        kind: Kind = "torn" if end is None and expected >= segment.durable_before else "damaged"
        key = (bad.start, kind)
        if key in self._noted:
            return
        self._noted.add(key)
        damage = self._aside.keep(kind, self._place(segment, bad.start), content, bad.reason)
        self._keep_whole |= damage.kept is None and kind == "damaged"

    def _note_missing(self, segment: Segment, offset: int, first: int, end: int) -> None:
        if (offset, "missing") not in self._noted:
            self._noted.add((offset, "missing"))
            reason = f"records {first} to {end - 1} are missing"
            self._aside.keep("damaged", self._place(segment, offset), b"", reason)

    def _place(self, segment: Segment, offset: int) -> str:
        return f"{self.folder.name}/{segment.path.name}:{offset}"

    def _finish(self) -> None:
        """A segment is through: delete it, or keep it whole if something of it could not be set aside."""
        segment = self.segments[0]
        if self._keep_whole:
            self._aside.keep_file(segment.path, f"{self.folder.name}/{segment.path.name}")
        else:
            self._files.remove(segment.path)
        # one at a time, so that a power loss never brings back one from between two that are gone; where that fails, it
        # may, and is delivered again
        with contextlib.suppress(OSError):
            self._files.sync_folder(self.folder)
        with self._lock:
            self.bytes -= max(0, segment.bounds.size - max(self._offset, HEAD_BYTES))
            self.segments.popleft()
            following = self.segments[0].first if self.segments else self.end
            self._offset, self._expected = 0, following
            self.acknowledged = max(self.acknowledged, following)
            self._keep_whole = False
        self._noted.clear()
        self._loaded = (-1, 0, b"")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order in which they were appended, none of them empty, and where they end.

    records : sequence of bytes
        As they were handed to ``Spool.append``; at least one.
    position : Position
        The spool's own business.
    """

    records: Sequence[bytes]
    position: Position
