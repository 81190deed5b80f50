"""The counting kernel: one column's values onto its cells. Every engine runs this and gets the same integers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.counts import OVERSHOOT_LIMIT, OVERSHOOT_UNIT, TAILS, ColumnCounts, Floats, Integers
from keel.values import INVALID, MISSING, Categories, read_categories, read_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_KNOTS = 1024
"""Knots of a numeric column: a cell between two holds at most 1/1023 of the reference, which bounds the error of KS."""
MAX_CATEGORIES = 1000
"""Categories kept by name, the most frequent of the reference (ties by name); the rest are counted as `other`."""

_SCALE_WIDTHS = ((0.25, 0.75), (0.1, 0.9), (0.05, 0.95), (0.01, 0.99), (0.0, 1.0))
_SCALE_RESOLUTION = 1e-12
"""A spread below this share of the values' own size is rounding, not spread."""


@dataclass(frozen=True, eq=False)
class ColumnGrid:
    """One column's cells.

    knots: ascending, finite, shape (k,), numeric only. vocabulary: numeric has none. scale: what distances are measured
    in, the reference's interquartile range; where more than half of the reference is one value, the first of
    the central 80, 90, 98 and 100% ranges that has a width; 0 for a constant. singletons: how many reference rows hold
    a category no other row holds, the leave-one-out count of new categories (Good–Turing).
    """

    name: str
    kind: str
    knots: Floats
    vocabulary: tuple[str, ...] = ()
    scale: float = 0.0
    singletons: int = 0

    @property
    def size(self) -> int:
        """Number of cells, tails not included."""
        return 2 * len(self.knots) + 1 if self.kind == "numeric" else len(self.vocabulary) + 1

    @cached_property
    def positions(self) -> dict[str, int]:
        """Cell of each category."""
        return {category: i for i, category in enumerate(self.vocabulary)}

    @cached_property
    def holds_numbers(self) -> bool:
        """Whether any category is the name of a number or a boolean, so that numbers may be categories here."""
        return any(_is_number_name(category) for category in self.vocabulary)


def _is_number_name(text: str) -> bool:
    if text in {"true", "false"}:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def fit_numeric(name: str, column: Any) -> ColumnGrid:
    """Lay knots over the finite values: all of them when at most `MAX_KNOTS` are distinct, else quantiles.

    Quantiles are values of the reference, never between two, so that a repeated value is always a knot.
    """
    values, _ = read_numbers(column)
    values = np.sort(values[np.isfinite(values)]) + 0.0  # turns -0.0 into 0.0: equal knots must have equal bytes
    if not len(values):
        return ColumnGrid(name, "numeric", np.zeros(0))
    first = np.r_[True, values[1:] != values[:-1]]
    if first.sum() > MAX_KNOTS:
        at = np.rint(np.linspace(0, len(values) - 1, MAX_KNOTS)).astype(np.int64)
        knots = np.unique(values[at])
    else:
        knots = values[first]
    return ColumnGrid(name, "numeric", knots, scale=_scale(values))


def _scale(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        for low, high in _SCALE_WIDTHS:
            a, b = np.quantile(values, [low, high])
            if b - a > _SCALE_RESOLUTION * max(abs(a), abs(b)):
                return float(b - a) if np.isfinite(b - a) else float(np.finfo(np.float64).max)
    return 0.0


def fit_categorical(name: str, column: Any) -> ColumnGrid:
    """Take the categories, the most frequent first, ties by name."""
    categories = read_categories(column)
    frequency: dict[str, int] = {}
    totals = np.bincount(categories.codes[categories.codes >= 0], minlength=len(categories.labels))
    for label, count in zip(categories.labels, totals.tolist(), strict=True):
        if count:
            frequency[label] = frequency.get(label, 0) + count
    ranked = sorted(frequency, key=lambda label: (-frequency[label], label))[:MAX_CATEGORIES]
    singletons = sum(1 for count in frequency.values() if count == 1)
    return ColumnGrid(name, "categorical", np.zeros(0), vocabulary=tuple(ranked), singletons=singletons)


def count_column(grid: ColumnGrid, column: Any | None, rows: int) -> ColumnCounts:
    """Count one column of a table of ``rows`` rows; ``column`` is None when the table does not have it.

    Never raises for what the column holds: see `keel.values` for how each type is read.
    """
    if column is None:
        return ColumnCounts(grid.kind, np.zeros(grid.size, dtype=np.int64), absent=rows)
    if grid.kind == "numeric":
        return _count_numbers(grid, *read_numbers(column))
    return _count_categories(grid, read_categories(column))


def _count_numbers(grid: ColumnGrid, values: Floats, invalid: NDArray[np.bool_] | None) -> ColumnCounts:
    n_invalid = 0 if invalid is None else int(invalid.sum())
    ordered = np.sort(values)  # NaN last
    present = len(ordered) if not len(ordered) or ordered[-1] == ordered[-1] else int(np.searchsorted(ordered, np.nan))
    start, stop = np.searchsorted(ordered[:present], [-np.inf, np.inf], side="right").tolist()
    if stop and ordered[stop - 1] == np.inf:
        stop = int(np.searchsorted(ordered[:present], np.inf, side="left"))
    finite = ordered[start:stop]
    knots = grid.knots
    edges = np.empty(2 * len(knots) + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, len(finite)
    edges[1:-1:2] = np.searchsorted(finite, knots, side="left")
    edges[2:-1:2] = np.searchsorted(finite, knots, side="right")
    below, above = _overshoot(grid, finite, int(edges[1]), int(edges[-2])) if len(knots) else (0, 0)
    return ColumnCounts(
        kind="numeric",
        cells=np.diff(edges),
        missing=len(ordered) - present - n_invalid,
        neg_inf=start,
        pos_inf=present - stop,
        invalid=n_invalid,
        minimum=float(finite[0]) + 0.0 if len(finite) else None,
        maximum=float(finite[-1]) + 0.0 if len(finite) else None,
        below=below,
        above=above,
    )


def _overshoot(grid: ColumnGrid, finite: Floats, low: int, high: int) -> tuple[int, int]:
    """Summed distance beyond the outermost knots of ``finite[:low]`` and ``finite[high:]``, in whole units."""
    if grid.scale == 0:
        return 0, 0
    with np.errstate(over="ignore"):  # a distance that overflows is cut to the limit like any other
        below = (grid.knots[0] - finite[:low]) / grid.scale
        above = (finite[high:] - grid.knots[-1]) / grid.scale
    units = [np.rint(np.minimum(d, OVERSHOOT_LIMIT) / OVERSHOOT_UNIT).astype(np.int64).sum() for d in (below, above)]
    return int(units[0]), int(units[1])


def _count_categories(grid: ColumnGrid, categories: Categories) -> ColumnCounts:
    cells_of = _cells_of_labels(grid, categories)
    size = grid.size
    # Codes begin at INVALID = -2: shifted by two, one bincount sees invalid, missing and every label.
    totals = np.bincount(categories.codes - INVALID, minlength=len(cells_of) - INVALID)
    counted = np.zeros(size + 1, dtype=np.int64)
    np.add.at(counted, cells_of, totals[-INVALID:])
    return ColumnCounts(
        kind="categorical",
        cells=counted[:size],
        missing=int(totals[MISSING - INVALID]),
        invalid=int(totals[0]) + int(counted[size]),
    )


def _cells_of_labels(grid: ColumnGrid, categories: Categories) -> Integers:
    """Cell of each label; an unknown number among categories that are all words is invalid: cell `size`."""
    size = grid.size
    typed_wrong = categories.numbers and bool(grid.vocabulary) and not grid.holds_numbers
    unknown = size if typed_wrong else size - 1
    positions = grid.positions
    return np.array([positions.get(label, unknown) for label in categories.labels], dtype=np.int64)


def assign_rows(grid: ColumnGrid, column: Any | None, rows: int) -> NDArray[np.int64]:
    """Return each row's position among the column's cells followed by its tails, shape (rows,).

    Counting these positions gives `count_column`; a mean per cell of something known per row needs them.
    """
    tail = {name: grid.size + i for i, name in enumerate(TAILS)}
    if column is None:
        return np.full(rows, tail["absent"], dtype=np.int64)
    if grid.kind == "categorical":
        categories = read_categories(column)
        cells = _cells_of_labels(grid, categories)
        cells = np.where(cells == grid.size, tail["invalid"], cells)
        return np.append(cells, [tail["invalid"], tail["missing"]])[
            categories.codes
        ]  # codes -2 and -1 index from the end
    values, invalid = read_numbers(column)
    cells = np.searchsorted(grid.knots, values, side="left") + np.searchsorted(grid.knots, values, side="right")
    cells = np.where(values == -np.inf, tail["neg_inf"], np.where(values == np.inf, tail["pos_inf"], cells))
    cells = np.where(np.isnan(values), tail["missing"], cells)
    return cells if invalid is None else np.where(invalid, tail["invalid"], cells)
