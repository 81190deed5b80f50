"""Finding the cells of unsorted values fast: a table of equal buckets resolves almost every value without a search.

The bucket of a value is the whole number nearest to ``x * factor + offset``, cut to the table. Each step is monotone in
floating point too, so ``bucket(x) > bucket(knot)`` proves ``x > knot``: a value in a bucket without knots has its cell
by that alone, and another needs comparing only with the knot in its own bucket. Buckets with several knots, at the ends
and where the knots lie densest, are left to a search.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from keel.grid.counts import Floats, Integers

CHUNK = 50_000
"""Values at a time: the temporaries then stay in a core's cache, which makes this twice as fast as one pass."""
BUCKETS_PER_KNOT = 32
"""So many that few values share a bucket with a knot, so few that the table of two-byte codes stays in the cache."""
MIN_BUCKETS = 64
_SHARES = (0.0, 0.005, 0.02, 0.05, 0.1)
"""Shares of the knots left outside the table at either end; the one that leaves the least work is taken."""
_COST_OF_SEARCH = 8.0
"""What a search costs, in comparisons with one knot."""
_TWO_52 = 2.0**52
"""Between this and its double a float's last bit is worth 1: adding it rounds to whole numbers, which then stand in
the low bits. The bits of greater numbers ascend further, so that cutting them to the table is all they need."""
_BITS_OF_TWO_52 = int(np.float64(_TWO_52).view(np.int64))


@dataclass(frozen=True, eq=False)
class Buckets:
    """A table over k knots. Cells are numbered ``(-inf, k0), {k0}, (k0, k1), …``: 0 to 2k.

    codes: shape (buckets,). Of a bucket without knots the cell; of one with a single knot 2k + 1 + the knot's number;
    of one with several 3k + 1.
    """

    knots: Floats
    factor: float
    offset: float
    codes: NDArray[np.unsignedinteger]

    @classmethod
    def over(cls, knots: Floats) -> Buckets:
        """Build the table; knots ascending, finite, at least one."""
        size = max(MIN_BUCKETS, BUCKETS_PER_KNOT * len(knots))
        scales = [_scale_between(knots, share, size) for share in _SHARES]
        factor, offset = min(scales, key=lambda scale: _work(_buckets(knots, *scale).clip(0, size - 1)))
        of_knots = _buckets(knots, factor, offset).clip(0, size - 1)
        in_bucket = np.bincount(of_knots, minlength=size)
        codes = 2 * (np.cumsum(in_bucket) - in_bucket)
        codes[of_knots] = 2 * len(knots) + 1 + np.arange(len(knots))
        codes[in_bucket > 1] = 3 * len(knots) + 1
        return cls(knots, factor, offset, codes.astype(np.min_scalar_type(3 * len(knots) + 1)))

    @cached_property
    def _n_cells(self) -> int:
        return 2 * len(self.knots) + 1

    def _codes(self, values: Floats, scratch: Floats | None = None) -> NDArray[np.unsignedinteger]:
        return self.codes.take(_buckets(values, self.factor, self.offset, scratch), mode="clip")

    def cells_of(self, values: Floats) -> Integers:
        """Cell of each value, shape (rows,); values finite."""
        cells = self._codes(values).astype(np.int64)
        doubtful = np.flatnonzero(cells >= self._n_cells)
        cells[doubtful] = self._search(values[doubtful])
        return cells

    def count(self, values: Floats) -> Integers:
        """Values per cell, shape (2k + 1,); values finite."""
        total = np.zeros(3 * len(self.knots) + 2, dtype=np.int64)
        moved = np.zeros(self._n_cells, dtype=np.int64)
        unresolved = []
        scratch = np.empty(min(len(values), CHUNK))
        for part in chunks(values):
            codes = self._codes(part, scratch[: len(part)])
            counted = np.bincount(codes, minlength=len(total))
            total += counted
            if counted[: self._n_cells].any():  # else every value is in doubt, as where the knots are all there is
                doubtful = np.flatnonzero(codes >= self._n_cells)
                part, codes = part.take(doubtful), codes.take(doubtful)
            if counted[-1]:
                several = codes == len(total) - 1
                unresolved.append(part[several])
                part, codes = part[~several], codes[~several]
            self._move_off_knots(part, codes - self._n_cells, moved)
        cells = total[: self._n_cells] + moved
        cells[1::2] += total[self._n_cells : -1]
        if unresolved:  # ascending, they are found faster
            cells += np.bincount(self._search(np.sort(np.concatenate(unresolved))), minlength=len(cells))
        return cells

    def _move_off_knots(self, values: Floats, nearest: NDArray[np.unsignedinteger], moved: Integers) -> None:
        """Correct for values that share a bucket with a knot, all counted as equal to it, that are not."""
        knots = self.knots.take(nearest, mode="clip")
        if (values == knots).all():
            return
        cells = nearest.astype(np.int64)
        moved[1::2] -= np.bincount(cells, minlength=len(self.knots))
        cells *= 2
        cells += values >= knots
        cells += values > knots
        moved += np.bincount(cells, minlength=len(moved))

    def _search(self, values: Floats) -> Integers:
        return np.searchsorted(self.knots, values, "left") + np.searchsorted(self.knots, values, "right")


def _scale_between(knots: Floats, share: float, size: int) -> tuple[float, float]:
    """Factor and offset that spread the table over the knots but a share at either end."""
    skip = int(share * len(knots))
    low, high = float(knots[skip]), float(knots[len(knots) - 1 - skip])
    with np.errstate(all="ignore"):
        factor = float(np.float64(size - 3) / (np.float64(high) - low))
    if not 0 < factor < np.inf:  # one knot, or a range beyond the numbers' own: one bucket on each side of low
        factor = 1.0
    return factor, _TWO_52 + 1.0 - low * factor


def _buckets(values: Floats, factor: float, offset: float, scratch: Floats | None = None) -> Integers:
    """Bucket of each value, not yet cut to the table's upper end."""
    with np.errstate(over="ignore"):  # what overflows lies beyond the table
        scaled = np.multiply(values, factor, out=scratch)
        scaled += offset
    np.maximum(scaled, _TWO_52, out=scaled)
    bits = scaled.view(np.int64)
    bits -= _BITS_OF_TWO_52
    return bits


def _work(of_knots: Integers) -> float:
    """Estimate the comparisons and searches per value: between neighbouring knots lie equally many values."""
    gaps = np.diff(of_knots)
    compared = 1 / np.maximum(gaps, 1)
    return float(np.mean(compared + _COST_OF_SEARCH * (gaps == 0))) if len(gaps) else 0.0


def chunks(values: Floats) -> Iterator[Floats]:
    """Yield consecutive views of at most `CHUNK` values."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
