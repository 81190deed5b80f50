"""Two-sample χ²: whether two samples of a category have the same shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

from keel.stats.drift.cells import CLEAR_OF_CUT, MIN_EXPECTED, pool, pool_small

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Floats, Integers

MAX_SIMULATED_CELLS = 50
"""Simulation costs time per cell; of more only the most frequent are kept apart."""


def chi_square(
    reference: ArrayLike, current: ArrayLike, *, rng: np.random.Generator, resamples: int, cut: int = 0
) -> tuple[float, float, int]:
    """χ² = Σ (observed − expected)² / expected over the 2 × cells table; returns (statistic, p-value, cells used).

    reference, current: shape (cells,), counts, the last cell being `other`; each with at least one row. The reference
    is a sample too: taking its shares for exact turns 5% false alarms into 34% at five categories. Cells with an
    expectation below 5 are pooled (`keel.stats.drift.cells.pool_small`, also for ``cut``). When fewer than two are left
    the cells are those with an expectation of 5 in the reference, and the p-value is simulated with both margins
    fixed, (k + 1)/(resamples + 1). With one cell even then, as for a column of identifiers: statistic 0, p-value 1.
    Source: Pearson 1900; Agresti, Categorical Data Analysis, 3.2. Simulation: Hope 1968.

    >>> statistic, p, cells = chi_square([50, 50, 0], [30, 70, 0], rng=np.random.default_rng(0), resamples=99)
    >>> round(statistic, 4), round(p, 4), cells
    (8.3333, 0.0039, 2)
    """
    r, c, _ = pool_small(reference, current, cut=cut)
    if len(r) >= 2:
        statistic = chi_square_statistic(r, c)
        return statistic, float(chdtrc(len(r) - 1, statistic)), len(r)
    r, c = _cells_to_simulate(np.asarray(reference, np.int64), np.asarray(current, np.int64), cut)
    if len(r) < 2:
        return 0.0, 1.0, len(r)
    return chi_square_statistic(r, c), _simulated_p_value(r, c, rng, resamples), len(r)


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


def _cells_to_simulate(r: Integers, c: Integers, cut: int) -> tuple[Integers, Integers]:
    """Pool what the reference need not have seen, and `other`, which holds what it has not."""
    total = r + c
    least = max(MIN_EXPECTED, cut + CLEAR_OF_CUT * cut**0.5)
    small = total * (int(r.sum()) / int(total.sum())) < least
    small[np.argsort(-total, kind="stable")[MAX_SIMULATED_CELLS:]] = True
    small[-1] = True
    return pool(r, c, small)


def _simulated_p_value(r: Integers, c: Integers, rng: np.random.Generator, resamples: int) -> float:
    pooled, n = r + c, int(c.sum())
    draws = rng.multivariate_hypergeometric(pooled, n, size=resamples, method="marginals")
    # With both margins fixed χ² is increasing in Σ c²/pooled.
    extreme = _weight(draws, pooled) >= _weight(c, pooled) * (1 - 1e-12)
    return float((np.count_nonzero(extreme) + 1) / (resamples + 1))


def _weight(current: Integers, pooled: Integers) -> Floats:
    return np.sum(current.astype(np.float64) ** 2 / pooled, axis=-1)
