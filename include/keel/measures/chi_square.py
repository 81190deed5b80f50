"""Two-sample χ²: whether two samples of a category have the same shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

from keel.measures.cells import pool_small

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.measures.cells import Floats, Integers

MAX_SIMULATED_CELLS = 50
"""Simulation costs time per cell; a table with more is simulated on its pooled cells."""


def chi_square(
    reference: ArrayLike, current: ArrayLike, *, rng: np.random.Generator, resamples: int
) -> tuple[float, float, int]:
    """χ² = Σ (observed − expected)² / expected over the 2 × cells table; returns (statistic, p-value, cells used).

    reference, current: shape (cells,), counts, the last cell being `other`; each with at least one row. The reference
    is a sample too: taking its shares for exact turns 5% false alarms into 34% at five categories. Cells with an
    expectation below 5 are pooled (`keel.measures.cells.pool_small`); when fewer than two are left the p-value is
    simulated with both margins fixed, (k + 1)/(resamples + 1). With one category in all, statistic 0 and p-value 1.
    Source: Pearson 1900; Agresti, Categorical Data Analysis, 3.2. Simulation: Hope 1968.

    >>> statistic, p, cells = chi_square([50, 50, 0], [30, 70, 0], rng=np.random.default_rng(0), resamples=99)
    >>> round(statistic, 4), round(p, 4), cells
    (8.3333, 0.0039, 2)
    """
    r, c, _ = pool_small(reference, current)
    if len(r) >= 2:
        statistic = chi_square_statistic(r, c)
        return statistic, float(chdtrc(len(r) - 1, statistic)), len(r)
    return _simulated(np.asarray(reference, np.int64), np.asarray(current, np.int64), rng, resamples)


def chi_square_statistic(reference: ArrayLike, current: ArrayLike) -> float:
    """χ² of a table whose cells are all occupied.

    >>> chi_square_statistic([10, 10], [10, 10])
    0.0
    """
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    n_r, n = r.sum(), c.sum()
    # The two rows' sums of (o − e)²/e, written with one difference: both deviations have the same size.
    deviation = (r * n - c * n_r) / (n_r + n)
    return float(np.sum(deviation**2 / (r + c)) * (n_r + n) * (1 / n_r + 1 / n))


def _simulated(r: Integers, c: Integers, rng: np.random.Generator, resamples: int) -> tuple[float, float, int]:
    occupied = (r + c) > 0
    r, c = r[occupied], c[occupied]
    if len(r) > MAX_SIMULATED_CELLS:
        largest = np.argmax(r + c)
        r = np.array([r[largest], r.sum() - r[largest]])
        c = np.array([c[largest], c.sum() - c[largest]])
    if len(r) < 2:
        return 0.0, 1.0, len(r)
    pooled, n = r + c, int(c.sum())
    draws = rng.multivariate_hypergeometric(pooled, n, size=resamples, method="marginals")
    # With both margins fixed χ² is increasing in Σ c²/pooled.
    extreme = _weight(draws, pooled) >= _weight(c, pooled) * (1 - 1e-12)
    return chi_square_statistic(r, c), float((np.count_nonzero(extreme) + 1) / (resamples + 1)), len(r)


def _weight(current: Integers, pooled: Integers) -> Floats:
    return np.sum(current.astype(np.float64) ** 2 / pooled, axis=-1)
