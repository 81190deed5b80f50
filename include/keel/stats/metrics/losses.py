"""Losses per row, and metrics with their standard errors.

Shapes: every array is 1-D and of the same length n. ``label`` is 0/1 for a binary target and a real number for
a regression; ``score`` is P(positive) for a binary target; ``prediction`` is the decision (0/1) or the value.
The caller removes rows with a NaN in a column that the metric needs (`finite_rows`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


Floats = NDArray[np.float64]

PROBABILITY_FLOOR = 1e-15
"""Distance from 0 and 1 to which scores are clipped before a logarithm, as in scikit-learn before 1.5 for float64."""

HIGHER_IS_BETTER = frozenset({"roc_auc", "accuracy"})
NEEDS_BOTH_CLASSES = frozenset({"roc_auc"})
"""Metrics that few labels of a rare class can leave undefined."""


@dataclass(frozen=True)
class Scored:
    """Labelled predictions of one version on one set of rows."""

    label: Floats
    score: Floats
    prediction: Floats

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: NDArray[Any]) -> Scored:
        """Return the rows of ``index`` (integers or a mask)."""
        return Scored(self.label[index], self.score[index], self.prediction[index])


@dataclass(frozen=True)
class Estimate:
    """A metric's value and the standard error of that value from sampling rows."""

    value: float
    standard_error: float
    n: int

    @property
    def defined(self) -> bool:
        """Whether the value and its standard error are finite."""
        return math.isfinite(self.value) and math.isfinite(self.standard_error)

    def to_dict(self) -> dict[str, float | int]:
        """Return plain numbers."""
        return {"value": self.value, "standard_error": self.standard_error, "n": self.n}


def brier_loss(rows: Scored) -> Floats:
    """Return the squared error of the probability, per row, in [0, 1] (Brier 1950).

    >>> brier_loss(Scored(np.array([1.0]), np.array([0.8]), np.array([1.0]))).round(2).tolist()
    [0.04]
    """
    return (rows.score - rows.label) ** 2


def log_loss(rows: Scored) -> Floats:
    """Return the negative log-likelihood per row in nats, ≥ 0; scores are clipped by `PROBABILITY_FLOOR`."""
    p = np.clip(rows.score, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    loss: Floats = -np.where(rows.label > 0, np.log(p), np.log1p(-p))
    return loss


def error_loss(rows: Scored) -> Floats:
    """Return one where the decision is wrong, else zero."""
    return (rows.prediction != rows.label).astype(np.float64)


def absolute_loss(rows: Scored) -> Floats:
    """Return the absolute error per row, in the target's unit."""
    return np.abs(rows.prediction - rows.label)


def squared_loss(rows: Scored) -> Floats:
    """Return the squared error per row, in the target's unit squared."""
    return (rows.prediction - rows.label) ** 2


ROW_LOSSES: dict[str, Callable[[Scored], Floats]] = {
    "brier": brier_loss,
    "log_loss": log_loss,
    "roc_auc": brier_loss,  # the AUC has no loss per row; a proper score without a threshold replaces it
    "accuracy": error_loss,
    "mae": absolute_loss,
    "rmse": squared_loss,
}
"""The loss per row of each metric. The reference grid stores its means, and impacts are in its units."""


def row_loss(metric: str, rows: Scored) -> Floats:
    """Return the loss per row of a metric."""
    return ROW_LOSSES[metric](rows)


def have_same_loss(metric: str, other: str) -> bool:
    """Return whether two metrics have the same loss per row, so that means of it can be compared.

    >>> have_same_loss("roc_auc", "brier"), have_same_loss("log_loss", "brier")
    (True, False)
    """
    return ROW_LOSSES[metric] is ROW_LOSSES[other]


def finite_rows(metric: str, rows: Scored) -> NDArray[np.bool_]:
    """Return a mask of the rows with finite values in the columns that a metric needs."""
    needs = rows.score if metric in {"brier", "log_loss", "roc_auc"} else rows.prediction
    return np.isfinite(rows.label) & np.isfinite(needs)


def estimate(metric: str, rows: Scored) -> Estimate:
    """Return one metric with its standard error.

    Standard errors: the sample standard deviation over √n for means of losses, the delta method for the RMSE, DeLong
    for the AUC. The value is NaN where the metric is not defined (no rows; for the AUC, one class only).
    """
    n = len(rows)
    if n == 0:
        return Estimate(float("nan"), float("nan"), 0)
    if metric == "roc_auc":
        return auc_estimate(rows)
    loss = row_loss(metric, rows)
    mean = float(loss.mean())
    error = float(loss.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    if metric == "accuracy":
        return Estimate(1 - mean, error, n)
    if metric == "rmse":
        root = float(np.sqrt(mean))
        return Estimate(root, error / (2 * root) if root > 0 else 0.0, n)
    return Estimate(mean, error, n)


def auc_estimate(rows: Scored) -> Estimate:
    """Return the area under the ROC curve with DeLong's standard error; NaN with one class only."""
    positive, negative = auc_placements(rows.label, rows.score)
    if len(positive) < 2 or len(negative) < 2:
        value = float(positive.mean()) if len(positive) and len(negative) else float("nan")
        return Estimate(value, float("nan"), len(rows))
    variance = positive.var(ddof=1) / len(positive) + negative.var(ddof=1) / len(negative)
    return Estimate(float(positive.mean()), float(np.sqrt(variance)), len(rows))


def auc_placements(label: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Return the share of negatives below each positive's score, and the share of positives above each negative's.

    Ties count half. The mean of either is the AUC; their variances are DeLong's components
    (Sun & Xu 2014, fast algorithm). Empty arrays where a class is missing.
    """
    is_positive = label > 0
    m, n = int(is_positive.sum()), int((~is_positive).sum())
    if m == 0 or n == 0:
        return np.empty(0), np.empty(0)
    overall = _midranks(score)
    positive = (overall[is_positive] - _midranks(score[is_positive])) / n
    negative = 1 - (overall[~is_positive] - _midranks(score[~is_positive])) / m
    return positive, negative


def _midranks(values: Floats) -> Floats:
    """Return ranks from 1; ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    middle: Floats = (upper - (counts - 1) / 2)[inverse]
    return middle


def needed_for(metric: str) -> str:
    """Return, in words, the rows that a metric needs to be defined with a standard error."""
    return "two rows of each class" if metric in NEEDS_BOTH_CLASSES else "two rows with finite losses"


def worsening(metric: str, reference: float, current: float) -> float:
    """Return the degradation from ``reference`` to ``current``, in units of the metric; positive is worse.

    >>> round(worsening("roc_auc", 0.7, 0.65), 3), round(worsening("brier", 0.15, 0.17), 3)
    (0.05, 0.02)
    """
    return reference - current if metric in HIGHER_IS_BETTER else current - reference


def scored(rows: pa.Table) -> Scored:
    """Return the arrays of labelled predictions, from columns ``label``, ``score`` and ``prediction``."""
    return Scored(*(rows[name].to_numpy(zero_copy_only=False) for name in ("label", "score", "prediction")))
