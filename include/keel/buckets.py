"""Finding the cells of unsorted values fast: a table of equal buckets resolves almost every value without a search.

The bucket of a value is ``trunc((x - low) * factor)``, cut to the table. Each step is monotone in floating point too,
so ``bucket(x) > bucket(knot)`` proves ``x > knot``, and a value needs comparing only with a knot in its own bucket.
Buckets with several knots, at the ends and where the knots lie densest, are left to a search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from keel.counts import Floats, Integers

CHUNK = 32_768
"""Values at a time: the temporaries then stay in a core's cache, which makes this five times as fast as one pass."""
BUCKETS_PER_KNOT = 8
MIN_BUCKETS = 64
_RANGES = (0.0, 0.005, 0.02, 0.05, 0.1)
"""Shares of the knots left outside the table at either end; the one that resolves most knots is taken."""


@dataclass(frozen=True, eq=False)
class Buckets:
    """A table over k knots. Cells are numbered ``(-inf, k0), {k0}, (k0, k1), …``: 0 to 2k; 2k + 1 means unresolved.

    first_cell: shape (buckets,), cell of a value in the bucket below its knot. knot: shape (buckets,), the bucket's
    knot; infinite where it has none, or several.
    """

    knots: Floats
    low: float
    factor: float
    first_cell: Integers
    knot: Floats

    @classmethod
    def over(cls, knots: Floats) -> Buckets:
        """Build the table; knots ascending, finite, at least one."""
        size = max(MIN_BUCKETS, BUCKETS_PER_KNOT * len(knots))
        tables = [cls._between(knots, share, size) for share in _RANGES]
        return min(tables, key=lambda table: np.count_nonzero(table.first_cell == 2 * len(knots) + 1))

    @classmethod
    def _between(cls, knots: Floats, share: float, size: int) -> Buckets:
        skip = int(share * len(knots))
        low, high = float(knots[skip]), float(knots[len(knots) - 1 - skip])
        with np.errstate(all="ignore"):
            factor = float(np.float64(size - 2) / (np.float64(high) - low))
        if not 0 < factor < np.inf:  # one knot, or a range beyond the numbers' own: one bucket on each side of low
            factor = 1.0
        empty = cls(knots, low, factor, np.zeros(size, dtype=np.int64), np.full(size, np.inf))
        of_knots = empty._buckets(knots)
        in_bucket = np.bincount(of_knots, minlength=size)
        first_cell = 2 * (np.cumsum(in_bucket) - in_bucket)
        first_cell[in_bucket > 1] = 2 * len(knots) + 1
        single = in_bucket[of_knots] == 1
        knot = np.full(size, np.inf)
        knot[of_knots[single]] = knots[single]
        return cls(knots, low, factor, first_cell, knot)

    def _buckets(self, values: Floats) -> NDArray[np.intp]:
        with np.errstate(over="ignore"):  # what overflows lies beyond the table, and is cut to it
            scaled = values - self.low
            scaled *= self.factor
        np.clip(scaled, -1.0, len(self.knot) - 2.0, out=scaled)
        buckets = scaled.astype(np.intp)
        buckets += 1
        return buckets

    def _cells(self, values: Floats) -> Integers:
        buckets = self._buckets(values)
        knot = self.knot.take(buckets)
        cells = self.first_cell.take(buckets)
        cells += values >= knot
        cells += values > knot
        return cells

    def cells_of(self, values: Floats) -> Integers:
        """Cell of each value, shape (rows,); values finite."""
        cells = self._cells(values)
        unresolved = np.flatnonzero(cells > 2 * len(self.knots))
        rest = values[unresolved]
        cells[unresolved] = np.searchsorted(self.knots, rest, "left") + np.searchsorted(self.knots, rest, "right")
        return cells

    def count(self, values: Floats) -> Integers:
        """Values per cell, shape (2k + 1,); values finite."""
        total = np.zeros(2 * len(self.knots) + 2, dtype=np.int64)
        unresolved = []
        for part in chunks(values):
            cells = self._cells(part)
            counted = np.bincount(cells, minlength=len(total))
            total += counted
            if counted[-1]:
                unresolved.append(part[cells > 2 * len(self.knots)])
        return total[:-1] + (self._search(np.concatenate(unresolved)) if unresolved else 0)

    def _search(self, values: Floats) -> Integers:
        ordered = np.sort(values)
        edges = np.empty(2 * len(self.knots) + 2, dtype=np.int64)
        edges[0], edges[-1] = 0, len(ordered)
        edges[1:-1:2] = np.searchsorted(ordered, self.knots, side="left")
        edges[2:-1:2] = np.searchsorted(ordered, self.knots, side="right")
        return np.diff(edges)


def chunks(values: Floats) -> Iterator[Floats]:
    """Yield consecutive views of at most `CHUNK` values."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
