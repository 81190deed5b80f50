"""The unpacked size of Parquet pages, from their own headers, by which a reader allocates memory.

The column sizes in a file's footer may be wrong: a few kilobytes could make the reader allocate gigabytes. Page headers
are structures of Thrift's compact protocol. Sources: parquet-format's parquet.thrift, Thrift's
thrift-compact-protocol.md.
"""

from __future__ import annotations

UNPACKED, PACKED = 2, 3
"""Fields of a page header: bytes of the page unpacked, and as stored in the file after the header."""
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12
DEEPEST = 8
"""Nesting depth of structures; a page's statistics are at depth three."""


def unpacked_size(file: bytes, start: int, end: int) -> int:
    """Return the unpacked size in bytes of the pages from ``start`` to ``end``; ValueError if there are none."""
    size = 0
    while start < end:
        header = _Headers(file, start, end)
        found = header.structure()
        if found.get(UNPACKED, -1) < 0 or found.get(PACKED, -1) < 0:
            raise ValueError(f"no page starts at byte {start}")
        size += found[UNPACKED]
        start = header.at + found[PACKED]
    return size


class _Headers:
    """Reads one structure; ``at``: offset of the next byte."""

    def __init__(self, file: bytes, start: int, end: int) -> None:
        self.at = start
        self._file, self._end = file, min(end, len(file))

    def structure(self, depth: int = 0) -> dict[int, int]:
        """Return the integer fields, and skip the others."""
        found, field = {}, 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._integer()
            if kind in _INTEGERS:
                found[field] = self._integer()
            elif kind not in _BOOLEANS:  # a boolean's value is its kind
                self._skip_field(kind, depth)
        return found

    def _skip_field(self, kind: int, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError("a page header is nested too deeply")
        if kind == _STRUCT:
            self.structure(depth + 1)
        elif kind in _LISTS:
            head = self._byte()
            for _ in range(head >> 4 if head < 0xF0 else self._number()):
                self._skip_field(head & 15, depth + 1)
        elif kind in _INTEGERS:
            self._number()
        elif kind in (_DOUBLE, _BINARY):
            self._skip(8 if kind == _DOUBLE else self._number())
        elif kind in (*_BOOLEANS, _BYTE):
            self._skip(1)
        else:
            raise ValueError(f"a page header has a field of kind {kind}")

    def _integer(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)

    def _number(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 0x80:
            found |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a page header has a number of too many digits")
        return found | byte << shift

    def _byte(self) -> int:
        self._skip(1)
        return self._file[self.at - 1]

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > self._end:
            raise ValueError("a page header is cut off")
