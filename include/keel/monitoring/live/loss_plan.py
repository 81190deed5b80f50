"""What the tests of a version's mean loss tolerate, from its holdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.stats.sequential.bounded_losses import BoundedLoss, baseline_loss, bounded_loss

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

    def in_units(self, mean: float) -> str:
        """Return a mean loss as text, in units of the metric's own loss."""
        return f"{mean * self.loss.cap:.4g}"

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the plan as arrays without objects."""
        numbers = np.array([self.loss.cap, self.mean, self.limit, self.tolerance], np.float64)
        return {"metric": np.array(self.loss.metric), "plan": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LossPlan:
        """Return the plan that `to_arrays` gave."""
        cap, mean, limit, tolerance = map(float, arrays["plan"])
        return cls(BoundedLoss(str(arrays["metric"]), cap), mean, limit, tolerance)


def plan_losses(config: ModelConfig, reference: Mapping[str, Any]) -> LossPlan | None:
    """Return the plan of a version with this ``reference.json``; None for the reason that `why_untested` gives."""
    metric, max_degradation = config.performance.metric, config.performance.max_degradation
    baseline = baseline_loss(metric, reference)
    loss = bounded_loss(metric, baseline)
    if baseline is None or loss is None:
        return None
    limit = loss.limit(baseline, max_degradation)
    if limit >= 1:  # no loss is larger
        return None
    mean = min(baseline.value / loss.cap, limit)
    return LossPlan(loss, mean, limit, loss.increase(max_degradation, baseline))


def why_untested(config: ModelConfig, reference: Mapping[str, Any]) -> str:
    """Return, in a sentence, why the mean loss of a version cannot be tested; empty where it can."""
    if plan_losses(config, reference) is not None:
        return ""
    metric = config.performance.metric
    baseline = baseline_loss(metric, reference)
    if baseline is None or bounded_loss(metric, baseline) is None:
        return (
            f"The mean loss is not monitored: the statistics of the version's holdout have no {metric}. "
            "Train a version with the present performance.metric."
        )
    return (
        f"The mean loss is not monitored: a holdout of {baseline.n:,} labels and a performance.max_degradation of "
        f"{config.performance.max_degradation:g} leave no mean loss that would be too high. Make retrain.holdout "
        "longer, or max_degradation smaller."
    )
