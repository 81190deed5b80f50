"""Control of the false discovery rate over many tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Floats


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Return adjusted p-values (q-values), shape (tests,), in the order given: reject where q ≤ α.

    q_(i) = min over j ≥ i of m·p_(j)/j. For independent or positively dependent tests, the expected share of false
    rejections is at most α. If every null hypothesis holds, the probability of any rejection is at most α.
    Source: Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001 for dependence.

    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not len(p):
        return p
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return q
