"""Segments: the files of one writer's records, their names and their heads."""

from __future__ import annotations

import errno
import re
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from zlib import crc32

from keel.serving.prediction_log.spool.frames import Bad, Frame, scan

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.files import Files

_MAGIC = b"KEELSPL"
VERSION = 1
_HEAD = struct.Struct("<7sBIQI")
_CHECKSUM = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CHECKSUM.size
BLOCK = 4096
"""Bytes read at a time where the disk cannot read the whole file."""
_NAME = re.compile(r"(\d{8})-(\d{20})-([0-9a-f]{8})\.seg")


class Bounds(NamedTuple):
    """How far a segment may be read: ``size`` bytes, and records before ``end`` (None: not known before reading)."""

    size: int
    end: int | None


@dataclass(slots=True)
class Segment:
    """One file of a writer's records.

    number : int
        The position of the file among the writer's files.
    first : int
        The sequence number of its first record. Records of an earlier file with this number or a later one belong to an
        append that failed; its caller got an error.
    salt : int
        Start value of its checksums. The name holds it too, so that a damaged head does not make the rest unreadable.
    bounds : Bounds
        How far it may be read.
    durable_before : int
        Records before this number were durable when the last whole record was written.
    """

    path: Path
    number: int
    first: int
    salt: int
    bounds: Bounds = Bounds(0, None)
    durable_before: int = 0

    @classmethod
    def new(cls, folder: Path, number: int, first: int) -> Self:
        """Return a segment to write, with a new name."""
        salt = secrets.randbits(32)
        return cls(folder / f"{number:08d}-{first:020d}-{salt:08x}.seg", number, first, salt)

    @classmethod
    def named(cls, path: Path) -> Self | None:
        """Return the segment that a file name describes; None for any other name."""
        parts = _NAME.fullmatch(path.name)
        return cls(path, int(parts[1]), int(parts[2]), int(parts[3], 16)) if parts else None

    @property
    def head(self) -> bytes:
        """The file's first bytes."""
        head = _HEAD.pack(_MAGIC, VERSION, self.number % 2**32, self.first, self.salt)
        return head + _CHECKSUM.pack(crc32(head))

    def find_end(self, data: bytes) -> int:
        """Set the bounds from the file's bytes, and return the sequence number after its last record."""
        end, size, self.durable_before = self.first, 0, self.first
        for found in scan(data, min(HEAD_BYTES, len(data)), self.salt):
            if isinstance(found, Frame):
                self.durable_before = max(self.durable_before, found.group)
                end = max(end, found.sequence + bool(found.content))
            size = found.end
        self.bounds = Bounds(max(size, min(HEAD_BYTES, len(data))), None)
        return end


def version_of(head: bytes) -> int | None:
    """Return the format version in a segment's head; None if it is damaged or not a head.

    >>> version_of(Segment.new(Path(), 1, 1).head) == VERSION
    True
    """
    if len(head) < HEAD_BYTES or _CHECKSUM.unpack_from(head, _HEAD.size)[0] != crc32(head[: _HEAD.size]):
        return None
    magic, version = _HEAD.unpack_from(head)[:2]
    return int(version) if magic == _MAGIC else None


def damaged_head(data: bytes, segment: Segment) -> Bad | None:
    """Return what is wrong with a segment's head, or None. A file without any bytes written is not damaged."""
    if data[:HEAD_BYTES] == segment.head or not data.strip(b"\0"):
        return None
    return Bad(0, min(HEAD_BYTES, len(data)), "the segment's head has changed")


def read_readable(files: Files, path: Path, offset: int, size: int) -> tuple[bytes, bool]:
    """Return bytes of a file and True; if the disk cannot read all of them, zeros for the rest and False."""
    try:
        return files.read(path, offset, size), True
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    parts = []
    for at in range(offset, offset + size, BLOCK):
        length = min(BLOCK, offset + size - at)
        try:
            part = files.read(path, at, length)
        except OSError:
            part = b""
        parts.append(part.ljust(length, b"\0"))
    return b"".join(parts), False
