"""Impact: what a column's drift alone would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def impact(reference: ArrayLike, current: ArrayLike, mean_loss: ArrayLike) -> float:
    """Impact = Σ (q − p) · mean loss per cell, in units of the loss; positive is harm.

    reference, current: shape (cells + tails,), counts of *all* rows, missing ones included, each with at least one.
    mean_loss: same shape, the model's mean loss on the holdout's rows of that cell. It is what the column's change
    would do to the mean loss if the relation to the target stayed as it was. Marginal: summed over columns it
    counts what correlated columns share more than once, and leaves out interactions.

    >>> round(impact([50, 50], [20, 80], [0.1, 0.3]), 3)
    0.06
    """
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    return float(np.dot(c / c.sum() - r / r.sum(), np.asarray(mean_loss, dtype=np.float64)))
