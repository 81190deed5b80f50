"""Metrics of a stretch of hours from the hours' sums, with intervals that know that rows of an hour go together.

Rows of the same hours share their weather, so it is hours that are taken for the sample, and days where there are
enough of them: the mechanism of `keel.stats.metrics.paired`, with what all rows of an hour contribute together in
place of a
row.
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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.stats.metrics.hourly_table import HourlyTable
    from keel.stats.metrics.losses import Floats

    Times = NDArray[np.datetime64]

LEVEL = 0.05
"""An interval misses the truth with this chance: 95% intervals, which are expected where nothing else is said."""
INDEPENDENT = "row"
"""What is taken for the sample where there are too few hours to learn from how much they differ."""


@dataclass(frozen=True)
class Realised:
    """One metric of a stretch of hours. NaN where it is not defined; an interval also where nothing varies."""

    value: float
    lower: float
    upper: float
    standard_error: float
    n: int
    """Rows that have what the metric needs."""
    unit: str
    """What was taken for the sample: ``day``, ``6 h``, ``hour``; ``row`` below five hours: rows as if independent."""
    clusters: int
    """How many of these there are."""
    bin_error: float = 0.0
    """By how much the value may differ from that of the rows themselves; the interval is wider by it on either side."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, NaN as None."""
        return {
            "value": finite_or_none(self.value), "lower": finite_or_none(self.lower),
            "upper": finite_or_none(self.upper), "standard_error": finite_or_none(self.standard_error),
            "n": self.n, "clusters": {"unit": self.unit, "count": self.clusters}, "bin_error": self.bin_error,
        }  # fmt: skip


def realise(metric: str, hours: HourlyTable, times: Times) -> Realised:
    """Return a metric of hours added up, times being the hours' beginnings in the same order.

    The value is a ratio of sums, Σ S_h / Σ n_h, and an hour contributes (S_h − n_h·value)/n to its error, with the
    delta method for the RMSE and the placements among all rows for the AUC. These contributions are summed within
    days, or the longest shorter unit of which there are ten (five hours at least), and neighbours are taken for alike
    as far as they are: `keel.stats.metrics.paired.uncertainty`. The error is the larger of this and the textbook's for
    independent rows; the interval ± Student's quantile of it at `LEVEL`, cut to what the metric can be.
    Source: Cochran 1977, ch. 6 (ratio of sums of clusters); Obuchowski 1997 (AUC).
    """
    if metric == "roc_auc":
        return _auc(hours, times)
    total = hours.moments(metric)
    if not total.n:
        return _undefined(0)
    mean = total.total / total.n
    contributions = hours.columns[metric].deviations()
    value, error, bounds = total.mean, total.error, (0.0, math.inf)
    if metric == "brier" and value <= 1:  # above it are scores that are no probabilities
        bounds = (0.0, 1.0)
    if metric == "accuracy":
        value, bounds = to_float(1 - mean), (0.0, 1.0)
    if metric == "rmse":
        value = math.sqrt(value)
        slope = 1 / (2 * value) if value else 0.0
        contributions, error = contributions * slope, error * slope
    has_rows = np.array(hours.columns[metric].n) > 0
    return _with_interval(value, error, total.n, contributions[has_rows], times[has_rows], bounds)


def _auc(hours: HourlyTable, times: Times) -> Realised:
    """Area under the ROC curve; ties within a bin count half, so pairs that share one may be off by half.

    A positive's placement is the share of negatives below its bin, and half of those in it; a negative's that of
    positives above. Their means are the AUC, and their variances DeLong's, as for single rows.
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
    found = _with_interval(value, error, p + n, contributions[has_rows], times[has_rows], (0.0, 1.0), bin_error)
    return replace(found, bin_error=bin_error)


def _with_interval(
    value: float,
    row_error: float,
    n: int,
    contributions: Floats,
    times: Times,
    bounds: tuple[float, float],
    bin_error: float = 0.0,
) -> Realised:
    clusters = Clusters.of(times)
    between = replace(uncertainty(contributions, clusters), row_error=row_error)
    if clusters.unit == INDEPENDENT:
        between, clusters = replace(between, clustered_error=row_error, effective_clusters=n), Clusters.rows(n)
    error = between.standard_error
    if not error > 0:
        return Realised(value, math.nan, math.nan, error, n, clusters.unit, clusters.count)
    half = between.half_width(LEVEL / 2) + bin_error
    lower, upper = max(bounds[0], value - half), min(bounds[1], value + half)
    return Realised(value, lower, upper, error, n, clusters.unit, clusters.count)


def _undefined(n: int) -> Realised:
    return Realised(math.nan, math.nan, math.nan, math.nan, n, INDEPENDENT, n)


def of_holdout(metrics: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any] | None:
    """Return a version's metric on its holdout with its interval, as it was registered; None without one.

    The error is the one that was measured then, of rows as if independent; the quantile is the normal's.
    """
    kept = metrics.get(metric)
    if kept is None:
        return None
    value, error = (finite_or_none(kept[name]) for name in ("value", "standard_error"))
    half = None if value is None or error is None else NORMAL * error
    bounds = {"lower": None, "upper": None} if half is None else {"lower": value - half, "upper": value + half}
    return {"value": value, **bounds, "standard_error": error, "n": kept["n"]}


NORMAL = 1.959963984540054
"""The normal distribution's quantile at 1 − `LEVEL`/2."""
