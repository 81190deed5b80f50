"""How large the pages of a Parquet column are unpacked: by their own headers, by which a reader makes room for them.

What the end of a file says of its columns need not be true, and a few kilobytes could have the reader ask for
gigabytes. Headers are structures of Thrift's compact protocol; source: parquet-format's parquet.thrift, and Thrift's
thrift-compact-protocol.md.
"""

from __future__ import annotations

UNPACKED, PACKED = 2, 3
"""Fields of a page's header: bytes of the page as it is, and as it lies in the file behind the header."""
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12
DEEPEST = 8
"""Structures in structures; a page's statistics are the third."""


def unpacked_size(file: bytes, start: int, end: int) -> int:
    """Return how many bytes the pages from ``start`` to ``end`` have unpacked; ValueError where there are none."""
    size = 0
    while start < end:
        header = _Headers(file, start, end)
        found = header.structure()
        if found.get(UNPACKED, -1) < 0 or found.get(PACKED, -1) < 0:
            raise ValueError(f"no page begins at byte {start}")
        size += found[UNPACKED]
        start = header.at + found[PACKED]
    return size


class _Headers:
    """Reads one structure; ``at``: what comes next."""

    def __init__(self, file: bytes, start: int, end: int) -> None:
        self.at = start
        self._file, self._end = file, min(end, len(file))

    def structure(self, depth: int = 0) -> dict[int, int]:
        """Return the whole numbers among its fields, and pass over the others."""
        found, field = {}, 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._integer()
            if kind in _INTEGERS:
                found[field] = self._integer()
            elif kind not in _BOOLEANS:  # whose value is their kind
                self._pass_over(kind, depth)
        return found

    def _pass_over(self, kind: int, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError("a page's header is nested too deeply")
        if kind == _STRUCT:
            self.structure(depth + 1)
        elif kind in _LISTS:
            head = self._byte()
            for _ in range(head >> 4 if head < 0xF0 else self._number()):
                self._pass_over(head & 15, depth + 1)
        elif kind in _INTEGERS:
            self._number()
        elif kind in (_DOUBLE, _BINARY):
            self._skip(8 if kind == _DOUBLE else self._number())
        elif kind in (*_BOOLEANS, _BYTE):
            self._skip(1)
        else:
            raise ValueError(f"a page's header has a field of kind {kind}")

    def _integer(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)

    def _number(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 0x80:
            found |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a page's header has a number of too many digits")
        return found | byte << shift

    def _byte(self) -> int:
        self._skip(1)
        return self._file[self.at - 1]

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > self._end:
            raise ValueError("a page's header is cut off")
