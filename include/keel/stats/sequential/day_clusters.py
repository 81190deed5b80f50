"""Compare two arms with an error that is clustered by day.

Random assignment protects against what affects both arms alike. It does not protect against what affects one version
more: a storm that only one of them handles is a true difference on that day, and predicts little of other days. So the
difference is also compared with its variation between days.

Rows are summed by hour. The error between days, or between shorter clusters while there are few days, needs no more
(`keel.stats.metrics.paired`).
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
"""Days at which the confidence sequence is narrowest."""


@dataclass(frozen=True)
class ClusteredDifference:
    """A difference of two means with an error that is clustered by day."""

    improvement: float
    """The champion's mean loss less the challenger's; NaN where an arm has no rows."""
    width: float
    """Of a one-sided bound at 1 − alpha, valid at any time; infinite while there are too few clusters."""
    unit: str
    """Of the clusters: ``day``, ``6 h``, ``hour``, or ``row`` where there are too few."""
    clusters: int


class HourlyArmLosses:
    """Weighted losses of two arms, summed by hour.

    Parameters
    ----------
    times
        Of each row, shape (n,).
    weights
        Shape (2, n), a row for each arm (champion, challenger); 0 where the row is not of the arm. A row of both arms,
        as in shadow mode, has a weight in each.
    losses
        Shape (2, n).

    """

    def __init__(self, times: Times, weights: Floats, losses: Floats) -> None:
        stamps, self._row = np.unique(times.astype("datetime64[h]"), return_inverse=True)
        self._times = stamps
        self._weights, self._totals = weights, weights * losses
        self._sums = np.zeros((2, 2, len(stamps)))
        self._until = 0

    def difference(self, n: int, *, alpha: float) -> ClusteredDifference:
        """Return the difference after the first n rows; n must not decrease between calls."""
        self._add(n)
        weights, totals = self._sums
        all_weights = weights.sum(axis=1)
        if not bool((all_weights > 0).all()):
            return ClusteredDifference(math.nan, math.inf, "row", 0)
        means = totals.sum(axis=1) / all_weights
        parts = (totals - means[:, None] * weights) / all_weights[:, None]
        has_rows = weights.sum(axis=0) > 0
        improvement = float(means[0] - means[1])
        clusters = Clusters.of(self._times[has_rows])
        if clusters.unit == "row":
            return ClusteredDifference(improvement, math.inf, "row", 0)
        return ClusteredDifference(
            improvement, _width((parts[0] - parts[1])[has_rows], clusters, alpha), clusters.unit, clusters.count
        )

    def _add(self, n: int) -> None:
        new, size = slice(self._until, n), len(self._times)
        for arm in range(2):
            self._sums[0, arm] += np.bincount(self._row[new], self._weights[arm, new], size)
            self._sums[1, arm] += np.bincount(self._row[new], self._totals[arm, new], size)
        self._until = n


def _width(contributions: Floats, clusters: Clusters, alpha: float) -> float:
    return anytime_quantile(clusters.count, alpha=alpha) * uncertainty(contributions, clusters).standard_error


def anytime_quantile(clusters: int, *, alpha: float) -> float:
    """Return the standard errors of a one-sided bound at 1 − alpha that is valid after any number of clusters.

    It is that of the asymptotic confidence sequence, with Student's quantile in place of the normal one.
    clusters: at least 2.

    >>> [round(anytime_quantile(n, alpha=0.05), 2) for n in (7, 30, 365)]
    [4.66, 3.01, 3.1]
    """
    from scipy.special import ndtr, stdtrit

    deviations = float(half_width(1.0, clusters, alpha=alpha, one_sided=True, tightest_at=TIGHTEST_AT))
    return -float(stdtrit(clusters - 1, ndtr(-deviations)))
