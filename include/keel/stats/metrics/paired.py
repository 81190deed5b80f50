"""Standard errors of a metric, and of the difference of two versions on the same rows, when rows near in time depend.

One mechanism serves every metric. To first order an estimate is the truth plus one contribution per row, which is the
row's influence value over n. Contributions summed within clusters of time give a standard error that allows any
dependence within a cluster. Single contributions give the textbook's error of independent rows.

Shapes: arrays are 1-D, of the same length n, without NaN in the columns that the metric needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.stats.metrics.losses import HIGHER_IS_BETTER, Scored, auc_placements, row_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

UNITS: dict[str, int] = {"day": 86_400, "6 h": 21_600, "hour": 3_600}
"""Lengths of clusters in seconds, in the order of preference: the longer, the less neighbouring clusters depend."""
MIN_CLUSTERS = 10
"""Clusters that a unit needs. With fewer, Student's quantile is large and the error itself is a rough estimate."""
MIN_HOURS = 5
"""Clusters that the shortest unit needs. With fewer, rows are treated as independent."""
MAX_CORRELATION = 0.9
"""Upper limit of the estimated correlation r of neighbouring clusters, because (1 + r)/(1 - r) has no limit."""


@dataclass(frozen=True)
class Influence:
    """An estimate and each row's contribution to it, in the metric's units.

    The contributions sum to zero. The square root of the sum of their squares is the textbook's standard error: the
    standard deviation over √n for means of losses (McNemar's for the difference of two accuracies), the delta method's
    for the RMSE, DeLong's for the AUC. NaN where the metric or its error is not defined.
    """

    value: float
    contributions: Floats


def influence(metric: str, rows: Scored) -> Influence:
    """Return one version's metric with the contribution of each row.

    Source: Hampel 1974 (influence values); DeLong et al. 1988 and Sun & Xu 2014 (placements).

    >>> result = influence("mae", Scored(np.zeros(4), np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0])))
    >>> result.value, round(float(np.sqrt((result.contributions**2).sum())), 4)  # 1.291 / √4
    (2.5, 0.6455)
    """
    n = len(rows)
    if n < 2:
        return Influence(math.nan, np.full(n, math.nan))
    if metric == "roc_auc":
        return _auc_influence(rows)
    loss = row_loss(metric, rows)
    mean = float(loss.mean())
    contributions = (loss - mean) / math.sqrt(n * (n - 1))
    if metric == "accuracy":
        return Influence(1 - mean, -contributions)
    if metric == "rmse":
        root = math.sqrt(mean) if mean >= 0 else math.nan
        return Influence(root, contributions / (2 * root) if root != 0 else contributions)
    return Influence(mean, contributions)


def improvement(metric: str, champion: Influence, challenger: Influence) -> Influence:
    """Return the challenger's improvement on the same rows, in units of the metric; positive is better."""
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    return Influence(
        sign * (challenger.value - champion.value), sign * (challenger.contributions - champion.contributions)
    )


def _auc_influence(rows: Scored) -> Influence:
    placements = auc_placements(rows.label, rows.score)
    contributions = np.full(len(rows), math.nan)
    is_positive = rows.label > 0
    if min(map(len, placements)) < 2:
        return Influence(math.nan, contributions)
    for mask, placed in zip((is_positive, ~is_positive), placements, strict=True):
        contributions[mask] = (placed - placed.mean()) / math.sqrt(len(placed) * (len(placed) - 1))
    return Influence(float(placements[0].mean()), contributions)


@dataclass(frozen=True)
class Clusters:
    """Rows grouped by time. Rows of one cluster may depend on each other in any way."""

    unit: str
    """``day``, ``6 h``, ``hour`` or ``row``."""
    number: NDArray[np.int64]
    """Cluster of each row, counted from the first in time; the numbers of neighbouring clusters differ by one."""
    count: int
    """Number of clusters that have rows."""

    @classmethod
    def of(cls, times: NDArray[np.datetime64]) -> Clusters:
        """Group rows by calendar day (UTC), or by the longest shorter unit with enough clusters."""
        seconds = times.astype("datetime64[s]").astype(np.int64)
        number = seconds
        for unit, length in UNITS.items():
            number = seconds // length
            count = len(np.unique(number))
            if count >= MIN_CLUSTERS or (unit == "hour" and count >= MIN_HOURS):
                return cls(unit, number - number.min(), count)
        return cls.rows(len(times))

    @classmethod
    def rows(cls, n: int) -> Clusters:
        """Return a cluster for every row."""
        return cls("row", np.arange(n), n)

    def take(self, index: NDArray[Any]) -> Clusters:
        """Return the clusters of some rows; a cluster for every row where they fall into too few clusters."""
        number = self.number[index]
        count = len(np.unique(number))
        if self.unit == "row" or count < MIN_HOURS:
            return Clusters.rows(len(number))
        return Clusters(self.unit, number, count)

    def to_dict(self) -> dict[str, Any]:
        """Return the unit and the number of clusters."""
        return {"unit": self.unit, "count": self.count}


@dataclass(frozen=True)
class Uncertainty:
    """The standard errors of an estimate."""

    row_error: float
    """Standard error of independent rows."""
    clustered_error: float
    """Standard error that allows dependence within a cluster, and of a cluster on its neighbours."""
    neighbours: float
    """Correlation of neighbouring clusters, in [0, `MAX_CORRELATION`]; 0 for rows."""
    effective_clusters: float
    """Number of independent clusters with the same information."""
    effective_rows: float
    """Number of equal contributions with the same information; for accuracy, the rows on which the versions differ."""

    @property
    def standard_error(self) -> float:
        """The larger of both errors; NaN if either is NaN."""
        return float(np.maximum(self.row_error, self.clustered_error))

    def half_width(self, level: float) -> float:
        """Return the half-width of a one-sided confidence bound at 1 − ``level``, by Student's t."""
        from scipy.special import stdtrit

        return float(stdtrit(max(self.effective_clusters - 1, 1.0), 1 - level)) * self.standard_error


def uncertainty(contributions: Floats, clusters: Clusters, *, neighbours: float | None = None) -> Uncertainty:
    """Return the standard errors of an estimate from its rows' contributions.

    The clustered variance is G/(G−1) · Σ S², with S the sum of a cluster's contributions (CR1; for the AUC Obuchowski
    1997), times (1 + r)/(1 − r), because bad days follow each other. r ≥ 0 is the correlation of the sums S of
    neighbouring clusters, and G·(1 − r)/(1 + r) the effective number of clusters (Bayley & Hammersley 1946).
    neighbours: r, where a better estimate exists.

    >>> both = uncertainty(np.array([1.0, 1.0, -1.0, -1.0]), Clusters("day", np.array([0, 0, 1, 1]), 2))
    >>> both.row_error, round(both.clustered_error, 4)  # √4; √(2/1 · (2² + 2²))
    (2.0, 4.0)
    """
    squares = contributions**2
    total = float(squares.sum())
    fourth = float((squares**2).sum())
    rows = total**2 / fourth if fourth > 0 else 0.0
    if clusters.unit == "row":
        return Uncertainty(math.sqrt(total), math.sqrt(total), 0.0, float(clusters.count), rows)
    sums: Floats = np.bincount(clusters.number, contributions).astype(np.float64)
    between = float((sums**2).sum())
    if neighbours is None:
        neighbours = _neighbours(sums, clusters, between)
    inflation = (1 + neighbours) / (1 - neighbours)
    count = clusters.count
    error = math.sqrt(count / (count - 1) * between * inflation)
    return Uncertainty(math.sqrt(total), error, neighbours, count / inflation, rows)


def _neighbours(sums: Floats, clusters: Clusters, between: float) -> float:
    """Return the correlation of the sums of neighbouring clusters. A cluster without rows has no neighbours."""
    if not between > 0:
        return 0.0
    has_rows = np.bincount(clusters.number) > 0
    pairs = int((has_rows[1:] & has_rows[:-1]).sum())
    if pairs < MIN_HOURS - 1:
        return 0.0
    correlation = float((sums[1:] * sums[:-1]).sum()) / between * (clusters.count - 1) / pairs
    return min(max(correlation, 0.0), MAX_CORRELATION)


def mcnemar(champion: Scored, challenger: Scored) -> dict[str, float | int]:
    """Count the rows that only one version decides correctly, with McNemar's exact two-sided p-value.

    The test treats rows as independent, so its result is for information only. Source: McNemar 1947.

    >>> a = Scored(np.ones(6), np.ones(6), np.array([1.0, 0, 0, 0, 0, 1]))
    >>> mcnemar(a, Scored(np.ones(6), np.ones(6), np.ones(6)))
    {'only_champion_right': 0, 'only_challenger_right': 4, 'p_value': 0.125}
    """
    from scipy.stats import binomtest

    first, second = champion.prediction == champion.label, challenger.prediction == challenger.label
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return {"only_champion_right": lost, "only_challenger_right": won, "p_value": p_value}
