"""Impact: the change of the mean loss that a column's drift alone would cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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
