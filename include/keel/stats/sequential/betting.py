"""Test by betting whether the mean of bounded values is above a baseline. The test is valid at any time.

A bet that the mean is above ``null`` multiplies its wealth by ``1 + λ(x − null)`` at each value. While the mean, given
the past, is at most ``null``, the expected wealth does not grow. By Ville's inequality the wealth then ever reaches
``1/α`` with probability at most α. So the test may be evaluated after every value; a test of a fixed size may not.
Wealth is also known as the e-value.

Sources: Waudby-Smith & Ramdas 2024 (bounded means); Podkopaev & Ramdas 2022 (losses of a deployed model).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BETS: Floats = np.geomspace(0.02, 0.95, 16)
"""Shares of ``1/(null − low)``, the largest bet that cannot lose everything. There are sixteen, geometric, so that one
suits the unknown mean; none is above .95, so that no single value takes all of the wealth."""


@dataclass(frozen=True)
class Wealth:
    """The result of betting. ``bets`` is the state from which a later call continues the stream."""

    path: Floats
    """Logarithm of the mixture's wealth after each value, shape (..., n)."""
    bets: Floats
    """Logarithm of each bet's own wealth after the last value, shape (..., bets)."""


def log_e_value(
    values: ArrayLike,
    *,
    null: float,
    low: float = 0.0,
    high: float = 1.0,
    start: ArrayLike | None = None,
    bets: Floats = BETS,
) -> Wealth:
    """Bet against "the mean, given the past, is at most ``null``", with equal stakes on each of ``bets``.

    Parameters
    ----------
    values
        Shape (..., n), in [low, high], in the order of their arrival.
    null
        The largest mean under the null hypothesis; above ``low``.
    low, high
        Bounds of the values.
    start
        `Wealth.bets` of the values before these; None for a wealth of one.
    bets
        Shares of the largest bet that cannot lose everything, each in (0, 1).

    Raises
    ------
    ValueError
        For NaN, values outside the bounds, and a null at or below ``low``.

    >>> round(float(log_e_value([1, 1, 1, 0], null=0.5).path[-1]), 4)
    0.2122
    """
    x = np.asarray(values, dtype=np.float64)
    if not low < null:
        raise ValueError(f"null ({null}) must be above the lowest possible value ({low})")
    if not bool(((x >= low) & (x <= high)).all()):  # NaN compares false
        raise ValueError(f"values must be numbers from {low} to {high}")
    shares = bets / (null - low)
    initial = np.zeros((*x.shape[:-1], len(bets))) if start is None else np.asarray(start, dtype=np.float64)
    path, ends = np.full(x.shape, -np.inf), np.empty((*x.shape[:-1], len(bets)))
    for i, share in enumerate(shares):  # one at a time: the paths of all bets on many streams do not fit in memory
        own = np.cumsum(np.log1p(share * (x - null)), axis=-1) + initial[..., i : i + 1]
        ends[..., i] = own[..., -1] if x.shape[-1] else initial[..., i]
        np.logaddexp(path, own, out=path)
    return Wealth(path - math.log(len(bets)), ends)


def log_factors(values: ArrayLike, *, null: float, low: float = 0.0, bets: Floats = BETS) -> Floats:
    """Return the logarithm of the factor by which each bet multiplies its wealth over each block of values.

    It is for tests that add up blocks themselves, such as `keel.stats.sequential.e_detector`.

    Parameters
    ----------
    values
        Shape (..., n): n values of each block, at or above ``low``. The result has the shape (..., bets).
    null, low, bets
        As in `log_e_value`. Values have no upper bound: it is the lowest value that limits a bet.

    Raises
    ------
    ValueError
        For NaN, values below ``low``, and a null at or below ``low``.

    >>> np.exp(log_factors([[1, 1, 0]], null=0.5, bets=np.array([0.5]))).round(4).tolist()
    [[1.125]]
    """
    x = np.asarray(values, dtype=np.float64)
    if not low < null:
        raise ValueError(f"null ({null}) must be above the lowest possible value ({low})")
    if not bool((x >= low).all()):  # NaN compares false
        raise ValueError(f"values must be numbers from {low} up")
    factors = np.empty((*x.shape[:-1], len(bets)))
    for i, share in enumerate(bets / (null - low)):
        factors[..., i] = np.log1p(share * (x - null)).sum(axis=-1)
    return factors


def combine(tests: Sequence[tuple[Integers, Floats]]) -> tuple[Integers, Floats]:
    """Return the mean wealth of several tests of one stream, which bet after different rows.

    tests: for each, the numbers of rows after which it bets, and its log wealth then. The result has the same form.
    Ville's inequality holds for the mean wealth while every null hypothesis holds, so the tests share one level.

    >>> moments, logs = combine([(np.array([2, 4]), np.log([2.0, 4.0])), (np.array([3]), np.log([6.0]))])
    >>> moments.tolist(), np.exp(logs).round(6).tolist()
    ([2, 3, 4], [1.5, 4.0, 5.0])
    """
    # merging a few ascending runs is ten times faster than np.unique
    moments = np.sort(np.concatenate([ends for ends, _ in tests]), kind="stable")
    moments = moments[np.diff(moments, prepend=-1) > 0]
    log_wealth = [np.append(0.0, path)[np.searchsorted(ends, moments, side="right")] for ends, path in tests]
    return moments, np.logaddexp.reduce(np.array(log_wealth), axis=0) - math.log(len(tests))


def clopper_pearson_upper(events: int, n: int, *, delta: float) -> float:
    """Return the exact upper confidence bound at 1 − delta of a probability, from ``events`` in ``n``; 1 without rows.

    Source: Clopper & Pearson 1934.

    >>> round(clopper_pearson_upper(15, 100, delta=0.01), 4)
    0.2518
    """
    from scipy.special import betaincinv

    return 1.0 if events >= n else float(betaincinv(events + 1, n - events, 1 - delta))


def empirical_bernstein_upper(mean: float, deviation: float, n: int, *, delta: float) -> float:
    """Return an upper confidence bound at 1 − delta of the mean of values in [0, 1], from a sample of size n.

    mean, deviation: the sample's mean m and standard deviation s. The bound is
    m + s·√(2 ln(2/δ)/n) + 7 ln(2/δ)/(3(n − 1)), at most 1. Source: Maurer & Pontil 2009, theorem 4.

    >>> round(empirical_bernstein_upper(0.15, 0.2, 10_000, delta=0.01), 4)
    0.1577
    """
    if n < 2:
        return 1.0
    log_term = math.log(2 / delta)
    return min(1.0, mean + deviation * math.sqrt(2 * log_term / n) + 7 * log_term / (3 * (n - 1)))
