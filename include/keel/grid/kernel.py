"""The counting kernel: one column's values onto its cells. Every engine runs this and gets the same integers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel.grid.buckets import Buckets
from keel.grid.counts import OVERSHOOT_LIMIT, OVERSHOOT_UNIT, TAILS, ColumnCounts, Floats, Integers
from keel.grid.values import INVALID, MISSING, Categories, is_plain_text, read_categories, read_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    novel: int = 0
    novel_variance: int = 0
    cut: int = 0

    @property
    def size(self) -> int:
        """Number of cells, tails not included."""
        return 2 * len(self.knots) + 1 if self.kind == "numeric" else len(self.vocabulary) + 1

    @cached_property
    def buckets(self) -> Buckets | None:
        """The table that finds cells; None without knots."""
        return Buckets.over(self.knots) if len(self.knots) else None

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
    totals = np.bincount(categories.codes, minlength=len(categories.labels))
    for label, count in zip(categories.labels, totals.tolist(), strict=True):
        if count and isinstance(label, str):
            frequency[label] = frequency.get(label, 0) + count
    ranked = sorted(frequency, key=lambda label: (-frequency[label], label))
    novel, variance = _leave_one_out(frequency, ranked)
    cut = frequency[ranked[MAX_CATEGORIES]] if len(ranked) > MAX_CATEGORIES else 0
    return ColumnGrid(
        name, "categorical", np.zeros(0), tuple(ranked[:MAX_CATEGORIES]), novel=novel, novel_variance=variance, cut=cut
    )


def _leave_one_out(frequency: Mapping[str, int], ranked: list[str]) -> tuple[int, int]:
    """How many rows would be `other` had they been left out of the reference, and the variance of that number.

    A category leaves the vocabulary when it is no longer seen, or when the first one left out now ranks before it.
    The number estimates the rate of `other` in new rows without the bias of counting it on the rows that chose the
    vocabulary; its variance is that of a difference to the true rate, Σ c over those that leave when one row does
    plus Σ c(c − 1) over those that leave when two do (Good 1953; Robbins 1968, for categories seen once).
    """
    first_out = ranked[MAX_CATEGORIES] if len(ranked) > MAX_CATEGORIES else None

    def leaves(label: str, count: int) -> bool:
        if first_out is None:
            return count <= 0
        return (-count, label) >= (-frequency[first_out], first_out)

    novel = variance = 0
    for label, count in frequency.items():
        if leaves(label, count - 1):
            novel += count
        elif leaves(label, count - 2):
            variance += count * (count - 1)
    return novel, novel + variance


def count_column(grid: ColumnGrid, column: Any | None, rows: int) -> ColumnCounts:
    """Count one column of a table of ``rows`` rows; ``column`` is None when the table does not have it.

    Never raises for what the column holds: see `keel.grid.values` for how each type is read.
    """
    if column is None:
        return ColumnCounts(grid.kind, np.zeros(grid.size, dtype=np.int64), absent=rows)
    if grid.kind == "numeric":
        return _count_numbers(grid, *read_numbers(column))
    if is_plain_text(column):
        return _count_text(grid, column)
    return _count_categories(grid, read_categories(column))


def _count_numbers(grid: ColumnGrid, values: Floats, invalid: NDArray[np.bool_] | None) -> ColumnCounts:
    n_invalid = 0 if invalid is None else int(invalid.sum())
    minimum, maximum = _range(values)
    finite, n_nan, neg_inf, pos_inf = values, 0, 0, 0
    if not (np.isfinite(minimum) and np.isfinite(maximum)):
        finite, n_nan, neg_inf, pos_inf = _finite(values)
        minimum, maximum = _range(finite)
    tails = {"missing": n_nan - n_invalid, "neg_inf": neg_inf, "pos_inf": pos_inf, "invalid": n_invalid}
    if not len(finite):
        return ColumnCounts("numeric", np.zeros(grid.size, dtype=np.int64), **tails)
    cells = grid.buckets.count(finite) if grid.buckets else np.array([len(finite)], dtype=np.int64)
    return ColumnCounts(
        kind="numeric",
        cells=cells,
        minimum=minimum,
        maximum=maximum,
        below=_overshoot(grid, grid.knots[0] - finite[finite < grid.knots[0]]) if cells[0] and grid.scale else 0,
        above=_overshoot(grid, finite[finite > grid.knots[-1]] - grid.knots[-1]) if cells[-1] and grid.scale else 0,
        **tails,
    )


def _range(values: Floats) -> tuple[float, float]:
    """Return the least and greatest value: NaN when there is one, so that finite ones prove all values finite."""
    if not len(values):
        return np.nan, np.nan
    return float(values.min()) + 0.0, float(values.max()) + 0.0


def _finite(values: Floats) -> tuple[Floats, int, int, int]:
    """Return the finite values, and how many are NaN, minus and plus infinity."""
    nan, below, above = np.isnan(values), values == -np.inf, values == np.inf
    counts = [int(np.count_nonzero(mask)) for mask in (nan, below, above)]
    return values[np.isfinite(values)], counts[0], counts[1], counts[2]


def _overshoot(grid: ColumnGrid, distances: Floats) -> int:
    """Summed distances in whole units, each cut to `OVERSHOOT_LIMIT` scales."""
    with np.errstate(over="ignore"):  # a distance that overflows is cut like any other
        scales = np.minimum(distances / grid.scale, OVERSHOOT_LIMIT)
    return int(np.rint(scales / OVERSHOOT_UNIT).astype(np.int64).sum())


def _count_text(grid: ColumnGrid, column: Any) -> ColumnCounts:
    """Count text, which names itself: looking it up is faster than finding the distinct values."""
    found = pc.index_in(column, value_set=pa.array(grid.vocabulary, column.type))
    other = len(grid.vocabulary)
    if found.null_count:
        found = found.fill_null(other)
    cells = np.bincount(found.to_numpy(zero_copy_only=False), minlength=grid.size)
    cells[other] -= column.null_count
    return ColumnCounts("categorical", cells, missing=column.null_count)


def _count_categories(grid: ColumnGrid, categories: Categories) -> ColumnCounts:
    cells = np.zeros(grid.size + len(TAILS), dtype=np.int64)
    per_label = np.bincount(categories.codes, minlength=len(categories.labels))
    np.add.at(cells, _cells_of_labels(grid, categories), per_label)
    missing, _, _, invalid, _ = cells[grid.size :].tolist()
    return ColumnCounts("categorical", cells[: grid.size], missing=missing, invalid=invalid)


def _cells_of_labels(grid: ColumnGrid, categories: Categories) -> Integers:
    """Position of each label among cells and tails; an unknown number among categories that are all words: invalid."""
    missing, invalid = grid.size + TAILS.index("missing"), grid.size + TAILS.index("invalid")
    typed_wrong = categories.numbers and bool(grid.vocabulary) and not grid.holds_numbers
    unknown = invalid if typed_wrong else grid.size - 1
    special = {MISSING: missing, INVALID: invalid}
    return np.array(
        [
            grid.positions.get(label, unknown) if isinstance(label, str) else special[label]
            for label in categories.labels
        ],
        dtype=np.int64,
    )


def assign_rows(grid: ColumnGrid, column: Any | None, rows: int) -> Integers:
    """Return each row's position among the column's cells followed by its tails, shape (rows,).

    Counting these positions gives `count_column`; a mean per cell of something known per row needs them.
    """
    tail = {name: grid.size + i for i, name in enumerate(TAILS)}
    if column is None:
        return np.full(rows, tail["absent"], dtype=np.int64)
    if grid.kind == "categorical":
        categories = read_categories(column)
        return _cells_of_labels(grid, categories)[categories.codes]
    values, invalid = read_numbers(column)
    cells = np.full(rows, tail["missing"], dtype=np.int64)
    finite = np.isfinite(values)
    cells[finite] = grid.buckets.cells_of(values[finite]) if grid.buckets else 0
    cells[values == -np.inf] = tail["neg_inf"]
    cells[values == np.inf] = tail["pos_inf"]
    if invalid is not None:
        cells[invalid] = tail["invalid"]
    return cells
