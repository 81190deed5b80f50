"""How records lie in a segment, and how they are found again when some of its bytes are not what was written.

A record is a frame: a marker, the length, its sequence number, that of the first record of its group (everything
before the group was durable when this was written), the time, and two checksums: of the content, and of the header. So
a changed length is noticed, and the search for the next whole frame begins. Both checksums start from the segment's
salt, which no client knows: content that imitates a frame is never taken for one. A frame without content is the end
that a writer sets when it closes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

MARKER = b"\xf1KR\n"
_HEADER = struct.Struct("<4sIQQQI")
_CHECKSUM = struct.Struct("<I")
FRAME_BYTES = _HEADER.size + _CHECKSUM.size
"""What a record takes beyond its content."""
LONGEST = 2**32 - 1


class Frame(NamedTuple):
    """A record that is what was written; ``at`` in microseconds since 1970; ``start`` and ``end`` are offsets."""

    sequence: int
    group: int
    at: int
    content: bytes
    start: int
    end: int


class Bad(NamedTuple):
    """Bytes that are no frame, from ``start`` to ``end``."""

    start: int
    end: int
    reason: str


def frame(content: bytes, *, sequence: int, group: int, at: int, salt: int) -> bytes:
    """Return a record's frame.

    >>> len(frame(b"abc", sequence=1, group=1, at=0, salt=7)) == FRAME_BYTES + 3
    True
    """
    header = _HEADER.pack(MARKER, len(content), sequence, group, at, crc32(content, salt))
    return b"".join((header, _CHECKSUM.pack(crc32(header, salt)), content))


def scan(data: bytes, start: int, salt: int) -> Iterator[Frame | Bad]:
    """Go through a segment's bytes from an offset on: whole frames, and between them stretches that are none.

    Zeros up to the end are room that was not used yet, and are passed over.
    """
    at = start
    while at < len(data):
        found = _frame_at(data, at, salt)
        if isinstance(found, Frame):
            yield found
            at = found.end
            continue
        following = _next_header(data, at + 1, salt)
        if following is None:
            rest = data[at:].rstrip(b"\0")
            if rest:
                yield Bad(at, at + len(rest), found)
            return
        yield Bad(at, following, found)
        at = following


def _frame_at(data: bytes, at: int, salt: int) -> Frame | str:
    header = _header_at(data, at, salt)
    if header is None:
        return "no whole record begins here"
    length, sequence, group, time, checksum = header
    start = at + FRAME_BYTES
    if start + length > len(data):
        return f"record {sequence} is cut off"
    content = data[start : start + length]
    if crc32(content, salt) != checksum:
        return f"the content of record {sequence} has changed"
    return Frame(sequence, group, time, content, at, start + length)


def _header_at(data: bytes, at: int, salt: int) -> tuple[int, int, int, int, int] | None:
    end = at + _HEADER.size
    if data[at : at + len(MARKER)] != MARKER or end + _CHECKSUM.size > len(data):
        return None
    if crc32(data[at:end], salt) != _CHECKSUM.unpack_from(data, end)[0]:
        return None
    _, length, sequence, group, time, checksum = _HEADER.unpack_from(data, at)
    return length, sequence, group, time, checksum


def _next_header(data: bytes, at: int, salt: int) -> int | None:
    while (at := data.find(MARKER, at)) >= 0:
        if _header_at(data, at, salt) is not None:
            return at
        at += 1
    return None
