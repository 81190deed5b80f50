"""Losses per row with a bound, which tests of means need, and what a version's holdout promises of their mean.

==========================  ============================================================================
`brier`, `log_loss`,        squared error of the probability: in [0, 1] by itself. For the logarithm, which has no
`roc_auc`                   bound, and for the ranking, which has no loss per row, it stands in
`accuracy`                  one where the decision was wrong, else zero
`mae`, `rmse`               absolute or squared error, cut at a cap and divided by it. The cap comes from the holdout
                            alone. What is tested is the mean of the loss so cut
==========================  ============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.stats.metrics.losses import Estimate, Floats, Scored, brier_loss, finite_rows, row_loss
from keel.stats.sequential.betting import clopper_pearson_upper, empirical_bernstein_upper

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBABILITY_METRICS = frozenset({"brier", "log_loss", "roc_auc"})
CAP_DEVIATIONS = 5.0
"""Standard deviations above the holdout's mean at which a regression's loss is cut: at most 4% of any losses lie beyond
(Cantelli), and a lower cap would cut harm away with them."""


@dataclass(frozen=True)
class BoundedLoss:
    """How a metric's rows are turned into losses in [0, 1]."""

    metric: str
    cap: float = 1.0
    """What a loss of 1 is in units of the metric's own loss."""

    @property
    def name(self) -> str:
        """What the mean is a mean of."""
        if self.metric in PROBABILITY_METRICS:
            return "Brier score"
        if self.metric == "accuracy":
            return "share of wrong decisions"
        return f"{'absolute' if self.metric == 'mae' else 'squared'} error, cut at {self.cap:.4g}"

    def usable(self, rows: Scored) -> NDArray[np.bool_]:
        """Return which rows have a loss, as a mask: a probability has to be one, and its label 0 or 1."""
        finite = finite_rows(self.metric, rows)
        if self.metric in {"mae", "rmse"}:
            return finite
        known = finite & np.isin(rows.label, (0.0, 1.0))
        if self.metric == "accuracy":
            return known
        with np.errstate(invalid="ignore"):
            return known & (rows.score >= 0) & (rows.score <= 1)

    def of(self, rows: Scored) -> Floats:
        """Return the losses of rows that are usable, shape (n,), in [0, 1]."""
        if self.metric in PROBABILITY_METRICS:
            return brier_loss(rows)
        losses: Floats = np.minimum(row_loss(self.metric, rows) / self.cap, 1.0)
        return losses

    def increase(self, by: float, promised: Estimate | None) -> float:
        """Return an increase in units of the metric as one of the loss; a root's is taken from what was promised."""
        if self.metric == "rmse" and promised is not None:
            return ((math.sqrt(promised.value) + by) ** 2 - promised.value) / self.cap
        return by / self.cap if self.metric == "mae" else by

    def upper_bound(self, promised: Estimate, *, delta: float) -> float:
        """Return the upper bound at 1 − delta of the mean loss that the holdout's rows are a sample of.

        Clopper & Pearson for wrong decisions, else the empirical Bernstein bound, with the largest deviation that
        losses in [0, 1] of that mean can have where theirs is not known. Before a loss is cut its mean and deviation
        are no smaller than after, so that theirs may stand for those of the loss that was cut.
        """
        mean, n = promised.value / self.cap, promised.n
        if self.metric == "accuracy":
            return clopper_pearson_upper(round(mean * n), n, delta=delta)
        deviation = promised.standard_error * math.sqrt(n) / self.cap
        if not math.isfinite(deviation):
            deviation = math.sqrt(max(0.0, mean * (1 - mean)))
        return empirical_bernstein_upper(mean, deviation, n, delta=delta)


def bounded_loss(metric: str, promised: Estimate | None) -> BoundedLoss | None:
    """Return the loss to test; None for a regression whose holdout does not say at what to cut it."""
    if metric not in {"mae", "rmse"}:
        return BoundedLoss(metric)
    if promised is None:
        return None
    cap = promised.value + CAP_DEVIATIONS * promised.standard_error * math.sqrt(promised.n)
    return BoundedLoss(metric, cap) if math.isfinite(cap) and cap > 0 else None


def promised_loss(metric: str, reference: Mapping[str, Any]) -> Estimate | None:
    """Return mean, standard error and rows of a version's loss on its holdout; None where its reference has none.

    reference: as kept with a version. The standard error is NaN where only the mean is known. Units: those of the
    metric's own loss (`BoundedLoss`), so that of the RMSE is squared.
    """
    kept = {name: Estimate(**values) for name, values in reference.get("metrics", {}).items()}
    own = kept.get("brier" if metric in PROBABILITY_METRICS else metric)
    if own is None and metric == "roc_auc" and "loss" in reference and metric in kept:
        own = Estimate(float(reference["loss"]), math.nan, kept[metric].n)
    if own is None or not math.isfinite(own.value) or own.n < 1:
        return None
    if metric == "accuracy":
        return Estimate(1 - own.value, own.standard_error, own.n)
    if metric == "rmse":  # the delta method, undone
        return Estimate(own.value**2, 2 * own.value * own.standard_error, own.n)
    return own
