"""Losses per row in [0, 1], which tests of means need, and their baseline from a version's holdout.

==========================  ============================================================================
`brier`, `log_loss`,        squared error of the probability, which is in [0, 1]. It replaces the logarithmic loss,
`roc_auc`                   which has no bound, and the AUC, which has no loss per row
`accuracy`                  one where the decision is wrong, else zero
`mae`, `rmse`               absolute or squared error, cut at a cap and divided by it. The cap comes from the holdout
                            alone. The tests are about the mean of the loss after the cut
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
"""The cap of a regression's loss, in standard deviations above the holdout's mean. At most 4% of losses of any
distribution lie beyond it (Cantelli); a lower cap would also hide harm."""
BASELINE_DELTA = 0.01
"""Error rate of the upper bound of the mean loss from the holdout."""


@dataclass(frozen=True)
class BoundedLoss:
    """The transformation of a metric's rows into losses in [0, 1]."""

    metric: str
    cap: float = 1.0
    """The metric's own loss that becomes a loss of 1."""

    @property
    def name(self) -> str:
        """Name of the loss in reports."""
        if self.metric in PROBABILITY_METRICS:
            return "Brier score"
        if self.metric == "accuracy":
            return "share of wrong decisions"
        return f"{'absolute' if self.metric == 'mae' else 'squared'} error, cut at {self.cap:.4g}"

    def usable(self, rows: Scored) -> NDArray[np.bool_]:
        """Return a mask of the rows with a loss: a probability must be in [0, 1], and its label 0 or 1."""
        finite = finite_rows(self.metric, rows)
        if self.metric in {"mae", "rmse"}:
            return finite
        known = finite & np.isin(rows.label, (0.0, 1.0))
        if self.metric == "accuracy":
            return known
        with np.errstate(invalid="ignore"):
            return known & (rows.score >= 0) & (rows.score <= 1)

    def of(self, rows: Scored) -> Floats:
        """Return the losses of usable rows, shape (n,), in [0, 1]."""
        if self.metric in PROBABILITY_METRICS:
            return brier_loss(rows)
        losses: Floats = np.minimum(row_loss(self.metric, rows) / self.cap, 1.0)
        return losses

    def increase(self, by: float, baseline: Estimate | None) -> float:
        """Convert an increase of the metric to one of the loss; for the RMSE, from the baseline."""
        if self.metric == "rmse" and baseline is not None:
            return ((math.sqrt(baseline.value) + by) ** 2 - baseline.value) / self.cap
        return by / self.cap if self.metric == "mae" else by

    def upper_bound(self, baseline: Estimate, *, delta: float) -> float:
        """Return the upper confidence bound at 1 − delta of the mean loss, from the holdout's baseline.

        It is Clopper & Pearson's for wrong decisions, else the empirical Bernstein bound. An unknown deviation is
        replaced by the largest that losses in [0, 1] with that mean can have. The cut does not increase the mean or
        the deviation, so those before the cut are valid for the loss after it.
        """
        mean, n = baseline.value / self.cap, baseline.n
        if self.metric == "accuracy":
            return clopper_pearson_upper(round(mean * n), n, delta=delta)
        deviation = baseline.standard_error * math.sqrt(n) / self.cap
        if not math.isfinite(deviation):
            deviation = math.sqrt(max(0.0, mean * (1 - mean)))
        return empirical_bernstein_upper(mean, deviation, n, delta=delta)

    def limit(self, baseline: Estimate, max_degradation: float) -> float:
        """Return the largest tolerated mean loss, in [0, 1].

        It is the upper bound from the holdout and an increase of the metric by ``max_degradation``.
        """
        bound = self.upper_bound(baseline, delta=BASELINE_DELTA)
        return min(1.0, bound + self.increase(max_degradation, baseline))


def bounded_loss(metric: str, baseline: Estimate | None) -> BoundedLoss | None:
    """Return the loss to test; None for a regression without a baseline, which has no cap."""
    if metric not in {"mae", "rmse"}:
        return BoundedLoss(metric)
    if baseline is None:
        return None
    cap = baseline.value + CAP_DEVIATIONS * baseline.standard_error * math.sqrt(baseline.n)
    return BoundedLoss(metric, cap) if math.isfinite(cap) and cap > 0 else None


def baseline_loss(metric: str, reference: Mapping[str, Any]) -> Estimate | None:
    """Return the mean, standard error and rows of a version's loss on its holdout; None where its reference lacks it.

    reference: the version's stored ``reference.json``. The standard error is NaN where only the mean is known. Units:
    those of the metric's own loss, so the RMSE's are squared.
    """
    stored = {name: Estimate(**values) for name, values in reference.get("metrics", {}).items()}
    own = stored.get("brier" if metric in PROBABILITY_METRICS else metric)
    if own is None and metric == "roc_auc" and "loss" in reference and metric in stored:
        own = Estimate(float(reference["loss"]), math.nan, stored[metric].n)
    if own is None or not math.isfinite(own.value) or own.n < 1:
        return None
    if metric == "accuracy":
        return Estimate(1 - own.value, own.standard_error, own.n)
    if metric == "rmse":  # the delta method, inverted
        return Estimate(own.value**2, 2 * own.value * own.standard_error, own.n)
    return own
