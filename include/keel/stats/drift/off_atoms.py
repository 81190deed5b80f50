"""The distribution beside the frequent values of a column, such as the claims that are not 0.

Where most rows hold one of a few values, the other rows are a small part of every measure of the whole column. If 5% of
the rows are not 0, and all of these move, then the PSI of the column stays below its thresholds, whose bins are tenths
of all rows. A two-part (hurdle) description looks at both: how many rows hold a frequent value, and where the others
are. The column's own tests have the first part; this module has the second.
Source: Cragg 1971 for two-part models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keel.stats.drift.psi import BINS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Integers

MAX_SHARE = 0.5
"""The two-part description is for columns whose frequent values hold at least the other half of the reference. Where
fewer rows do, the rest has five bins of the PSI or more to move in."""
ROWS_PER_BIN = 5
"""Rows that a bin of the PSI expects at least (Cochran 1954), for few rows off the atoms have fewer bins than ten."""


def off_atoms(reference: ArrayLike, current: ArrayLike) -> tuple[Integers, Integers] | None:
    """Return both sides on the cells that hold less than a tenth of the reference each; None where it is not asked.

    It is asked if these cells hold some of the reference, and at most `MAX_SHARE`, some of the window, and if the rows
    lie in more than one of them. Without a change the rows off the atoms are drawn alike on both sides, however many
    there are. So a test that takes these numbers as given has its level.

    reference, current: counts on cells in ascending order, shape (cells,), each with at least one row.

    >>> off_atoms([0, 90, 5, 3, 2, 0], [0, 80, 1, 9, 0, 10])
    (array([0, 5, 3, 2, 0]), array([ 0,  1,  9,  0, 10]))
    >>> off_atoms([0, 40, 30, 30, 0], [0, 1, 1, 1, 0]) is off_atoms([0, 95, 0, 5, 0], [0, 9, 0, 1, 0]) is None
    True
    """
    r, c = np.asarray(reference, np.int64), np.asarray(current, np.int64)
    rest = r * BINS < r.sum()
    r_rest, c_rest = r[rest], c[rest]
    n_reference = int(r_rest.sum())
    if not (0 < n_reference <= MAX_SHARE * int(r.sum()) and c_rest.any()):
        return None
    return (r_rest, c_rest) if np.count_nonzero(r_rest + c_rest) > 1 else None


def bins_for(n_reference: int, n: int) -> int:
    """Return the number of bins of the PSI for so many rows off the atoms: ten, and fewer for few rows, but two.

    >>> bins_for(1000, 1000), bins_for(1000, 27), bins_for(1000, 3)
    (10, 5, 2)
    """
    return int(np.clip(min(n_reference, n) // ROWS_PER_BIN, 2, BINS))
