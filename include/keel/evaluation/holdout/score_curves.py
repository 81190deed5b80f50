"""Describe the scores of two versions on the rows of a comparison, for its page: calibration and ROC, or residuals.

It is information for people and no part of the verdict. Everything is small: a stored comparison grows by some 6 KB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keel.evaluation.holdout.usable_rows import BINARY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.stats.metrics.losses import Floats, Scored

CALIBRATION_BINS = 10
"""Bins of equal counts: with bins of equal width, most hold next to no rows where scores are close together."""
ROC_POINTS = 50
RESIDUAL_BINS = 40
RESIDUAL_RANGE = (0.005, 0.995)
"""Quantiles of both versions' residuals between which the bins lie; the first and last bin hold the others."""
RESIDUAL_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
DIGITS = 6
"""Significant digits that are stored."""


def describe_scores(metric: str, champion: Scored, challenger: Scored) -> dict[str, Any]:
    """Return plain data about two versions on the same usable rows; empty without rows.

    Binary: ``champion`` and ``challenger``, each with ``roc`` (None with one class) and ``calibration`` (None where a
    score is no probability). Regression: ``residuals`` (prediction less label, in the target's unit).
    """
    if not len(champion):
        return {}
    if metric in BINARY:
        return {
            who: {"calibration": calibration(rows.label, rows.score), "roc": roc(rows.label, rows.score)}
            for who, rows in (("champion", champion), ("challenger", challenger))
        }
    return {"residuals": residuals(champion.prediction - champion.label, challenger.prediction - challenger.label)}


def calibration(label: Floats, score: Floats) -> dict[str, Any] | None:
    """Return the reliability of scores in bins of equal counts: mean score, rate of positives and number of rows.

    label, score: shape (n,), finite, n ≥ 1. Equal scores share a bin, so that there may be fewer bins. None where a
    score is outside [0, 1]. Source: Murphy & Winkler 1977; bins as `sklearn.calibration.calibration_curve` with
    ``strategy="quantile"``, which does not return their counts.

    >>> calibration(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.1, 0.7, 0.9]))
    {'score': [0.1, 0.7, 0.9], 'rate': [0.0, 1.0, 1.0], 'n': [2, 1, 1]}
    """
    if score.min() < 0 or score.max() > 1:
        return None
    inner = np.unique(np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    of_bin = np.searchsorted(inner, score, side="left")
    n = np.bincount(of_bin, minlength=len(inner) + 1)
    filled = n > 0
    sums = [np.bincount(of_bin, weights=values, minlength=len(n))[filled] / n[filled] for values in (score, label)]
    return {"score": _short(sums[0]), "rate": _short(sums[1]), "n": n[filled].tolist()}


def roc(label: Floats, score: Floats) -> dict[str, Any] | None:
    """Return at most `ROC_POINTS` points of the ROC curve, its ends included; None with one class only.

    The points are those of the whole curve that are nearest to equal steps along it (in the sum of both rates).
    """
    from sklearn.metrics import roc_curve

    if label.min() == label.max():
        return None
    false, true, _ = roc_curve(label, score, drop_intermediate=True)
    wanted = np.searchsorted(false + true, np.linspace(0, 2, ROC_POINTS)).clip(max=len(false) - 1)
    chosen = np.unique(wanted)
    return {"false_positive_rate": _short(false[chosen]), "true_positive_rate": _short(true[chosen])}


def residuals(champion: Floats, challenger: Floats) -> dict[str, Any]:
    """Return the distributions of two versions' residuals on common bins, and some of their quantiles.

    The residuals have shape (n,), finite, n ≥ 1. ``edges`` are one more than the shares; the residuals beyond them are
    in the first and last bin.
    """
    both = np.concatenate([champion, challenger])
    low, high = np.quantile(both, RESIDUAL_RANGE)
    if not low < high:
        low, high = both.min(), both.max()
    if not low < high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, RESIDUAL_BINS + 1)

    def shares(values: Floats) -> list[float]:
        return _short(np.histogram(values.clip(low, high), edges)[0] / len(values))

    return {
        "edges": _short(edges),
        "champion": shares(champion),
        "challenger": shares(challenger),
        "quantiles": {
            "level": list(RESIDUAL_LEVELS),
            "champion": _short(np.quantile(champion, RESIDUAL_LEVELS)),
            "challenger": _short(np.quantile(challenger, RESIDUAL_LEVELS)),
        },
    }


def _short(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
