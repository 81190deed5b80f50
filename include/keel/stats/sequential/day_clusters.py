"""Does a difference between two arms hold from day to day, or was it the weather of some?

Assigning rows at random protects against what befalls both arms alike. It does not protect against what one version
meets worse than the other: a storm that only one of them knows is a true difference on the rows of its day, and says
little of other days. So a difference is also measured against how much it differs between days.

Rows are summed by hour; that is all that the error between days, or between shorter clusters while there are few days,
needs (`keel.stats.metrics.paired`), however many rows there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keel.stats.metrics.paired import Clusters, uncertainty
from keel.stats.sequential.confidence_sequences import half_width

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]

HOUR = np.timedelta64(1, "h")
TIGHTEST_AT = 20
"""Days at which the bounds are narrowest."""


@dataclass(frozen=True)
class ClusteredDifference:
    """A difference of two means and how far it may be off between days."""

    improvement: float
    """NaN where an arm has no rows."""
    width: float
    """Of a one-sided bound at 1 − alpha, however often one looks; infinite while there are too few clusters."""
    unit: str
    """What the clusters are: ``day``, ``6 h``, ``hour``, or ``row`` where there are too few."""
    clusters: int


class HourlySums:
    """Weighted losses of two arms, summed by the hour of their rows.

    hours: of each row, counted from any, shape (n,). weights: shape (2, n), one row for each arm, 0 where the row is
    not of the arm; a row of both, as in shadow mode, has a weight in each. losses: shape (2, n).
    """

    def __init__(self, times: Times, weights: Floats, losses: Floats) -> None:
        stamps, self._row = np.unique(times.astype("datetime64[h]"), return_inverse=True)
        self._times = stamps
        self._weights, self._totals = weights, weights * losses
        self._sums = np.zeros((2, 2, len(stamps)))
        self._until = 0

    def steady(self, n: int, *, alpha: float) -> ClusteredDifference:
        """Return the difference after the first n rows, n no smaller than in the call before."""
        self._add(n)
        weights, totals = self._sums
        all_weights = weights.sum(axis=1)
        if not bool((all_weights > 0).all()):
            return ClusteredDifference(math.nan, math.inf, "row", 0)
        means = totals.sum(axis=1) / all_weights
        parts = (totals - means[:, None] * weights) / all_weights[:, None]
        seen = weights.sum(axis=0) > 0
        improvement = float(means[0] - means[1])
        clusters = Clusters.of(self._times[seen])
        if clusters.unit == "row":
            return ClusteredDifference(improvement, math.inf, "row", 0)
        return ClusteredDifference(
            improvement, _width((parts[0] - parts[1])[seen], clusters, alpha), clusters.unit, clusters.count
        )

    def _add(self, n: int) -> None:
        new, size = slice(self._until, n), len(self._times)
        for arm in range(2):
            self._sums[0, arm] += np.bincount(self._row[new], self._weights[arm, new], size)
            self._sums[1, arm] += np.bincount(self._row[new], self._totals[arm, new], size)
        self._until = n


def _width(contributions: Floats, clusters: Clusters, alpha: float) -> float:
    """Return the confidence sequence's half-width over clusters, with Student's quantile in place of the normal one."""
    from scipy.special import ndtr, stdtrit

    deviations = float(half_width(1.0, clusters.count, alpha=alpha, one_sided=True, tightest_at=TIGHTEST_AT))
    quantile = -float(stdtrit(clusters.count - 1, ndtr(-deviations)))
    return quantile * uncertainty(contributions, clusters).standard_error
