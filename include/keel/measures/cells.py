"""Cells made fewer: what measures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_EXPECTED = 5.0
"""Cochran's rule: with a smaller expectation the χ² law does not hold (Cochran 1954)."""


def merge_cells(counts: ArrayLike, starts: Integers) -> Integers:
    """Sum the cells of each bin; ``starts`` as `keel.measures.psi.decile_starts` gives them.

    >>> merge_cells([1, 2, 3, 4], np.array([0, 2])).tolist()
    [3, 7]
    """
    return np.add.reduceat(np.asarray(counts, dtype=np.int64), starts)


def pool_small(
    reference: ArrayLike, current: ArrayLike, *, minimum: float = MIN_EXPECTED
) -> tuple[Integers, Integers, int]:
    """Pool the categories whose expectation in either sample is below ``minimum`` into one last cell.

    reference, current: shape (cells,), counts; the last cell is `other`. Returns both sides on the pooled cells, and
    how many cells were pooled (0: the occupied cells as they were). `other` joins the pool whenever there is one: the
    categories in it are exactly those the reference happened not to see, and the pool holds those the window
    happened not to see; apart they would differ with nothing wrong. A pool still below the minimum takes the smallest
    other cell in, so that fewer than two cells may be left.

    >>> pool_small([50, 50, 1, 0], [50, 50, 1, 2])
    (array([50, 51]), array([50, 53]), 3)
    """
    r, c = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    total = r + c
    occupied = total > 0
    expected = total * (min(int(r.sum()), int(c.sum())) / int(total.sum()))
    small = occupied & (expected < minimum)
    if not small.any():
        return r[occupied], c[occupied], 0
    small[-1] = occupied[-1]
    if expected[small].sum() < minimum and (occupied & ~small).any():
        small[np.argmin(np.where(occupied & ~small, expected, np.inf))] = True
    kept = occupied & ~small
    pooled = int(np.count_nonzero(small))
    return np.append(r[kept], r[small].sum()), np.append(c[kept], c[small].sum()), pooled
