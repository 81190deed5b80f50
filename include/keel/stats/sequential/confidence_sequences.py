"""Bound the difference in mean loss of two randomised arms. The bounds are valid at any time.

A loss is in [0, 1]; lower is better. The bounded quantity is the *improvement*: the champion's mean loss less the
challenger's. There are two methods, of which the plan chooses one before the first row:

- the asymptotic confidence sequence. It needs a constant allocation and two large arms; it is narrow, and valid from
  some hundreds of rows on;
- bets on differences with inverse probability weights (IPW). They are valid from the first row on, under any allocation
  that is fixed before the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keel.stats.sequential.betting import Wealth, log_e_value

Floats = NDArray[np.float64]

TIGHTEST_AT = 5_000
"""Rows at which the confidence sequence is narrowest. Most experiments end near this number."""
BETS: Floats = np.geomspace(1e-3, 0.9, 24)
"""Shares of the largest bet that cannot lose everything. They are finer and smaller than for plain means: the bound of
an IPW difference is that of its rarest value, which in a canary is tens of times as large as a common one."""
BISECTIONS = 16
"""Halvings of the interval in the search for a bound: finer than a report shows."""


def mixture_variance(alpha: float, *, tightest_at: int = TIGHTEST_AT) -> float:
    """Return the mixture's variance ρ², which makes a two-sided sequence at 1 − alpha narrowest at a number of rows.

    (−2 ln α + ln(1 − 2 ln α))/n. Source: Waudby-Smith et al. 2021 (arXiv 2103.06476), appendix on tuning.

    >>> round(mixture_variance(0.05), 8)
    0.00158723
    """
    return (-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / tightest_at


def half_width(
    standard_error: ArrayLike, n: ArrayLike, *, alpha: float, one_sided: bool, tightest_at: int = TIGHTEST_AT
) -> Floats:
    """Return the half-width of an asymptotic confidence sequence.

    standard_error: of the estimate after n rows, as for a test of fixed size. n: at least 1. Their shapes broadcast.
    Two-sided: SE·√n·√(2(nρ² + 1)/(n²ρ²)·ln(√(nρ² + 1)/α)); both bounds hold together at 1 − alpha. One-sided: the
    logarithm is ln(1 + √(nρ² + 1)/(2α)), with ρ² for 2α; each bound holds at 1 − alpha. NaN where the error is NaN.
    Source: Waudby-Smith et al. 2021 (arXiv 2103.06476), eq. 9 and its one-sided form.

    >>> round(float(half_width(0.01, 5000, alpha=0.05, one_sided=False)), 6)
    0.030352
    """
    rows = np.asarray(n, dtype=np.float64)
    rho2 = mixture_variance(2 * alpha if one_sided else alpha, tightest_at=tightest_at)
    spread = rows * rho2 + 1
    log = np.log1p(np.sqrt(spread) / (2 * alpha)) if one_sided else np.log(np.sqrt(spread) / alpha)
    width: Floats = np.asarray(standard_error) * np.sqrt(2 * spread / (rows * rho2) * log)
    return width


@dataclass(frozen=True)
class Running:
    """The difference between two arms after each row; shapes (..., n)."""

    improvement: Floats
    """Champion's mean loss less the challenger's; NaN until both arms have a row."""
    standard_error: Floats
    """The larger of √(s_a²/n_a + s_b²/n_b) and √(s²·(1/n_a + 1/n_b)), with s² of all rows; NaN until both arms have two
    rows. The first alone is much too small where errors are rare and the smaller arm has none yet."""


def running(loss: ArrayLike, is_challenger: ArrayLike) -> Running:
    """Return the difference of two arms' means after each row. loss: finite, shape (..., n); is_challenger: the same.

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
    """Return one arm's rows, mean and squared standard error after each row."""
    n: NDArray[np.int64] = np.cumsum(own, axis=-1)
    mean: Floats = np.cumsum(np.where(own, losses, 0.0), axis=-1) / n
    squares: Floats = np.cumsum(np.where(own, losses**2, 0.0), axis=-1)
    variance: Floats = np.maximum(squares / n - mean**2, 0.0) / (n - 1)
    return n, mean, np.where(n > 1, variance, math.nan)


@dataclass(frozen=True)
class IPWDifferences:
    """Each row's unbiased estimate of the improvement, and its bounds; shapes (..., n) and (n,).

    The estimate is (c − loss)/share if the challenger answers, else −(c − loss)/(1 − share), with a fixed c. Its mean,
    given the past, is the improvement, for any share and any c. Its variance is small for c near the usual loss.
    """

    values: Floats
    lowest: Floats
    """Lower bound of each row's value, known before its arm and loss."""
    highest: Floats
    """Upper bound of each row's value."""

    @classmethod
    def of(cls, loss: ArrayLike, is_challenger: ArrayLike, share: ArrayLike, *, centre: float) -> IPWDifferences:
        """Estimate from rows in order.

        Parameters
        ----------
        loss
            In [0, 1], shape (..., n).
        is_challenger
            Whether the challenger answers the row, shape (..., n).
        share
            Share of the challenger, in (0, 1), shape (n,).
        centre
            The c above, in [0, 1].

        >>> IPWDifferences.of([0.0, 1.0], [True, False], [0.1, 0.1], centre=0.5).values.round(3).tolist()
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

        ValueError for a margin that no row can exceed in the direction of the bet.
        """
        return log_e_value(self._beyond(margin, worse), null=0.0, low=-1.0, high=math.inf, bets=BETS)

    def bound(self, *, alpha: float, worse: bool = False) -> float:
        """Return the lower bound of the improvement at 1 − alpha after all rows; if ``worse``, the upper bound.

        It is the largest margin that the bets reject (if ``worse``, the smallest), from a bisection of [−1, 1]; −1 (or
        1) where they reject none.
        """
        rejected, open_ = (1.0, -1.0) if worse else (-1.0, 1.0)
        for _ in range(BISECTIONS):
            middle = (rejected + open_) / 2
            if self._final_log_wealth(middle, worse) >= -math.log(alpha):
                rejected = middle
            else:
                open_ = middle
        return rejected

    def _beyond(self, margin: float, worse: bool) -> Floats:
        """Return each value's excess over the margin, as a share of the largest possible shortfall."""
        values, room = self.values - margin, margin - self.lowest
        if worse:
            values, room = margin - self.values, self.highest - margin
        if not bool((room > 0).all()):
            raise ValueError(f"a margin of {margin} is larger than losses in [0, 1] can differ")
        return np.maximum(values / room, -1.0)  # only rounding gives less

    def _final_log_wealth(self, margin: float, worse: bool) -> float:
        beyond = self._beyond(margin, worse)
        ends = [float(np.log1p(share * beyond).sum()) for share in BETS]
        return float(np.logaddexp.reduce(ends)) - math.log(len(BETS))
