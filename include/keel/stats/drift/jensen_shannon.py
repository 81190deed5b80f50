"""Jensen–Shannon distance, base 2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import rel_entr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """JS = √(½ KL(p‖m) + ½ KL(q‖m)), m = (p + q)/2, with logarithms of base 2: in [0, 1], a metric.

    reference, current: shape (cells,), counts, each with at least one row. The square root is taken (distance, not
    divergence). In base e the same distributions give a value smaller by √ln 2 = .83.
    Source: Endres & Schindelin 2003.

    >>> jensen_shannon([1, 0], [0, 1])
    1.0
    >>> jensen_shannon([3, 1], [6, 2])
    0.0
    """
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    p, q = r / r.sum(), c / c.sum()
    middle = (p + q) / 2
    divergence = float(rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / (2 * math.log(2))
    return math.sqrt(min(max(divergence, 0.0), 1.0))
