"""How sure the difference of two versions on the same rows is, when rows near in time are alike.

One mechanism for every metric. An estimate is, up to a smaller order, the truth plus a sum of one contribution per
row (its influence value over n). Contributions summed within clusters of time give a standard error that holds when
the rows of a cluster share what happened to them; contributions taken one by one give the textbook's.

Shapes: arrays are 1-D, of the same length n, without NaN in what the metric needs.
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
"""Clusters that are tried, the longest first, in seconds: the longer, the less neighbours have in common."""
MIN_CLUSTERS = 10
"""From so many on a unit is taken: with fewer, Student's quantile is large and the error itself a rough estimate."""
FEWEST_CLUSTERS = 5
"""Of the shortest unit; below it there is nothing to estimate an error between clusters from, and rows are taken."""
MOST_ALIKE = 0.9
"""Neighbouring clusters' correlation is taken for no higher: (1 + r)/(1 - r) has no limit, and an estimate is one."""


@dataclass(frozen=True)
class Influence:
    """An estimate and what each row contributes to it, in the metric's units.

    The contributions sum to zero, and the square root of the sum of their squares is the textbook's standard error:
    the standard deviation over √n for means of losses (for the difference of two accuracies McNemar's), the delta
    method's for the RMSE, DeLong's for the AUC. NaN where the metric or its error is not defined.
    """

    value: float
    contributions: Floats


def influence(metric: str, rows: Scored) -> Influence:
    """Return one version's metric with each row's contribution.

    Source: Hampel 1974 (influence values); DeLong et al. 1988 and Sun & Xu 2014 (placements).

    >>> found = influence("mae", Scored(np.zeros(4), np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0])))
    >>> found.value, round(float(np.sqrt((found.contributions**2).sum())), 4)  # 1.291 / √4
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
    """Return how much better the challenger is on the same rows, in units of the metric; positive is better."""
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
    """Rows grouped by time: rows of one group may depend on each other in whatever way."""

    unit: str
    """``day``, ``6 h``, ``hour`` or ``row``."""
    number: NDArray[np.int64]
    """Which cluster each row is in, counted from the first; those next to each other in time differ by one."""
    count: int
    """How many have rows."""

    @classmethod
    def of(cls, times: NDArray[np.datetime64]) -> Clusters:
        """Group rows by calendar days (UTC), or by the longest shorter unit of which there are enough."""
        seconds = times.astype("datetime64[s]").astype(np.int64)
        number = seconds
        for unit, length in UNITS.items():
            number = seconds // length
            count = len(np.unique(number))
            if count >= MIN_CLUSTERS or (unit == "hour" and count >= FEWEST_CLUSTERS):
                return cls(unit, number - number.min(), count)
        return cls.rows(len(times))

    @classmethod
    def rows(cls, n: int) -> Clusters:
        """Take every row for a cluster of its own."""
        return cls("row", np.arange(n), n)

    def take(self, index: NDArray[Any]) -> Clusters:
        """Return the clusters of some rows; rows by themselves where they fall into too few clusters."""
        number = self.number[index]
        count = len(np.unique(number))
        if self.unit == "row" or count < FEWEST_CLUSTERS:
            return Clusters.rows(len(number))
        return Clusters(self.unit, number, count)

    def to_dict(self) -> dict[str, Any]:
        """Return the unit and how many there are."""
        return {"unit": self.unit, "count": self.count}


@dataclass(frozen=True)
class Uncertainty:
    """How far an estimate may be from the truth."""

    row_error: float
    """Standard error if every row were independent of every other."""
    clustered_error: float
    """Standard error when rows of one cluster may depend on each other, and clusters on their neighbours."""
    neighbours: float
    """Correlation of neighbouring clusters, in [0, `MOST_ALIKE`]; 0 for rows."""
    effective_clusters: float
    """How many independent clusters are worth as much as those that there are."""
    effective_rows: float
    """How many equal contributions are worth as much as those of the rows; for accuracy, the rows told apart."""

    @property
    def standard_error(self) -> float:
        """The larger of both errors; NaN if either is."""
        return float(np.maximum(self.row_error, self.clustered_error))

    def half_width(self, level: float) -> float:
        """Return how far a one-sided confidence bound at 1 − ``level`` lies from the estimate: Student's t."""
        from scipy.special import stdtrit

        return float(stdtrit(max(self.effective_clusters - 1, 1.0), 1 - level)) * self.standard_error


def uncertainty(contributions: Floats, clusters: Clusters, *, neighbours: float | None = None) -> Uncertainty:
    """Measure an estimate's standard errors from its rows' contributions.

    Clustered: G/(G−1) · Σ S², with S the sum of a cluster's contributions (CR1; for the AUC Obuchowski 1997), times
    (1 + r)/(1 − r), as a bad day is seldom alone. r is the correlation of the sums S of neighbouring clusters, taken
    for no less than 0, and G·(1 − r)/(1 + r) the number of clusters that are worth as much (Bayley & Hammersley
    1946). neighbours: r, where it is known better from elsewhere.

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
    """Correlation of the sums of clusters next to each other; where one has no rows, its sides are no neighbours."""
    if not between > 0:
        return 0.0
    there = np.bincount(clusters.number) > 0
    pairs = int((there[1:] & there[:-1]).sum())
    if pairs < FEWEST_CLUSTERS - 1:
        return 0.0
    correlation = float((sums[1:] * sums[:-1]).sum()) / between * (clusters.count - 1) / pairs
    return min(max(correlation, 0.0), MOST_ALIKE)


def mcnemar(champion: Scored, challenger: Scored) -> dict[str, float | int]:
    """Count the rows that only one version decides rightly, with McNemar's exact two-sided p-value.

    It takes rows for independent, and is for information. Source: McNemar 1947.

    >>> a = Scored(np.ones(6), np.ones(6), np.array([1.0, 0, 0, 0, 0, 1]))
    >>> mcnemar(a, Scored(np.ones(6), np.ones(6), np.ones(6)))
    {'only_champion_right': 0, 'only_challenger_right': 4, 'p_value': 0.125}
    """
    from scipy.stats import binomtest

    first, second = champion.prediction == champion.label, challenger.prediction == challenger.label
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return {"only_champion_right": lost, "only_challenger_right": won, "p_value": p_value}
