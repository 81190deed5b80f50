"""Student's t distribution without scipy, for pages that a server draws: it is small, and scipy is not."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_STEPS = 60
"""Halvings of a quarter turn: to the last digit of a float."""
_MANY = 1000.0
"""Degrees of freedom from which the expansion about the normal quantile has the same digits, and the other way loses
them: it divides two gamma functions."""


@lru_cache(maxsize=4096)
def student_quantile(p: float, df: float) -> float:
    """Return the quantile of Student's t, to about ten digits.

    With t = √df · tan θ the density is proportional to cos^(df − 1) θ, whose integral is smooth. For many degrees of
    freedom see Abramowitz & Stegun 26.7.5.

    p: probability in [0.5, 1). df: degrees of freedom, at least 1.

    >>> round(student_quantile(0.975, 1), 4), round(student_quantile(0.975, 6.5), 4), student_quantile(0.5, 3)
    (12.7062, 2.402, 0.0)
    """
    if p <= 0.5:
        return 0.0
    if df > _MANY:
        return _expanded(NormalDist().inv_cdf(p), df)
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(_STEPS):
        angle = (low + high) / 2
        if scale * _integral(angle, df) < p - 0.5:
            low = angle
        else:
            high = angle
    return math.sqrt(df) * math.tan((low + high) / 2)


def _expanded(z: float, df: float) -> float:
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / df + second / df**2 + third / df**3


def _integral(angle: float, df: float) -> float:
    """Return ∫ cos^(df − 1) from 0 to an angle, up to where the integrand vanishes."""
    end = min(angle, 12.0 / math.sqrt(df))
    return float(end / 2 * (_WEIGHTS @ np.cos(end / 2 * (_NODES + 1)) ** (df - 1)))
