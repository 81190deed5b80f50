"""Two arms compared row by row: bounds of a difference in mean loss that hold at whatever moment one looks.

Rows are assigned to an arm at random; a loss is in [0, 1], and the lower the better. What is bounded is the
*improvement*, the champion's mean loss less the challenger's. Two ways, of which one is chosen before the first row:

- the asymptotic confidence sequence, for an allocation that does not change and arms that are both large: narrow, and
  valid from some hundreds of rows on;
- bets on contrasts weighted by the inverse of the probability of the arm, valid from the first row on and under any
  allocation that was fixed before the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keel.stats.sequential.betting import Wealth, log_e_value

Floats = NDArray[np.float64]

TIGHTEST_AT = 5_000
"""Rows at which the confidence sequence is narrowest: it has to be somewhere, and most experiments end near there."""
BETS: Floats = np.geomspace(1e-3, 0.9, 24)
"""Shares of the largest bet that cannot ruin. Finer and smaller than for plain means: a contrast's bound is that of its
rarest value, which in a canary is tens of times the size of a common one."""
BISECTIONS = 16
"""Halvings of the interval in which a bound is looked for: finer than people read."""


def mixture_variance(alpha: float, *, tightest_at: int = TIGHTEST_AT) -> float:
    """Return ρ² of the mixture that makes a two-sided sequence at 1 − alpha narrowest near a number of rows.

    (−2 ln α + ln(1 − 2 ln α))/n. Source: Waudby-Smith et al. 2021 (arXiv 2103.06476), appendix on tuning.

    >>> round(mixture_variance(0.05), 8)
    0.00158723
    """
    return (-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / tightest_at


def half_width(
    standard_error: ArrayLike, n: ArrayLike, *, alpha: float, one_sided: bool, tightest_at: int = TIGHTEST_AT
) -> Floats:
    """Return how far a bound of an asymptotic confidence sequence lies from the estimate.

    standard_error: of the estimate after n rows, as for a single look; n ≥ 1; shapes that broadcast. Two-sided:
    SE·√n·√(2(nρ² + 1)/(n²ρ²)·ln(√(nρ² + 1)/α)), and both bounds hold at 1 − alpha together. One-sided:
    ln(1 + √(nρ² + 1)/(2α)) in place of the logarithm, ρ² that of 2α, and each bound holds at 1 − alpha.
    NaN where the error is. Source: Waudby-Smith et al. 2021 (arXiv 2103.06476), eq. 9 and its one-sided form.

    >>> round(float(half_width(0.01, 5000, alpha=0.05, one_sided=False)), 6)
    0.030352
    """
    rows = np.asarray(n, dtype=np.float64)
    rho2 = mixture_variance(2 * alpha if one_sided else alpha, tightest_at=tightest_at)
    spread = rows * rho2 + 1
    log = np.log1p(np.sqrt(spread) / (2 * alpha)) if one_sided else np.log(np.sqrt(spread) / alpha)
    found: Floats = np.asarray(standard_error) * np.sqrt(2 * spread / (rows * rho2) * log)
    return found


@dataclass(frozen=True)
class Running:
    """The difference between two arms after each row; shapes (..., n)."""

    improvement: Floats
    """Champion's mean loss less the challenger's; NaN until both arms have a row."""
    standard_error: Floats
    """The larger of √(s²/n of the one + s²/n of the other) and √(s² of all·(1/n + 1/n)); NaN until both arms have two
    rows. The former alone is far too small where errors are rare and the smaller arm has seen none yet."""


def running(loss: ArrayLike, is_challenger: ArrayLike) -> Running:
    """Follow the difference of two arms' means. loss: finite, shape (..., n); is_challenger: the same shape.

    >>> running([0.0, 1.0, 1.0, 1.0], [True, False, True, False]).improvement[1:].tolist()
    [1.0, 0.5, 0.5]
    """
    losses, challenger = np.asarray(loss, dtype=np.float64), np.asarray(is_challenger, dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        (n_a, mean_a, error_a), (n_b, mean_b, error_b) = (_arm(losses, own) for own in (~challenger, challenger))
        n, _, error = _arm(losses, np.full(losses.shape, True))
        squared = np.maximum(error_a + error_b, error * n * (1 / n_a + 1 / n_b))
        return Running(mean_a - mean_b, np.sqrt(squared))


def _arm(losses: Floats, own: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Rows, mean, and squared error of the mean, of one arm after each row."""
    n: NDArray[np.int64] = np.cumsum(own, axis=-1)
    mean: Floats = np.cumsum(np.where(own, losses, 0.0), axis=-1) / n
    squares: Floats = np.cumsum(np.where(own, losses**2, 0.0), axis=-1)
    variance: Floats = np.maximum(squares / n - mean**2, 0.0) / (n - 1)
    return n, mean, np.where(n > 1, variance, math.nan)


@dataclass(frozen=True)
class IPWDifferences:
    """Each row's own unbiased estimate of the improvement, and how far off it may be; shapes (..., n) and (n,).

    (c − loss)·(1/share if the challenger answered, else −1/(1 − share)), with a fixed c. Its mean, given the past, is
    the improvement, whatever the share and whatever c; c near the usual loss makes it vary little.
    """

    values: Floats
    lowest: Floats
    """The least that a row's value can be, known before its arm and loss."""
    highest: Floats

    @classmethod
    def of(cls, loss: ArrayLike, is_challenger: ArrayLike, share: ArrayLike, *, centre: float) -> IPWDifferences:
        """Take rows in order. loss: in [0, 1]; share: of the challenger, in (0, 1), shape (n,); centre: in [0, 1].

        >>> Contrasts.of([0.0, 1.0], [True, False], [0.1, 0.1], centre=0.5).values.round(3).tolist()
        [5.0, 0.556]
        """
        challenger, shares = np.asarray(is_challenger, dtype=bool), np.asarray(share, dtype=np.float64)
        weights = np.where(challenger, 1 / shares, -1 / (1 - shares))
        values: Floats = (centre - np.asarray(loss, dtype=np.float64)) * weights
        lowest = -np.maximum((1 - centre) / shares, centre / (1 - shares))
        highest = np.maximum(centre / shares, (1 - centre) / (1 - shares))
        return cls(values, lowest, highest)

    def log_e_value(self, margin: float = 0.0, *, worse: bool = False) -> Wealth:
        """Bet against "the improvement is at most ``margin``"; if ``worse``, against "it is at least ``margin``".

        `ValueError` for a margin that no row could exceed in the direction of the bet.
        """
        return log_e_value(self._beyond(margin, worse), null=0.0, low=-1.0, high=math.inf, bets=BETS)

    def bound(self, *, alpha: float, worse: bool = False) -> float:
        """Return the lower bound of the improvement at 1 − alpha after all rows; if ``worse``, the upper bound.

        The largest margin that the bets refute now, found by halving [−1, 1]; −1 (or 1) where they refute none.
        """
        refuted, open_ = (1.0, -1.0) if worse else (-1.0, 1.0)
        for _ in range(BISECTIONS):
            middle = (refuted + open_) / 2
            if self._final_log_capital(middle, worse) >= -math.log(alpha):
                refuted = middle
            else:
                open_ = middle
        return refuted

    def _beyond(self, margin: float, worse: bool) -> Floats:
        """By how much each value exceeds the margin, as a share of how far it could have fallen short of it."""
        values, room = (
            (margin - self.values, self.highest - margin)
            if worse
            else (
                self.values - margin,
                margin - self.lowest,
            )
        )
        if not bool((room > 0).all()):
            raise ValueError(f"a margin of {margin} lies beyond what losses in [0, 1] can differ by")
        return np.maximum(values / room, -1.0)  # rounding alone goes below

    def _final_log_capital(self, margin: float, worse: bool) -> float:
        beyond = self._beyond(margin, worse)
        ends = [float(np.log1p(share * beyond).sum()) for share in BETS]
        return float(np.logaddexp.reduce(ends)) - math.log(len(BETS))
