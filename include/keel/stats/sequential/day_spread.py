"""How far the mean loss of single days lies from that of all days, and what a test of rows must make of it.

Rows of a day share their weather, their campaign, their outage. A test that multiplies a factor for each row takes a
bad day for a change: at 1,000 rows a day whose log-odds vary by .3, it raises a false alarm in nearly every year. So
the logarithm of each row's factor is divided by the design effect of a day, 1 + (n − 1)·ρ with n rows a day and ρ the
correlation of two rows of a day. A factor to the power 1/d, d ≥ 1, has an expected value of at most 1 where the factor
has (Jensen's inequality). So the bound on false alarms stays exact for independent rows, and holds approximately where
days differ at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keel.stats.sequential.bounded_losses import PROBABILITY_METRICS, baseline_loss, bounded_loss
from keel.stats.sequential.prediction_powered import estimated_losses

if TYPE_CHECKING:
    from keel.stats.metrics.losses import Scored

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]

MIN_DAYS = 5
"""Days below which their spread is not estimated."""
CHANCE = 0.1
"""Days whose spread is exceeded with this probability where all are alike are taken as alike: a test on independent
rows would otherwise find small changes half as fast."""


@dataclass(frozen=True)
class DaySpread:
    """The spread of a loss in [0, 1] within and between the days of a holdout."""

    days: int
    rows: float
    """Rows of the day of an average row."""
    within: float
    """Variance of a row's loss."""
    between: float
    """Variance of a day's mean loss beyond that of its rows; 0 where that may be chance, and of fewer than 5 days."""
    unexplained: float
    """Mean square of a row's loss less its estimate from the score (`estimated_losses`)."""

    @classmethod
    def measure(cls, times: Times, losses: Floats, estimates: Floats) -> DaySpread:
        """Return the spread of losses, shape (n,), whose predictions have these times; n at least 1."""
        from scipy.special import chdtri

        _, day = np.unique(times.astype("datetime64[D]"), return_inverse=True)
        n, total = np.bincount(day), np.bincount(day, losses)
        days, within = len(n), float(losses.var()) if np.ptp(losses) else 0.0
        between = 0.0
        if days >= MIN_DAYS and within:
            squares = float(((total - losses.mean() * n) ** 2).sum())
            if squares > within * len(losses) / days * float(chdtri(days - 1, CHANCE)):
                excess = squares * days / (days - 1) - within * len(losses)
                between = max(0.0, excess / float((n.astype(float) ** 2).sum()))
        unexplained = float(((losses - estimates) ** 2).mean())
        return cls(days, float((n.astype(float) ** 2).sum() / n.sum()), within, between, unexplained)

    @property
    def correlation(self) -> float:
        """Correlation of the losses of two rows of a day."""
        return self.between / self.within if self.within else 0.0

    def correlation_powered(self, share: float) -> float:
        """Return the correlation of two prediction-powered losses of a day: theirs vary more, and the days as much."""
        variance = self.within + (1 / share - 1) * self.unexplained
        return self.between / variance if variance else 0.0

    def standard_error(self, n: int) -> float:
        """Return the standard error of the mean loss of n rows on days like these."""
        return math.sqrt(self.within * design_effect(self.correlation, self.rows) / n)

    def to_dict(self) -> dict[str, float]:
        """Return plain numbers."""
        return asdict(self)


def measure_days(
    metric: str, reference: Mapping[str, Any], times: Times, rows: Scored
) -> dict[str, float | str] | None:
    """Return what `day_spread` reads, of a holdout; None for one without a usable row.

    reference: the other statistics of that holdout. times: of its predictions, shape (n,), in UTC.
    """
    loss = bounded_loss(metric, baseline_loss(metric, reference))
    usable = loss.usable(rows) if loss else np.array([False])
    if loss is None or not usable.any():
        return None
    losses = loss.of(rows.take(usable))
    estimates = estimated_losses(metric, rows.score[usable], mean=float(losses.mean()))
    return {"loss": _kind(metric), **DaySpread.measure(times[usable], losses, estimates).to_dict()}


def day_spread(metric: str, reference: Mapping[str, Any]) -> DaySpread | None:
    """Return the spread of a version's loss between the days of its holdout; None where that was not measured."""
    stored = reference.get("days")
    if not stored or stored["loss"] != _kind(metric):
        return None
    return DaySpread(**{name: value for name, value in stored.items() if name != "loss"})


def _kind(metric: str) -> str:
    return "brier" if metric in PROBABILITY_METRICS else metric


def design_effect(correlation: float, rows: float) -> float:
    """Return by how much the variance of a mean is larger than that of independent rows.

    rows: in a cluster. Source: Kish 1965.

    >>> design_effect(0.01, 101)
    2.0
    """
    return 1 + correlation * max(0.0, rows - 1)


@dataclass
class DayRows:
    """How many rows a day has, as far as is known. Its size is constant."""

    day: int
    """Number of the latest day since 1970; −1 before the first."""
    today: float
    """Rows of it so far."""
    total: float
    """Sum of the rows of earlier days; each day counts `MEMORY` times as much as the day after it."""
    squares: float
    """Sum of their squares."""

    MEMORY = 0.9

    @classmethod
    def start(cls, rows: float) -> DayRows:
        """Return what is known before the first row: days had ``rows`` rows when the version was trained."""
        return cls(-1, 0.0, rows, rows**2)

    @property
    def expected(self) -> float:
        """Rows of the day of an average row: of earlier days, or those of the latest so far if they are more."""
        return max(self.today, self.squares / self.total if self.total else 0.0)

    def add(self, days: NDArray[np.int64]) -> None:
        """Count rows by their day, in order; those of days before the latest came late, and are not counted."""
        for day, rows in zip(*np.unique(days, return_counts=True), strict=True):
            if day > self.day:
                if self.day >= 0:
                    self.total = self.total * self.MEMORY + self.today
                    self.squares = self.squares * self.MEMORY + self.today**2
                self.day, self.today = int(day), 0.0
            if day == self.day:
                self.today += float(rows)
