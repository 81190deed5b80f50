"""Test for a sample ratio mismatch between two arms. The test is valid at any time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONCENTRATION = 200.0
"""Concentration of the beta alternative around the planned share, in rows. At a share of one half its standard
deviation is .035, the usual size of faults in an assignment (a bot counted once, an arm that answers less often)."""
DIGITS = 9
"""Decimal digits of a share. The champion's is stored, and one minus it is not exactly the challenger's."""


def log_ratio_mismatch(is_challenger: ArrayLike, share: ArrayLike, *, concentration: float = CONCENTRATION) -> Floats:
    """Return the log e-value of a sample ratio mismatch after each row, shape (..., n).

    While each row's arm, given the rows before it, is the challenger's with probability ``share``, the e-value is a
    martingale from 1, and ever reaches 1/α with probability at most α.

    The k challengers among the n rows of one share give one factor: the likelihood of their arms under a beta mixture
    with mean ``share``, over the likelihood under ``share``,
    B(a + k, b + n − k)/B(a, b)/share^k/(1 − share)^(n − k) with a = c·share, b = c − a. The factors of several shares
    are multiplied; their rows may come in any order. Source: Lindon & Malek 2022 (arXiv 2011.03567), with two arms.

    Parameters
    ----------
    is_challenger
        Shape (..., n), in order.
    share
        Planned share of the challenger, in (0, 1), shape (n,) or a number; known before the row's arm is drawn.
    concentration
        The c above.

    Raises
    ------
    ValueError
        For a share outside (0, 1).

    >>> round(float(log_ratio_mismatch([True] * 10, 0.5)[-1]), 4)
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
    """Return the log of each arm's probability in the mixture, given the rows before, over its planned probability."""
    n = np.arange(arms.shape[-1])
    challengers: NDArray[np.int64] = np.cumsum(arms, axis=-1) - arms
    before = np.where(arms, challengers, n - challengers)
    stated = np.where(arms, share, 1 - share)
    factors: Floats = np.log((concentration * stated + before) / (concentration + n) / stated)
    return factors
