"""The mean loss from few labels: a cheap estimate of every row's loss, corrected by a random sample of labelled rows.

    Z = estimate + (audited / share) · (loss − estimate)

has the mean of the loss, whatever the estimate is worth, because each row is audited with probability ``share``
whatever its features, its estimate and its label. The better the estimate, the smaller is the variance of Z. So a test
of the mean of Z (`keel.stats.sequential.betting`) is a test of the mean loss. It is not valid where some labels merely
come earlier than others: those are no random sample of the rows.

Sources: Zhang, Cai & Yu, "Prediction-powered risk monitoring"; Angelopoulos et al. 2023 (prediction-powered
inference); Podkopaev & Ramdas 2022 (the test of the mean loss).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keel.stats.sequential.bounded_losses import PROBABILITY_METRICS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from keel.stats.metrics.losses import Floats

LARGEST_ESTIMATE = {**dict.fromkeys(PROBABILITY_METRICS, 0.25), "accuracy": 0.5}
"""The largest value of `estimated_losses` by metric; of a regression it is the estimate itself, a constant."""


def prediction_powered_losses(estimate: ArrayLike, loss: ArrayLike, audited: ArrayLike, *, share: float) -> Floats:
    """Return Z, shape (n,), each at or above `lowest` of the largest estimate, to the last bit.

    An audited row's Z is loss/share − estimate·(1 − share)/share. So written it never rises with the estimate, nor
    falls with the loss, after rounding too; as estimate + (loss − estimate)/share it does.

    Parameters
    ----------
    estimate
        Of each row's loss, in [0, 1], made without its label.
    loss
        In [0, 1]; of rows that are not audited it is not read, and may be NaN.
    audited
        Whether the row is in the random sample.
    share
        Probability with which a row is audited, in (0, 1].

    Raises
    ------
    ValueError
        For another share, and for an audited row without a loss.

    >>> prediction_powered_losses([0.2, 0.2], [1.0, np.nan], [True, False], share=0.1).round(6).tolist()
    [8.2, 0.2]
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of audited rows ({share}) must lie between 0 and 1")
    e, in_sample = np.asarray(estimate, dtype=np.float64), np.asarray(audited, dtype=bool)
    known = np.where(in_sample, np.asarray(loss, dtype=np.float64), 0.0)
    if np.isnan(known).any():
        raise ValueError("an audited row has no loss")
    return np.where(in_sample, known / share - e * _weight(share), e)


def lowest(largest_estimate: float, *, share: float) -> float:
    """Return the lowest possible Z, which limits the bets: that of an audited row whose loss is 0.

    >>> lowest(0.25, share=0.1)
    -2.25
    """
    return -largest_estimate * _weight(share)


def _weight(share: float) -> float:
    """Return the weight of the estimate in an audited row's Z."""
    return (1 - share) / share


def estimated_losses(metric: str, score: Floats, *, mean: float) -> Floats:
    """Return an estimate of each row's loss from its score alone, shape (n,), in [0, 1].

    p(1 − p) for the Brier score and min(p, 1 − p) for wrong decisions: what they are expected to be if the score p is
    calibrated. ``mean``, the mean loss of the holdout, for a regression, and where the score is no probability.
    """
    largest = LARGEST_ESTIMATE.get(metric)
    if largest is None:
        return np.full(len(score), mean)
    with np.errstate(invalid="ignore"):
        is_probability: NDArray[np.bool_] = (score >= 0) & (score <= 1)  # NaN compares false
    own = score * (1 - score) if metric in PROBABILITY_METRICS else np.minimum(score, 1 - score)
    return np.where(is_probability, own, min(mean, largest))


def largest_estimate(metric: str, *, mean: float) -> float:
    """Return the largest value that `estimated_losses` has."""
    return LARGEST_ESTIMATE.get(metric, mean)
