"""Merge and pool cells, which several measures need."""

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
CLEAR_OF_CUT = 4.0
"""Standard errors by which a category's count must exceed the vocabulary's cut: below that, chance may have chosen it.
"""


def merge_cells(counts: ArrayLike, starts: Integers) -> Integers:
    """Sum the cells of each bin; ``starts`` as `keel.stats.drift.psi.decile_starts` gives them.

    >>> merge_cells([1, 2, 3, 4], np.array([0, 2])).tolist()
    [3, 7]
    """
    return np.add.reduceat(np.asarray(counts, dtype=np.int64), starts)


def pool_small(
    reference: ArrayLike, current: ArrayLike, *, minimum: float = MIN_EXPECTED, cut: int = 0
) -> tuple[Integers, Integers, int]:
    """Pool the categories whose expectation in either sample is below ``minimum`` into one last cell.

    Returns both sides on the pooled cells, and the number of cells in the pool (0: the occupied cells, unchanged).
    `other` joins the pool whenever there is one. It holds the categories that the reference lacks by chance, and the
    pool those that the window lacks by chance; apart they would differ without any drift. A pool that is still below
    the minimum also takes the smallest remaining cell, so the result may have fewer than two cells.

    Parameters
    ----------
    reference, current
        Counts, shape (cells,); the last cell is `other`.
    minimum
        The smallest expectation of a cell that stays apart.
    cut
        The reference's count of the most frequent category outside the vocabulary. Categories that are not clearly more
        frequent are pooled, for the same reason as `other`.

    >>> pool_small([50, 50, 1, 0], [50, 50, 1, 2])
    (array([50, 51]), array([50, 53]), 3)
    """
    r, c = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    n_r, n = int(r.sum()), int(c.sum())
    total = r + c
    occupied = total > 0
    expected = total * (min(n_r, n) / (n_r + n))
    clear = cut + CLEAR_OF_CUT * cut**0.5
    small = occupied & ((expected < minimum) | (total * (n_r / (n_r + n)) < clear))
    if not small.any():
        return r[occupied], c[occupied], 0
    small[-1] = occupied[-1]
    if expected[small].sum() < minimum and (occupied & ~small).any():
        small[np.argmin(np.where(occupied & ~small, expected, np.inf))] = True
    return *pool(r, c, small), int(np.count_nonzero(small))


def pool(reference: Integers, current: Integers, small: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Pool the cells of ``small`` into one last cell, and drop empty cells.

    >>> pool(np.array([3, 1, 2]), np.array([4, 0, 1]), np.array([False, True, True]))
    (array([3, 3]), array([4, 1]))
    """
    apart = ~small & (reference + current > 0)
    r, c = int(reference[small].sum()), int(current[small].sum())
    if r + c == 0:
        return reference[apart], current[apart]
    return np.append(reference[apart], r), np.append(current[apart], c)
