"""Metrics of an interval of time from hourly sums, with confidence intervals that allow dependent rows.

Rows of the same hour depend on each other, so the sample is the hours, or days where there are enough of them. The
mechanism is that of `keel.stats.metrics.paired`, with the contribution of an hour in place of a row's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.exact_sums import to_float
from keel.stats.metrics.paired import Clusters, uncertainty
from keel.stats.student import student_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.stats.metrics.hourly_table import HourlyTable
    from keel.stats.metrics.losses import Floats

    Times = NDArray[np.datetime64]

LEVEL = 0.05
"""Probability that an interval misses the truth: the intervals are 95% intervals."""
INDEPENDENT = "row"
"""Unit of the sample where there are too few hours to estimate an error between them."""


@dataclass(frozen=True)
class IntervalEstimate:
    """One metric of an interval of time. NaN where it is not defined; the bounds also where nothing varies."""

    value: float
    lower: float
    upper: float
    standard_error: float
    n: int
    """Rows with the values that the metric needs."""
    unit: str
    """Unit of the sample: ``day``, ``6 h``, ``hour``; ``row``, treated as independent, below five hours."""
    clusters: int
    """Number of clusters of that unit."""
    bin_error: float = 0.0
    """Largest error of the value due to binned scores; the interval is wider by it on either side."""
    row_error: float = math.nan
    """Standard error of independent rows; ``standard_error`` is not below it."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, NaN as None."""
        return {
            "value": finite_or_none(self.value), "lower": finite_or_none(self.lower),
            "upper": finite_or_none(self.upper), "standard_error": finite_or_none(self.standard_error),
            "n": self.n, "clusters": {"unit": self.unit, "count": self.clusters}, "bin_error": self.bin_error,
        }  # fmt: skip


def interval_estimate(metric: str, hours: HourlyTable, times: Times) -> IntervalEstimate:
    """Return a metric of several hours together, with a confidence interval.

    The value is a ratio of sums, Σ S_h / Σ n_h. An hour contributes (S_h − n_h·value)/n to its error, with the delta
    method for the RMSE and the placements among all rows for the AUC. Contributions are summed within days, or the
    longest shorter unit with ten clusters (five hours at least), and the error allows for the correlation of
    neighbouring clusters (`keel.stats.metrics.paired.uncertainty`). The error is the larger of this one and the
    textbook's for independent rows. The interval is ± Student's quantile at `LEVEL`, cut to the metric's range.
    Source: Cochran 1977, ch. 6 (ratio of sums of clusters); Obuchowski 1997 (AUC).

    Parameters
    ----------
    metric
        One of `keel.stats.metrics.losses.ROW_LOSSES`.
    hours
        The hours' sums.
    times
        Start of each hour, in the same order.

    """
    if metric == "roc_auc":
        return _auc(hours, times)
    total = hours.moments(metric)
    if not total.n:
        return _undefined(0)
    mean = total.total / total.n
    contributions = hours.columns[metric].deviations()
    value, error, bounds = total.mean, total.error, (0.0, math.inf)
    if metric == "brier" and value <= 1:  # above 1, scores are not probabilities
        bounds = (0.0, 1.0)
    if metric == "accuracy":
        value, bounds = to_float(1 - mean), (0.0, 1.0)
    if metric == "rmse":
        value = math.sqrt(value)
        slope = 1 / (2 * value) if value else 0.0
        contributions, error = contributions * slope, error * slope
    has_rows = np.array(hours.columns[metric].n) > 0
    return _with_interval(value, error, total.n, contributions[has_rows], times[has_rows], bounds)


def _auc(hours: HourlyTable, times: Times) -> IntervalEstimate:
    """Return the area under the ROC curve. A pair within a bin counts half, so it may be wrong by half.

    A positive's placement is the share of negatives below its bin, plus half of those in it; a negative's is the share
    of positives above. The mean of either is the AUC, and their variances are DeLong's, as for single rows.
    """
    positive, negative = hours.by_bin(hours.positive), hours.by_bin(hours.negative)
    p, n = int(positive.sum()), int(negative.sum())
    if not (p and n):
        return _undefined(p + n)
    below = 2 * (np.cumsum(negative) - negative) + negative
    above = 2 * (p - np.cumsum(positive)) + positive
    value = int((positive * below).sum()) / (2 * p * n)
    bin_error = int((positive * negative).sum()) / (2 * p * n)
    off_positive, off_negative = below / (2 * n) - value, above / (2 * p) - value
    contributions = hours.by_hour(
        hours.positive * off_positive[hours.bins] / p + hours.negative * off_negative[hours.bins] / n
    )
    error = math.nan
    if min(p, n) > 1:
        spread = (positive @ off_positive**2) / (p * (p - 1))
        error = math.sqrt(spread + (negative @ off_negative**2) / (n * (n - 1)))
    has_rows = np.diff(hours.starts) > 0
    result = _with_interval(value, error, p + n, contributions[has_rows], times[has_rows], (0.0, 1.0), bin_error)
    return replace(result, bin_error=bin_error)


def _with_interval(
    value: float,
    row_error: float,
    n: int,
    contributions: Floats,
    times: Times,
    bounds: tuple[float, float],
    bin_error: float = 0.0,
) -> IntervalEstimate:
    clusters = Clusters.of(times)
    between = replace(uncertainty(contributions, clusters), row_error=row_error)
    if clusters.unit == INDEPENDENT:
        between, clusters = replace(between, clustered_error=row_error, effective_clusters=n), Clusters.rows(n)
    error = between.standard_error
    if not error > 0:
        return IntervalEstimate(value, math.nan, math.nan, error, n, clusters.unit, clusters.count, row_error=row_error)
    freedom = max(between.effective_clusters - 1, 1.0)
    half = student_quantile(1 - LEVEL / 2, freedom) * error + bin_error
    lower, upper = max(bounds[0], value - half), min(bounds[1], value + half)
    return IntervalEstimate(value, lower, upper, error, n, clusters.unit, clusters.count, row_error=row_error)


def _undefined(n: int) -> IntervalEstimate:
    return IntervalEstimate(math.nan, math.nan, math.nan, math.nan, n, INDEPENDENT, n)


def holdout_interval(metrics: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any] | None:
    """Return a version's registered metric on its holdout with its interval; None where the metric is absent.

    The standard error is the registered one, of independent rows. The quantile is the normal's.
    """
    registered = metrics.get(metric)
    if registered is None:
        return None
    value, error = (finite_or_none(registered[name]) for name in ("value", "standard_error"))
    half = None if value is None or error is None else NORMAL * error
    bounds = {"lower": None, "upper": None} if half is None else {"lower": value - half, "upper": value + half}
    return {"value": value, **bounds, "standard_error": error, "n": registered["n"]}


NORMAL = 1.959963984540054
"""The normal distribution's quantile at 1 − `LEVEL`/2."""
