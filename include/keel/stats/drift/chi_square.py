"""Two-sample χ² test of the shares of categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keel.stats.drift.cells import CLEAR_OF_CUT, MIN_EXPECTED, pool, pool_small

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Floats, Integers

MAX_SIMULATED_CELLS = 50
"""Cells of a simulated table, whose time grows with them: the most frequent categories; the rest are pooled."""


def chi_square(
    reference: ArrayLike, current: ArrayLike, *, rng: np.random.Generator, resamples: int, cut: int = 0
) -> tuple[float, float, int]:
    """Return χ² = Σ (observed − expected)² / expected over the 2 × cells table, its p-value, and the cells used.

    The reference counts as a sample too: with its shares as exact, five categories have 34% false alarms instead of
    5%. Cells with an expectation below 5 are pooled (`keel.stats.drift.cells.pool_small`, which also explains ``cut``).
    With fewer than two cells left, the cells are those with an expectation of 5 in the reference, and the p-value is
    simulated with both margins fixed, (k + 1)/(resamples + 1). With a single cell even then, as for a column of
    identifiers, the statistic is 0 and the p-value 1.
    Source: Pearson 1900; Agresti, Categorical Data Analysis, 3.2. Simulation: Hope 1968.

    reference, current: counts, shape (cells,), each with at least one row; the last cell is `other`.

    >>> statistic, p, cells = chi_square([50, 50, 0], [30, 70, 0], rng=np.random.default_rng(0), resamples=99)
    >>> round(statistic, 4), round(p, 4), cells
    (8.3333, 0.0039, 2)
    """
    from scipy.special import chdtrc  # slow to import, and not needed to read what is stored

    r, c, _ = pool_small(reference, current, cut=cut)
    if len(r) >= 2:
        statistic = chi_square_statistic(r, c)
        return statistic, float(chdtrc(len(r) - 1, statistic)), len(r)
    r, c = _cells_to_simulate(np.asarray(reference, np.int64), np.asarray(current, np.int64), cut)
    if len(r) < 2:
        return 0.0, 1.0, len(r)
    return chi_square_statistic(r, c), _simulated_p_value(r, c, rng, resamples), len(r)


def chi_square_statistic(reference: ArrayLike, current: ArrayLike) -> float:
    """Return χ² of a table without empty cells.

    >>> chi_square_statistic([10, 10], [10, 10])
    0.0
    """
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    n_r, n = r.sum(), c.sum()
    # The sums of (o − e)²/e of both rows need one difference: their deviations have the same size.
    deviation = (r * n - c * n_r) / (n_r + n)
    return float(np.sum(deviation**2 / (r + c)) * (n_r + n) * (1 / n_r + 1 / n))


def _cells_to_simulate(r: Integers, c: Integers, cut: int) -> tuple[Integers, Integers]:
    """Pool `other` and the categories that the reference may lack by chance."""
    total = r + c
    least = max(MIN_EXPECTED, cut + CLEAR_OF_CUT * cut**0.5)
    small = total * (int(r.sum()) / int(total.sum())) < least
    small[np.argsort(-total, kind="stable")[MAX_SIMULATED_CELLS:]] = True
    small[-1] = True
    return pool(r, c, small)


def _simulated_p_value(r: Integers, c: Integers, rng: np.random.Generator, resamples: int) -> float:
    pooled, n = r + c, int(c.sum())
    draws = rng.multivariate_hypergeometric(pooled, n, size=resamples, method="marginals")
    # With both margins fixed, χ² increases with Σ c²/pooled.
    extreme = _weight(draws, pooled) >= _weight(c, pooled) * (1 - 1e-12)
    return float((np.count_nonzero(extreme) + 1) / (resamples + 1))


def _weight(current: Integers, pooled: Integers) -> Floats:
    return np.sum(current.astype(np.float64) ** 2 / pooled, axis=-1)
