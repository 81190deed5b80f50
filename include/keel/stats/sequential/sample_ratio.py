"""Does the assignment do what it says? A test of the split between two arms that may be looked at after every row."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONCENTRATION = 200.0
"""Of the alternative around the stated share, as if that had been seen on so many rows: a standard deviation of .035 at
a share of a half, about the size of the faults that assignments have (a bot counted once, an arm that answers less)."""
DIGITS = 9
"""Shares that agree to so many are one: the champion's is kept, and one less it is not exactly the challenger's."""


def log_ratio_mismatch(is_challenger: ArrayLike, share: ArrayLike, *, concentration: float = CONCENTRATION) -> Floats:
    """Return the logarithm of the evidence after each row that arms are not drawn with the probabilities stated.

    is_challenger: shape (..., n), in order. share: of the challenger, in (0, 1), shape (n,) or a number; known before
    the row's arm is. Result: shape (..., n). While each row's arm, given those before it, is the challenger's with
    probability ``share``, the evidence is a martingale from 1, and ever reaches 1/α with a chance of at most α.

    Rows with one share make one factor: the likelihood of their arms under a beta mixture with mean ``share``, over
    the likelihood under ``share``, B(a + k, b + n − k)/B(a, b)/share^k/(1 − share)^(n − k) with a = c·share, b = c − a.
    Factors of several shares are multiplied, in whatever order their rows come.
    Source: Lindon & Malek 2022 (arXiv 2011.03567), with two arms. ValueError for a share outside (0, 1).

    >>> round(float(log_mismatch([True] * 10, 0.5)[-1]), 4)
    0.2149
    """
    arms = np.asarray(is_challenger, dtype=bool)
    shares = np.broadcast_to(np.asarray(share, dtype=np.float64), arms.shape[-1:])
    if not bool(((shares > 0) & (shares < 1)).all()):
        raise ValueError("a share must lie between 0 and 1")
    factors = np.empty(arms.shape)
    rounded = shares.round(DIGITS)
    for value in np.unique(rounded):
        own = rounded == value
        factors[..., own] = _log_factors(arms[..., own], float(value), concentration)
    return np.cumsum(factors, axis=-1)


def _log_factors(arms: NDArray[np.bool_], share: float, concentration: float) -> Floats:
    """How much more probable than stated the mixture, having seen the rows before, thought each row's arm."""
    n = np.arange(arms.shape[-1])
    challengers: NDArray[np.int64] = np.cumsum(arms, axis=-1) - arms
    seen = np.where(arms, challengers, n - challengers)
    stated = np.where(arms, share, 1 - share)
    found: Floats = np.log((concentration * stated + seen) / (concentration + n) / stated)
    return found
