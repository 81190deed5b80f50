"""Champion and challenger on the same holdout, which neither has seen: is the challenger shown to be better?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import KeelError
from keel.measures.losses import (
    HIGHER_IS_BETTER,
    Estimate,
    Scored,
    auc_placements,
    estimate,
    finite_rows,
    row_loss,
)
from keel.measures.plain import finite_or_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig

BOOTSTRAP_REPETITIONS = 2_000


class NotShown(KeelError):
    """A challenger was to be promoted on a comparison that does not show it to be better."""


class Verdict(StrEnum):
    """What a comparison says of a challenger; only a pass speaks for it."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Comparison:
    """One challenger judged against one champion."""

    verdict: Verdict
    metric: str
    n: int
    champion: Estimate
    challenger: Estimate
    improvement: float
    """How much better the challenger is, in units of the metric; positive is better."""
    standard_error: float
    lower_bound: float
    """One-sided lower confidence bound of the improvement at 1 − alpha."""
    margin: float
    alpha: float
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        return {
            "verdict": str(self.verdict),
            "metric": self.metric,
            "n": self.n,
            "champion_value": finite_or_none(self.champion.value),
            "challenger_value": finite_or_none(self.challenger.value),
            "improvement": finite_or_none(self.improvement),
            "standard_error": finite_or_none(self.standard_error),
            "lower_bound": finite_or_none(self.lower_bound),
            "margin": self.margin,
            "alpha": self.alpha,
            "reason": self.reason,
        }


def compare_versions(
    champion: Scored,
    challenger: Scored,
    *,
    metric: str,
    policy: PromotionConfig,
    times: NDArray[np.datetime64],
    segments: Mapping[str, NDArray[Any]],
    earlier_looks: int,
    holdout_end: datetime,
    seed: int,
    speed: Mapping[str, Any] | None = None,
) -> Comparison:
    """Judge a challenger by the lower confidence bound of its paired improvement.

    Rows on which either version has no usable score are left out for both. The challenger passes when the
    one-sided ``1 − alpha`` lower bound exceeds the margin; too few rows or an undefined metric are inconclusive.

    Source: paired means by the central limit theorem (for accuracy that is McNemar's variance); AUC by DeLong
    (1988); RMSE by a paired bootstrap percentile.
    """
    margin, alpha = policy.margin, policy.alpha
    usable = finite_rows(metric, champion) & finite_rows(metric, challenger)
    a, b = champion.take(usable), challenger.take(usable)
    n = len(a)
    nothing = Estimate(math.nan, math.nan, n)
    if n < policy.min_rows:
        reason = f"inconclusive: the holdout has {n} usable rows, {policy.min_rows} are needed"
        return Comparison(Verdict.INCONCLUSIVE, metric, n, nothing, nothing, math.nan, math.nan, math.nan, margin,
                          alpha, reason)  # fmt: skip
    before, after = estimate(metric, a), estimate(metric, b)
    improvement, error, bound = _lower_bound(metric, a, b, before, after, alpha, seed)
    if not math.isfinite(bound):
        verdict, reason = Verdict.INCONCLUSIVE, f"inconclusive: {metric} is not defined on this holdout"
    elif bound > margin:
        verdict, reason = Verdict.PASS, f"better by {improvement:.4f}, by at least {bound:.4f} at {1 - alpha:.0%}"
    elif improvement > margin:
        verdict, reason = (
            Verdict.FAIL,
            f"better by {improvement:.4f}, but not shown: the lower bound {bound:.4f} is not above {margin:g}",
        )
    else:
        verdict, reason = Verdict.FAIL, f"not better: {improvement:+.4f} (lower bound {bound:.4f})"
    return Comparison(verdict, metric, n, before, after, improvement, error, bound, margin, alpha, reason)


def _lower_bound(
    metric: str, a: Scored, b: Scored, before: Estimate, after: Estimate, alpha: float, seed: int
) -> tuple[float, float, float]:
    """Return the improvement, its standard error and its lower bound."""
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    improvement = sign * (after.value - before.value)
    if metric == "rmse":
        draws = _bootstrap_rmse(a, b, seed)
        return improvement, float(draws.std(ddof=1)), float(np.quantile(draws, alpha))
    error = _delong_error(a, b) if metric == "roc_auc" else _paired_error(metric, a, b)
    return improvement, error, improvement - _normal_quantile(1 - alpha) * error


def _paired_error(metric: str, a: Scored, b: Scored) -> float:
    difference = row_loss(metric, a) - row_loss(metric, b)
    return float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _delong_error(a: Scored, b: Scored) -> float:
    """Standard error of the difference of two correlated AUCs."""
    positives, negatives = [], []
    for rows in (a, b):
        positive, negative = auc_placements(rows.label, rows.score)
        positives.append(positive)
        negatives.append(negative)
    m, n = len(positives[0]), len(negatives[0])
    if m < 2 or n < 2:
        return math.nan
    variance = np.cov(positives) / m + np.cov(negatives) / n
    return math.sqrt(max(0.0, float(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1])))


def _bootstrap_rmse(a: Scored, b: Scored, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Improvements in RMSE over resampled rows, shape (repetitions,)."""
    generator = np.random.default_rng(seed)
    before, after = row_loss("rmse", a), row_loss("rmse", b)
    n = len(before)
    draws = np.empty(BOOTSTRAP_REPETITIONS)
    for i in range(BOOTSTRAP_REPETITIONS):
        rows = generator.integers(0, n, n)
        draws[i] = math.sqrt(before[rows].mean()) - math.sqrt(after[rows].mean())
    return draws


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(level))
