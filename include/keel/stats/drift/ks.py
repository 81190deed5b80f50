"""Kolmogorov–Smirnov test: the largest difference between two distribution functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SMALL_ROWS = 1000
SMALL_CELLS = 32
"""With fewer window rows, on at most this many occupied cells, the p-value is simulated: there ties make the asymptotic
one too conservative, and the simulation is fast."""


def ks_statistic(reference: ArrayLike, current: ArrayLike) -> float:
    """Return KS = max over cell ends of |F_reference − F_current|, in [0, 1].

    reference, current: non-negative counts on cells in ascending order, shape (cells,), each with at least one row. The
    result is below the statistic of the raw values by at most the reference's mass in a cell between knots (1/1023).
    Source: Smirnov 1948; Conover, Practical Nonparametric Statistics, ch. 6.

    >>> ks_statistic([2, 2], [4, 0])
    0.5
    """
    r, c = np.asarray(reference, np.int64).cumsum(), np.asarray(current, np.int64).cumsum()
    # In integers as far as possible: equal distributions then have statistic 0, not 1e-17.
    return float(np.abs(r * c[-1] - c * r[-1]).max() / (float(r[-1]) * float(c[-1])))


def ks_p_value(statistic: float, n_reference: int, n_current: int) -> float:
    """Return P(KS ≥ statistic) for two samples of one distribution, in [0, 1], by the asymptotic law.

    The law is Kolmogorov's with effective size n_r·n / (n_r + n). Ties, and the maximum over knots only, make it an
    upper bound. Source: Smirnov 1948.

    >>> round(ks_p_value(0.1, 1000, 500), 4)
    0.0025
    """
    from scipy.special import kolmogorov  # slow to import, and not needed to read what is stored

    effective = n_reference * n_current / (n_reference + n_current)
    return float(kolmogorov(np.sqrt(effective) * statistic))


def is_small(reference: ArrayLike, current: ArrayLike) -> bool:
    """Whether the window is small and discrete enough for `ks_monte_carlo`.

    >>> is_small([500, 500], [50, 50])
    True
    """
    r, c = np.asarray(reference), np.asarray(current)
    return bool(c.sum() < SMALL_ROWS and np.count_nonzero(r + c) <= SMALL_CELLS)


def ks_monte_carlo(reference: ArrayLike, current: ArrayLike, *, rng: np.random.Generator, resamples: int) -> float:
    """Return P(KS ≥ observed) by permutation of rows between reference and window, in [1/(resamples + 1), 1].

    The level is exact for any ties and sizes: p = (k + 1)/(resamples + 1), with k resamples at least as extreme; it is
    never 0. Source: Phipson & Smyth 2010.

    >>> ks_monte_carlo([90, 10], [1, 9], rng=np.random.default_rng(0), resamples=999)
    0.001
    """
    r, c = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    pooled = r + c
    pooled, c = pooled[pooled > 0], c[pooled > 0]
    n, total = int(c.sum()), int(pooled.sum())
    draws = rng.multivariate_hypergeometric(pooled, n, size=resamples, method="marginals")
    expected = np.cumsum(pooled) * n  # KS is proportional to max |F_pooled − F_current|
    observed = np.abs(np.cumsum(c) * total - expected).max()
    simulated = np.abs(np.cumsum(draws, axis=1) * total - expected).max(axis=1)
    return float((np.count_nonzero(simulated >= observed) + 1) / (resamples + 1))
