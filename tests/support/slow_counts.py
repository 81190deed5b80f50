"""The counts of one column, value by value in plain Python: what the kernel must agree with."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keel.grid.counts import OVERSHOOT_LIMIT, OVERSHOOT_UNIT
from keel.grid.rounding import FLOAT32_BITS

if TYPE_CHECKING:
    from keel.grid.column_grid import ColumnGrid

INVALID = "invalid"


def count_numbers_slowly(grid: ColumnGrid, values: Sequence[Any]) -> dict[str, Any]:
    """Count floats, None (missing) and `INVALID` by searching each value in the knots."""
    counts: dict[str, Any] = {"missing": 0, "neg_inf": 0, "pos_inf": 0, "invalid": 0, "below": 0, "above": 0}
    cells = [0] * (2 * len(grid.knots) + 1)
    bounds = _bounds(grid)
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
            cells[_cell(bounds, value)] += 1
            if len(grid.knots) and grid.scale and _cell(bounds, value) in (0, len(cells) - 1):
                counts["below"] += _units_between(value, float(grid.knots[0]), grid.scale)
                counts["above"] += _units_between(float(grid.knots[-1]), value, grid.scale)
    return {
        **counts,
        "cells": cells,
        "minimum": min(finite, default=None),
        "maximum": max(finite, default=None),
    }


def _bounds(grid: ColumnGrid) -> tuple[list[float], list[float]]:
    """Return each knot's least and greatest value: what the rounding to 32 bits may make of it, or the knot alone."""
    knots = grid.knots.tolist()
    reach = [2.0 ** (math.frexp(k)[1] - 1 - grid.bits) if k and grid.bits == FLOAT32_BITS else 0.0 for k in knots]
    meet = [i for i in range(len(knots) - 1) if knots[i + 1] - knots[i] <= reach[i + 1] + reach[i]]
    for i in {i for j in meet for i in (j, j + 1)}:
        reach[i] = 0.0
    return [k - r for k, r in zip(knots, reach, strict=True)], [k + r for k, r in zip(knots, reach, strict=True)]


def _cell(bounds: tuple[list[float], list[float]], value: float) -> int:
    return bisect_right(bounds[0], value) + bisect_left(bounds[1], value)


def _units_between(low: float, high: float, scale: float) -> int:
    return round(min((high - low) / scale, OVERSHOOT_LIMIT) / OVERSHOOT_UNIT) if low < high else 0


def count_words_slowly(grid: ColumnGrid, values: Sequence[str | None]) -> dict[str, Any]:
    """Count words and None (missing)."""
    cells = [0] * (len(grid.vocabulary) + 1)
    for value in values:
        if value is not None:
            cells[grid.vocabulary.index(value) if value in grid.vocabulary else -1] += 1
    return {"cells": cells, "missing": sum(value is None for value in values)}
