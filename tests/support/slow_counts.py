"""The counts of one column, value by value in plain Python: what the kernel must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.grid.counts import OVERSHOOT_LIMIT, OVERSHOOT_UNIT

if TYPE_CHECKING:
    from keel.grid.column_grid import ColumnGrid

INVALID = "invalid"


def count_numbers_slowly(grid: ColumnGrid, values: Sequence[Any]) -> dict[str, Any]:
    """Count floats, None (missing) and `INVALID` by searching each value in the knots."""
    counts: dict[str, Any] = {"missing": 0, "neg_inf": 0, "pos_inf": 0, "invalid": 0, "below": 0, "above": 0}
    cells = [0] * (2 * len(grid.knots) + 1)
    finite = []
    for value in values:
        if value == INVALID:
            counts["invalid"] += 1
        elif value is None or math.isnan(value):
            counts["missing"] += 1
        elif math.isinf(value):
            counts["neg_inf" if value < 0 else "pos_inf"] += 1
        else:
            finite.append(value)
            below, not_above = (int(np.searchsorted(grid.knots, value, side)) for side in ("left", "right"))
            cells[below + not_above] += 1
            if len(grid.knots) and grid.scale:
                counts["below"] += _units_between(value, float(grid.knots[0]), grid.scale)
                counts["above"] += _units_between(float(grid.knots[-1]), value, grid.scale)
    return {
        **counts,
        "cells": cells,
        "minimum": min(finite, default=None),
        "maximum": max(finite, default=None),
    }


def _units_between(low: float, high: float, scale: float) -> int:
    return round(min((high - low) / scale, OVERSHOOT_LIMIT) / OVERSHOOT_UNIT) if low < high else 0


def count_words_slowly(grid: ColumnGrid, values: Sequence[str | None]) -> dict[str, Any]:
    """Count words and None (missing)."""
    cells = [0] * (len(grid.vocabulary) + 1)
    for value in values:
        if value is not None:
            cells[grid.vocabulary.index(value) if value in grid.vocabulary else -1] += 1
    return {"cells": cells, "missing": sum(value is None for value in values)}
