"""Describe labels by hour, and test whether those of a stretch could be labels like those of a reference.

Days of real traffic differ by more than the chance of single rows: a storm makes half of a day's flights late. So the
tests compare a stretch with the variation *between the reference's days*, and ask for a material difference as well.
Blocks of 24 hours, which hold a whole daily cycle, take the place of calendar days in a stretch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keel.stats.metrics.paired import Clusters, uncertainty

if TYPE_CHECKING:
    Times = NDArray[np.datetime64]

Floats = NDArray[np.float64]

HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
MIN_LABELS = 20
"""Labels of a block or a run below which nothing is tested."""
MAX_CORRELATION = 0.9
"""Upper limit of the correlation of neighbouring days, as in `keel.stats.metrics.paired`."""


@dataclass(frozen=True)
class LabelHours:
    """Numbers of labels and predictions by hour, ascending; arrays of shape (hours,)."""

    hour: Times
    """Start of the hour."""
    rows: Floats
    """Predictions."""
    labelled: Floats
    """Predictions with a label. The following are of these; NaN where there is none."""
    total: Floats
    """Sum of the labels less ``centre``."""
    squares: Floats
    """Sum of their squares."""
    lowest: Floats
    highest: Floats
    late: Floats
    """Labels that were observed after the label delay."""
    delay: Floats
    """Sum of the seconds from the prediction to the label."""
    centre: float = 0.0

    def __len__(self) -> int:
        return len(self.hour)

    def take(self, index: NDArray[Any]) -> LabelHours:
        """Return some of the hours."""
        arrays = {name: value[index] for name, value in self.__dict__.items() if name != "centre"}
        return replace(self, **arrays)


@dataclass(frozen=True)
class LabelBaseline:
    """The labels of a version's training rows and holdout, and how they differ between days."""

    n: int
    mean: float
    deviation: float
    """Standard deviation of a label."""
    error: float
    """Standard error of the mean, clustered by day."""
    day_deviation: float
    """Standard deviation of a day's mean beyond that of single labels."""
    neighbours: float
    """Correlation of neighbouring days, in [0, .9]."""
    days: float
    """Effective number of independent days."""
    log_odds: float
    """Mean of the days' log-odds; NaN unless labels are 0 and 1 on at least two days."""
    log_odds_deviation: float
    """Standard deviation of the days' log-odds, NaN with them."""
    spread: float
    """Mean over days of the logarithm of a day's standard deviation; NaN where days have too few labels."""
    spread_deviation: float
    """Standard deviation of that logarithm between days; NaN with fewer than two days."""
    longest_run: int
    """Labels of the longest run of hours in which all labels are equal. Nights may have only one value."""
    mode_share: float
    """Share of the most frequent label."""
    mode_deviation: float
    """Standard deviation of a day's share of it beyond that of single labels."""

    @classmethod
    def measure(cls, times: Times, labels: Floats) -> LabelBaseline | None:
        """Return the baseline of labelled rows, shape (n,); None below `MIN_LABELS` finite labels."""
        finite = np.isfinite(labels)
        y, time = labels[finite], times[finite]
        day = time.astype("datetime64[D]").astype(np.int64)
        if len(y) < MIN_LABELS:
            return None
        values, counts = np.unique(y, return_counts=True)
        clusters = Clusters("day", day - day.min(), len(np.unique(day)))
        mean, between = float(y.mean()), uncertainty((y - y.mean()) / len(y), clusters) if clusters.count > 1 else None
        at_mode = (y == values[counts.argmax()]).astype(np.float64)
        off = y - mean
        n, total, squares = (sums_of(clusters.number, each) for each in (off * 0 + 1, off, off**2))
        logs = log_deviations(n, total, squares)
        odds = _log_odds(n, total + n * mean) if np.isin(values, (0.0, 1.0)).all() else np.empty(0)
        return cls(
            n=len(y),
            mean=mean,
            deviation=float(y.std()),
            error=between.standard_error if between else float(y.std()) / math.sqrt(len(y)),
            day_deviation=_between_days(y, clusters),
            neighbours=between.neighbours if between else 0.0,
            days=between.effective_clusters if between else 1.0,
            log_odds=float(odds.mean()) if len(odds) > 1 else math.nan,
            log_odds_deviation=float(odds.std(ddof=1)) if len(odds) > 1 else math.nan,
            spread=float(logs.mean()) if len(logs) else math.nan,
            spread_deviation=float(logs.std(ddof=1)) if len(logs) > 1 else math.nan,
            longest_run=_longest_run(time, y),
            mode_share=float(at_mode.mean()),
            mode_deviation=_between_days(at_mode, clusters),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON values, NaN as None."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelBaseline:
        """Return the baseline that `to_dict` described."""
        known: Any = {name: math.nan if values[name] is None else values[name] for name in cls.__dataclass_fields__}
        return cls(**known)

    def chance_of_one_value(self, n: float) -> float:
        """Return the largest probability that n labels of one day all have the same value, in [0, 1].

        It is the mean of sⁿ over days, with s a day's share of the most frequent label: any other value is less
        probable. Over days s is logit-normal for a binary target, else beta-distributed.
        """
        from scipy.special import gammaln

        share, variance = self.mode_share, self.mode_deviation**2
        if share >= 1:
            return 1.0
        if not math.isnan(self.log_odds_deviation):
            shares, density = self._shares()
            return float(density @ shares**n)
        concentration = share * (1 - share) / variance - 1 if variance > 0 else math.inf
        if concentration > self.n:  # days that do not differ: independent labels
            return float(share**n)
        a, both = share * max(concentration, 0.1), max(concentration, 0.1)
        return float(np.exp(gammaln(a + n) - gammaln(a) - gammaln(both + n) + gammaln(both)))

    def chance_of_few_others(self, n: int, most: int) -> float:
        """Return the probability that at most ``most`` of n labels of one day are of a binary target's rarer class.

        It is the mean over days of the binomial probability, as in `chance_of_one_value`.
        """
        from scipy.special import bdtr

        if self.mode_share >= 1 or n <= most:
            return 1.0
        if math.isnan(self.log_odds_deviation):  # a single day
            return float(bdtr(most, n, 1 - self.mode_share))
        shares, density = self._shares()
        return float(density @ bdtr(most, n, 1 - shares))

    def _shares(self) -> tuple[Floats, Floats]:
        """Return shares of the more frequent class on a day, and how probable each is; of a binary target."""
        from scipy.special import expit

        z = np.linspace(-12, 12, 2_401)
        density = np.exp(-(z**2) / 2)
        return expit(abs(self.log_odds) + self.log_odds_deviation * z), density / density.sum()

    def p_of_mean(self, n: Floats, mean: float) -> float:
        """Return the two-sided p-value of the mean of consecutive blocks with ``n`` labels each, shape (blocks,).

        The variance is that of single labels, that between the reference's days with the correlation of neighbours,
        and that of the reference's own mean. The quantile is Student's, with the reference's effective days. For a
        binary target the p-value is the larger of those of the mean and of the log-odds: days are skewed on either
        scale, and a stretch must be unusual on both.
        """
        weights, labels = n / n.sum(), float(n.sum())
        apart = np.abs(np.subtract.outer(np.arange(len(n)), np.arange(len(n))))
        correlated = float(weights @ (self.neighbours**apart) @ weights)
        variance = self.deviation**2 / labels + self.day_deviation**2 * correlated + self.error**2
        by_mean = _two_sided(mean - self.mean, math.sqrt(variance), self.days - 1)
        if math.isnan(self.log_odds_deviation):
            return by_mean
        odds = log_odds(labels, mean * labels)
        single = (labels + 1) / ((mean * labels + 0.5) * (labels - mean * labels + 0.5))
        variance = single + self.log_odds_deviation**2 * (correlated + 1 / max(self.days, 1.0))
        return max(by_mean, _two_sided(odds - self.log_odds, math.sqrt(variance), self.days - 1))

    def p_of_spread(self, logs: Floats) -> float:
        """Return the two-sided p-value of the mean log deviation of blocks, shape (blocks,); 1 where not defined."""
        if not (math.isfinite(self.spread_deviation) and len(logs)):
            return 1.0
        error = self.spread_deviation * math.sqrt(1 / len(logs) + 1 / max(self.days, 1.0))
        return _two_sided(float(logs.mean()) - self.spread, error, self.days - 1)


def _two_sided(difference: float, error: float, freedom: float) -> float:
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stdtr(max(freedom, 1.0), -abs(difference) / error))


def runs_of_one_value(lowest: Floats, highest: Floats) -> list[tuple[int, int]]:
    """Return the first index, and the one after the last, of each run of hours whose labels are all equal.

    lowest, highest: of the labels of consecutive hours with labels.

    >>> runs_of_one_value(np.array([0.0, 0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]))
    [(1, 3), (3, 4)]
    """
    value = np.where(lowest == highest, lowest, np.nan)
    begins = np.flatnonzero(np.append(True, value[1:] != value[:-1])) if len(value) else np.empty(0, np.int64)
    ends = np.append(begins[1:], len(value))
    return [(int(a), int(b)) for a, b in zip(begins, ends, strict=False) if not np.isnan(value[a])]


def _longest_run(times: Times, labels: Floats) -> int:
    order = np.argsort(times, kind="stable")
    _, starts, n = np.unique(times[order].astype("datetime64[h]"), return_index=True, return_counts=True)
    lowest, highest = (each.reduceat(labels[order], starts) for each in (np.minimum, np.maximum))
    return max((int(n[a:b].sum()) for a, b in runs_of_one_value(lowest, highest)), default=0)


def _between_days(values: Floats, clusters: Clusters) -> float:
    """Return the standard deviation of the days' means beyond that of independent rows (method of moments)."""
    n = np.bincount(clusters.number)
    days = n >= MIN_LABELS
    if days.sum() < 2:
        return 0.0
    means = np.bincount(clusters.number, values)[days] / n[days]
    excess = float(means.var(ddof=1)) - float((values.var() / n[days]).mean())
    return math.sqrt(max(excess, 0.0))


def log_odds(n: float, positive: float) -> float:
    """Return ln((k + ½)/(n − k + ½)) of k positives among n labels.

    >>> round(log_odds(99, 0), 2)
    -5.29
    """
    return math.log((positive + 0.5) / (n - positive + 0.5))


def _log_odds(n: Floats, positive: Floats) -> Floats:
    enough = n >= MIN_LABELS
    return np.array([log_odds(*day) for day in zip(n[enough], positive[enough], strict=True)])


def sums_of(group: NDArray[np.int64], values: Floats, groups: int = 0) -> Floats:
    """Return the sum of the values of each group, shape (groups,)."""
    return np.bincount(group, values, groups).astype(np.float64)


def log_deviations(n: Floats, total: Floats, squares: Floats) -> Floats:
    """Return the logarithm of each block's standard deviation, without blocks of few or of equal labels."""
    enough = n >= MIN_LABELS
    n, total, squares = n[enough], total[enough], squares[enough]
    variance = (squares - total**2 / n) / (n - 1)
    found: Floats = 0.5 * np.log(variance[variance > 1e-12 * np.maximum(squares / n, 1e-300)])
    return found
