"""Jensen–Shannon distance, base 2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Return JS = √(½ KL(p‖m) + ½ KL(q‖m)), m = (p + q)/2, with logarithms of base 2: in [0, 1], a metric.

    It is the distance, which is the square root of the divergence. In base e the value is smaller by the factor
    √ln 2 = .83. reference, current: counts, shape (cells,), each with at least one row.
    Source: Endres & Schindelin 2003.

    >>> jensen_shannon([1, 0], [0, 1])
    1.0
    >>> jensen_shannon([3, 1], [6, 2])
    0.0
    """
    from scipy.special import rel_entr  # slow to import, and not needed to read what is stored

    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    p, q = r / r.sum(), c / c.sum()
    middle = (p + q) / 2
    divergence = float(rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / (2 * math.log(2))
    return math.sqrt(min(max(divergence, 0.0), 1.0))
