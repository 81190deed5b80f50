"""Wasserstein-1 (earth mover's) distance, in units of the reference's spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Floats


def wasserstein(
    reference: ArrayLike, current: ArrayLike, knots: Floats, *, scale: float, overshoot: float = 0.0
) -> float | None:
    """Return W1 = ∫ |F_reference − F_current| dx / scale, ≥ 0; None where the scale is 0 (a constant reference).

    Both functions are straight lines between two knots, which is exact to within 1% or .005 on quantile knots. Window
    values inside a wide gap between two atoms count as spread evenly over it.

    Parameters
    ----------
    reference, current
        Counts on the cells ``(-inf, k0), {k0}, (k0, k1), …``, shape (2k + 1,), each with at least one row.
    knots
        Shape (k,), ascending.
    scale
        The reference's interquartile range, never a fixed floor.
    overshoot
        The window's mean distance beyond the outermost knots, in scales. Beyond the reference's range F_reference is 0
        or 1, so that this mean is the integral there.

    Source: Vallender 1974; Ramdas, García Trillos & Cuturi 2017.

    >>> wasserstein([0, 1, 0, 1, 0], [0, 0, 0, 2, 0], np.array([0.0, 2.0]), scale=2.0)
    0.5
    """
    if scale == 0:
        return None
    r, c = np.asarray(reference, np.int64).cumsum(), np.asarray(current, np.int64).cumsum()
    gap = r / r[-1] - c / c[-1]
    between = _mean_absolute(gap[1:-2:2], gap[2:-1:2])
    with np.errstate(over="ignore", invalid="ignore"):
        total = float((between * ((knots[1:] - knots[:-1]) / scale)).sum()) + overshoot
    return total if np.isfinite(total) else None


def _mean_absolute(left: Floats, right: Floats) -> Floats:
    """Return the mean of |straight line from left to right|; where the line crosses zero, the area of two triangles."""
    a, b = np.abs(left), np.abs(right)
    mean = (a + b) / 2
    crossing = np.flatnonzero(left * right < 0)
    a, b = a[crossing], b[crossing]
    mean[crossing] = (a * a + b * b) / (2 * (a + b))
    return mean
