"""Convert numbers to what JSON can hold."""

from __future__ import annotations

import math
from typing import TypeVar

T = TypeVar("T")


def finite_or_none(value: T) -> T | None:
    """Return None for NaN and infinities, which JSON (so a report or an XCom) lacks, and every other value unchanged.

    >>> finite_or_none(float("nan")), finite_or_none(0.5), finite_or_none(3), finite_or_none(None)
    (None, 0.5, 3, None)
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value
