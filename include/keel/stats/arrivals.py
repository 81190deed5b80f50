"""How improbable it is that no row came for a while, by the rows that came before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PERIODS = (168, 24, 1)
"""Hours after which traffic repeats itself: a week, else a day, else any hour is like another."""
LENGTHS = (1, 2, 4, 8, 16, 24)
"""Hours of the stretches of which the dispersion is measured."""
MIN_STRETCHES = 14
"""Stretches of a length from which it is measured."""


def chance_of_silence(rows: npt.ArrayLike, silent: int, *, gap: int = 0) -> float:
    """Return the probability that ``silent`` hours have no row, by the usual traffic; in [0, 1].

    Parameters
    ----------
    rows
        Shape (hours,), the rows of each hour before the silence, oldest first.
    silent
        Hours without a row.
    gap
        Hours between both that say nothing, such as the one of the last row.

    The same hours of W earlier weeks had X rows. If the rate is the same, the probability that all of these fall into
    the W weeks, and none into the silence, is (W/(W+1))^X: exact for rows that come independently, whatever their
    rate. Rows that come in batches are fewer arrivals: X is divided by their dispersion, the variance of the rows in a
    stretch ÷ their mean. For batches of any sizes that come independently that is never too little: with n batches of
    sizes S in expectation, mean² ÷ variance = n·E[S]²/E[S²] ≤ n. Before there are two whole weeks, days are compared,
    and before two days all hours.

    >>> round(chance_of_silence([3] * 672, 1), 4), chance_of_silence([0] * 672, 24)
    (0.0687, 1.0)
    """
    n = np.asarray(rows, dtype=np.float64)
    period = next((each for each in PERIODS if len(n) >= 2 * each), 0)
    if not period or silent <= 0:
        return 1.0
    weeks = len(n) // period
    n = n[len(n) - weeks * period :].reshape(weeks, period)
    total = n.sum(axis=0)
    again = np.bincount((gap + np.arange(silent)) % period, minlength=period)
    evidence = float(total @ np.log1p(again / weeks))
    return float(np.exp(-evidence / _dispersion(n, silent))) if evidence else 1.0


def _dispersion(n: npt.NDArray[np.float64], silent: int) -> float:
    """Return variance ÷ mean, 1 or more, of the rows in stretches of an hour to a day, none longer than the silence.

    n: shape (weeks, hours of a week). The variance is that around what is usual for each hour of the week. The largest
    counts: independent batches give every length the same, and a busy day shows in the long ones alone.
    """
    weeks = len(n)
    off = (n - n.mean(axis=0)).ravel()
    found = [1.0]
    for length in LENGTHS:
        if length == 1 or length <= min(silent, n.size // MIN_STRETCHES):
            parts = off[len(off) % length :].reshape(-1, length).sum(axis=1)
            variance = float((parts**2).mean()) * weeks / (weeks - 1)
            found.append(variance / (float(n.mean()) * length))
    return max(found)
