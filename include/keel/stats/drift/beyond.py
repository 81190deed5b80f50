"""The move of values beyond a grid's range, where a whole window may share one open cell.

The reference of a grid lies within its range, and a value beyond it is news. A window that a person accepted as the
reference may lie beyond it, and then neither cells nor quantiles show a further move. Counts keep the summed distance
of the values beyond either end, and the extremes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NORMAL_IQR = 1.3489795003921634
"""Interquartile range of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Beyond:
    """The values of a sample beyond one end of a range; distances in units of the grid's scale.

    Parameters
    ----------
    n
        All values of the sample.
    rows
        Values beyond this end.
    total
        Their summed distance from it.
    least, greatest
        Bounds of a single distance; ``least`` is 0 where some values lie within the range.

    """

    n: int
    rows: int
    total: float
    least: float
    greatest: float

    @property
    def mean(self) -> float:
        """The mean over all values, those within the range as 0."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """The greatest variance of the sample's distances that these numbers allow (Bhatia & Davis 2000)."""
        if not self.rows:
            return 0.0
        share, mean = self.rows / self.n, self.total / self.rows
        within = max(0.0, self.greatest - mean) * max(0.0, mean - self.least)
        return share * within + share * (1 - share) * mean**2


def measure_beyond(reference: Sequence[Beyond], current: Sequence[Beyond]) -> dict[str, float | int | None]:
    """Return how far the mean distance beyond the range has moved, what it is worth as a PSI, and its p-value.

    Each side of the range is tested (z-test of two means), and the smaller p-value is doubled. The variances are upper
    bounds, so that the test is conservative. A normal distribution that moves by d of its standard deviations has a PSI
    of d², hence ``psi`` of a move in interquartile ranges of the grid's reference.

    reference, current: below and above the range.

    >>> near, far = Beyond(500, 500, 1000.0, 1.0, 3.0), Beyond(500, 500, 1500.0, 2.0, 4.0)
    >>> nothing = Beyond(500, 0, 0.0, 0.0, 0.0)
    >>> found = measure_beyond([nothing, near], [nothing, far])
    >>> found["shift"], round(found["psi"], 2), found["p_value"] < 1e-50
    (1.0, 1.82, True)
    """
    shifts = [now.mean - then.mean for then, now in zip(reference, current, strict=True)]
    p_values = [_p_value(*each) for each in zip(reference, current, strict=True)]
    shift = max(shifts, key=abs)
    return {
        "shift": shift,
        "psi": (NORMAL_IQR * shift) ** 2,
        "p_value": min(1.0, 2 * min(p_values)),
    }


def _p_value(then: Beyond, now: Beyond) -> float:
    from scipy.special import ndtr  # slow to import, and not needed to read what is stored

    error = math.sqrt(then.variance / then.n + now.variance / now.n)
    move = abs(now.mean - then.mean)
    if not move:
        return 1.0
    return float(2 * ndtr(-move / error)) if error else 0.0
