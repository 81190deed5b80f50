"""What the tests of a version's mean loss tolerate, from its holdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.stats.sequential.bounded_losses import (
    BASELINE_DELTA,
    PROBABILITY_METRICS,
    BoundedLoss,
    baseline_loss,
    bounded_loss,
)
from keel.stats.sequential.day_spread import DayRows, DaySpread, day_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import ModelConfig


@dataclass(frozen=True)
class LossPlan:
    """A loss in [0, 1] and the largest mean that is tolerated. It is fixed when a monitor starts."""

    loss: BoundedLoss
    mean: float
    """Mean loss of the holdout."""
    limit: float
    """Largest tolerated mean (`BoundedLoss.limit`)."""
    tolerance: float
    """The part of it that ``performance.max_degradation`` allows."""
    spread: DaySpread | None = None
    """How the loss differs between days; None of a version that was trained before this was measured."""

    def in_units(self, mean: float) -> str:
        """Return a mean loss as text, in units of the metric's own loss."""
        return f"{mean * self.loss.cap:.4g}"

    def level(self, upper: float) -> dict[str, Any]:
        """Return a mean loss with its error (`LossTest.upper`) as plain JSON, for `tolerated`."""
        return {"metric": self.loss.metric, "cap": self.loss.cap, "upper": upper}

    def tolerated(self, level: Mapping[str, Any]) -> float:
        """Return the limit once a level is tolerated: the plan's own where it is one of another loss, or is missing."""
        if (level.get("metric"), level.get("cap")) != (self.loss.metric, self.loss.cap):
            return self.limit
        return min(1.0, level["upper"] + self.tolerance)

    def correlation(self, share: float | None = None) -> float:
        """Return the correlation of two rows of a day; share: of their prediction-powered losses."""
        if self.spread is None:
            return 0.0
        return self.spread.correlation if share is None else self.spread.correlation_powered(share)

    def day_rows(self, thinning: int) -> DayRows:
        """Return how many rows of a day are expected to be bet on."""
        return DayRows.start(self.spread.rows / thinning if self.spread else 0.0)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the plan as arrays without objects."""
        numbers = np.array([self.loss.cap, self.mean, self.limit, self.tolerance], np.float64)
        days = np.array(astuple(self.spread) if self.spread else (), np.float64)
        return {"metric": np.array(self.loss.metric), "plan": numbers, "days": days}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LossPlan:
        """Return the plan that `to_arrays` gave."""
        cap, mean, limit, tolerance = map(float, arrays["plan"])
        days = list(map(float, arrays["days"]))
        spread = DaySpread(int(days[0]), *days[1:]) if days else None
        return cls(BoundedLoss(str(arrays["metric"]), cap), mean, limit, tolerance, spread)


def plan_losses(config: ModelConfig, reference: Mapping[str, Any]) -> LossPlan | None:
    """Return the plan of a version with this ``reference.json``; None for the reason that `why_untested` gives."""
    metric, max_degradation = config.performance.metric, config.performance.max_degradation
    baseline = baseline_loss(metric, reference)
    loss = bounded_loss(metric, baseline)
    if baseline is None or loss is None:
        return None
    from scipy.special import stdtrit

    spread = day_spread(metric, reference)
    tolerance = loss.increase(max_degradation, baseline)
    limit = loss.limit(baseline, max_degradation)
    if spread is not None and spread.between:  # the holdout has few days, and they differ
        days = float(stdtrit(spread.days - 1, 1 - BASELINE_DELTA)) * spread.standard_error(baseline.n)
        limit = max(limit, min(1.0, baseline.value / loss.cap + days + tolerance))
    if limit >= 1:  # no loss is larger
        return None
    return LossPlan(loss, min(baseline.value / loss.cap, limit), limit, tolerance, spread)


def why_untested(config: ModelConfig, reference: Mapping[str, Any]) -> str:
    """Return, in a sentence, why the mean loss of a version cannot be tested; empty where it can."""
    if plan_losses(config, reference) is not None:
        return ""
    metric = config.performance.metric
    baseline = baseline_loss(metric, reference)
    if baseline is None or bounded_loss(metric, baseline) is None:
        if metric in PROBABILITY_METRICS - {"brier"}:
            return (
                "The mean loss is not monitored: it is the Brier score, and the statistics of the version's holdout "
                "have none. Add brier to performance.extra_metrics, and train a version."
            )
        return (
            f"The mean loss is not monitored: the statistics of the version's holdout have no {metric}. "
            "Train a version with the present performance.metric."
        )
    return (
        f"The mean loss is not monitored: a holdout of {baseline.n:,} labels and a performance.max_degradation of "
        f"{config.performance.max_degradation:g} leave no mean loss that would be too high. Make retrain.holdout "
        "longer, or max_degradation smaller."
    )
