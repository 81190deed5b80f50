"""The frame format: how records are laid out in a segment, and how whole ones are found among damaged bytes.

A frame holds a marker, the content's length, the record's sequence number, the sequence number of the first record of
its group, the time, a checksum of the content, a checksum of the header, and the content. All records before the group
were durable when the frame was written. The header's checksum reveals a changed length; the reader then searches for
the next whole frame. Both checksums start from the segment's salt, which no client knows, so that content that imitates
a frame is never read as one. A frame without content is the end mark of a writer that closed.
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
"""Bytes that a record takes beyond its content."""
LONGEST = 2**32 - 1


class Frame(NamedTuple):
    """An intact record. ``at``: microseconds since 1970; ``start``, ``end``: byte offsets in the segment."""

    sequence: int
    group: int
    at: int
    content: bytes
    start: int
    end: int


class Bad(NamedTuple):
    """Bytes from ``start`` to ``end`` that are not a frame."""

    start: int
    end: int
    reason: str


def frame(content: bytes, *, sequence: int, group: int, at: int, salt: int) -> bytes:
    """Return a record as a frame.

    >>> len(frame(b"abc", sequence=1, group=1, at=0, salt=7)) == FRAME_BYTES + 3
    True
    """
    header = _HEADER.pack(MARKER, len(content), sequence, group, at, crc32(content, salt))
    return b"".join((header, _CHECKSUM.pack(crc32(header, salt)), content))


def scan(data: bytes, start: int, salt: int) -> Iterator[Frame | Bad]:
    """Yield a segment's frames from an offset on, and the damaged parts between them.

    Zeros up to the end are preallocated bytes not used yet, and are skipped.
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
        return "no whole record starts here"
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
