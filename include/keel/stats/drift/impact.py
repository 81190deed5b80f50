"""Impact: the change of the mean loss that a column's drift alone would cause, and whether chance explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

_ROUNDING = 1e-12
"""A spread of mean losses below this share of their size is rounding."""


@dataclass(frozen=True)
class Impact:
    """One column's impact, and how much one row of reference and window together may contribute to it.

    Parameters
    ----------
    value
        See `impact`.
    deviation
        Standard deviation over all rows of the mean loss of their cell; 0 where it is only rounding.
    reach
        The greatest of these mean losses less their mean.

    """

    value: float
    deviation: float
    reach: float


def impact(reference: ArrayLike, current: ArrayLike, mean_loss: ArrayLike) -> float:
    """Return the impact Σ (q − p) · mean loss per cell, in units of the loss; positive is harm.

    It is the change of the mean loss if only the column's distribution changed, and not the relation to the target. It
    is marginal: a sum over columns counts the shared part of correlated columns more than once, and no interactions.

    reference, current: counts of *all* rows, also those without a value, shape (cells + tails,), each with at least one
    row. mean_loss: same shape, the model's mean loss on the holdout's rows in that cell.

    >>> round(impact([50, 50], [20, 80], [0.1, 0.3]), 3)
    0.06
    """
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    return float(np.dot(c / c.sum() - r / r.sum(), np.asarray(mean_loss, dtype=np.float64)))


def measure_impact(reference: ArrayLike, current: ArrayLike, mean_loss: ArrayLike) -> Impact:
    """Return a column's impact with the spread of its rows; arguments as for `impact`.

    >>> measure_impact([50, 50], [20, 80], [0.1, 0.3]).reach.__round__(3)
    0.07
    """
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    losses = np.asarray(mean_loss, dtype=np.float64)
    share = (r + c) / (r.sum() + c.sum())
    beyond = losses - float(share @ losses)
    with np.errstate(over="ignore"):
        deviation = math.sqrt(float(share @ beyond**2))
    if deviation <= _ROUNDING * float(np.abs(losses).max()):
        deviation = 0.0
    return Impact(impact(r, c, losses), deviation, float(beyond[share > 0].max()))


def summed_impact_p_value(impacts: Sequence[Impact], n_reference: int, n: int) -> float:
    """Return P(impacts as harmful as these) without a change, in [0, 1]: an upper bound, at any number of rows.

    Without a change the window is a random part of all rows. Bernstein's inequality, which holds for draws without
    replacement, bounds the mean of the sum over columns, whose standard deviation is at most the sum of the columns':
    nothing is assumed of their dependence. As that is loose for many columns, each column is tested as well, and the
    smaller of both p-values counts, doubled (Bonferroni).
    Source: Bernstein 1924; Hoeffding 1963, sections 2 and 6.

    >>> summed_impact_p_value([Impact(0.0, 0.2, 0.5)], 1000, 1000)
    1.0
    >>> summed_impact_p_value([Impact(0.1, 0.2, 0.5)], 10_000, 1000) < 1e-30
    True
    """
    if not impacts:
        return 1.0
    together = Impact(
        math.fsum(i.value for i in impacts), sum(i.deviation for i in impacts), sum(i.reach for i in impacts)
    )
    single = min(_bernstein(i, n_reference, n) for i in impacts)
    return min(1.0, 2 * min(_bernstein(together, n_reference, n), len(impacts) * single))


def _bernstein(found: Impact, n_reference: int, n: int) -> float:
    above = found.value * n_reference / (n_reference + n)  # the window's mean over that of all rows
    if above <= 0 or not 0 < found.deviation < math.inf:
        return 1.0  # rows whose cells all have the same loss have no impact but rounding
    steps = above / found.deviation
    return math.exp(-n * steps**2 / (2 * (1 + found.reach / found.deviation * steps / 3)))
