"""The counting kernel: one column's values onto its cells. Every engine runs it and gets the same integers.

A numeric column is sorted, and its knots are searched in the sorted values. That is the fastest way: numpy sorts with
the processor's vector instructions (AVX-512, AVX2 or NEON) and releases the interpreter's lock meanwhile, so that each
core sorts a column. Everything else that is counted follows from the order: infinities are at the ends, NaN is last,
and the values beyond the outermost knots are the first and the last of the finite ones.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from keel.grid.counts import OVERSHOOT_LIMIT, OVERSHOOT_UNIT, TAILS, ColumnCounts, Floats, Integers
from keel.grid.tables import PORTION_ROWS
from keel.values.columns import (
    INVALID,
    MISSING,
    Categories,
    has_variants,
    is_plain_text,
    read_categories,
    read_numbers,
)

if TYPE_CHECKING:
    from keel.grid.column_grid import ColumnGrid


def count_column(grid: ColumnGrid, column: Any | None, rows: int) -> ColumnCounts:
    """Count one column of a table.

    Parameters
    ----------
    grid
        The column's cells.
    column
        What `keel.values.columns.read_column` returns; None when the table does not have the column.
    rows
        The table's rows.

    No content of a column raises an error: see `keel.values.columns` for how each type is read.
    """
    if column is None:
        return ColumnCounts(grid.kind, np.zeros(grid.size, dtype=np.int64), absent=rows)
    if grid.kind == "numeric":
        values, invalid = read_numbers(column)
        return _count_numbers(grid, values, 0 if invalid is None else int(np.count_nonzero(invalid)))
    if is_plain_text(column):
        return _count_text(grid, column)
    return _count_categories(grid, read_categories(column))


def _count_numbers(grid: ColumnGrid, values: Floats, n_invalid: int) -> ColumnCounts:
    starts = range(0, max(len(values), 1), PORTION_ROWS)
    counts = reduce(add, [_count_ordered(grid, np.sort(values[start : start + PORTION_ROWS])) for start in starts])
    return replace(counts, missing=counts.missing - n_invalid, invalid=n_invalid) if n_invalid else counts


def _count_ordered(grid: ColumnGrid, values: Floats) -> ColumnCounts:
    """Count sorted values. NaN, which is last, counts as missing."""
    neg_inf, pos_inf, missing = 0, 0, 0
    if len(values) and not (values[0] > -np.inf and values[-1] < np.inf):
        start, stop, n_numbers = _finite_range(values)
        neg_inf, pos_inf, missing = start, n_numbers - stop, len(values) - n_numbers
        values = values[start:stop]
    tails = {"missing": missing, "neg_inf": neg_inf, "pos_inf": pos_inf}
    cells = _cells(grid.knot_bounds, values)
    if not len(values):
        return ColumnCounts("numeric", cells, **tails)
    below = above = 0
    if len(grid.knots) and grid.scale:
        below = _overshoot(values[: cells[0]], grid.knots[0], grid.scale)
        above = _overshoot(values[len(values) - cells[-1] :], grid.knots[-1], grid.scale)
    minimum, maximum = float(values[0]) + 0.0, float(values[-1]) + 0.0  # turns -0.0 into 0.0
    return ColumnCounts("numeric", cells, minimum=minimum, maximum=maximum, below=below, above=above, **tails)


def _finite_range(values: Floats) -> tuple[int, int, int]:
    """Return where the finite ones of sorted values start and stop, and where plus infinity stops."""
    start = int(np.searchsorted(values, -np.inf, "right"))
    stop = int(np.searchsorted(values, np.inf, "left"))
    return start, stop, int(np.searchsorted(values, np.nan, "left"))


def _cells(bounds: tuple[Floats, Floats], values: Floats) -> Integers:
    """Count sorted, finite values per cell: ``(-inf, k0), {k0}, (k0, k1), …``, shape (2k + 1,).

    bounds: the least and the greatest value on each knot.
    """
    least, greatest = bounds
    below = np.searchsorted(values, least, "left")
    edges = np.empty(2 * len(least) + 1, dtype=np.int64)  # values below a knot and not above it, knot by knot; all
    edges[:-1:2] = edges[1::2] = below
    edges[-1] = len(values)
    if len(values):
        hit = np.flatnonzero(values.take(below, mode="clip") <= greatest)  # a second search only for knots that occur
        edges[2 * hit + 1] = np.searchsorted(values, greatest[hit], "right")
    edges[1:] -= edges[:-1].copy()
    return edges


def _overshoot(values: Floats, knot: float, scale: float) -> int:
    """Sum the values' distances from the knot in whole units, each cut to `OVERSHOOT_LIMIT` scales."""
    if not len(values):
        return 0
    with np.errstate(over="ignore"):  # a distance that overflows is cut like any other
        scales = np.minimum(np.abs(values - knot) / scale, OVERSHOOT_LIMIT)
    return int(np.rint(scales / OVERSHOOT_UNIT).astype(np.int64).sum())


def _count_text(grid: ColumnGrid, column: Any) -> ColumnCounts:
    """Count text by its position in the vocabulary, which is faster than finding the distinct values."""
    names = grid.names
    positions = pc.index_in(column, value_set=names.cast(column.type))
    others = None
    if positions.null_count > column.null_count and grid.has_variants:
        unknown = column.filter(pc.and_(positions.is_null(), column.is_valid()))
        others = _count_categories(grid, read_categories(unknown)).cells if has_variants(unknown) else None
    if positions.null_count:
        positions = positions.fill_null(len(names))
    per_name = np.bincount(positions.to_numpy(zero_copy_only=False), minlength=len(names) + 1)
    cells = np.zeros(grid.size, dtype=np.int64)
    cells[list(grid.positions.values())] = per_name[:-1]
    if others is None:
        cells[-1] = per_name[-1] - column.null_count
    else:
        cells += others
    return ColumnCounts("categorical", cells, missing=column.null_count)


def _count_categories(grid: ColumnGrid, categories: Categories) -> ColumnCounts:
    cells = np.zeros(grid.size + len(TAILS), dtype=np.int64)
    per_label = np.bincount(categories.codes, minlength=len(categories.labels))
    np.add.at(cells, _cells_of_labels(grid, categories), per_label)
    missing, _, _, invalid, _ = cells[grid.size :].tolist()
    return ColumnCounts("categorical", cells[: grid.size], missing=missing, invalid=invalid)


def _cells_of_labels(grid: ColumnGrid, categories: Categories) -> Integers:
    """Return each label's position among cells and tails.

    An unknown number is `invalid` where all categories are words, else `other`.
    """
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


def unseen_categories(grid: ColumnGrid, column: Any | None) -> dict[str, int]:
    """Return the names that a categorical column's rows outside the vocabulary have, with their rows.

    Together they are the rows that `count_column` counts as `other`. Empty for a numeric column and an absent one.
    """
    if column is None or grid.kind != "categorical":
        return {}
    categories = read_categories(column)
    other = _cells_of_labels(grid, categories) == grid.size - 1
    rows: dict[str, int] = {}
    for at, count in enumerate(np.bincount(categories.codes, minlength=len(categories.labels)).tolist()):
        if other[at] and count:
            name = str(categories.labels[at])
            rows[name] = rows.get(name, 0) + count
    return rows


def assign_rows(grid: ColumnGrid, column: Any | None, rows: int) -> Integers:
    """Return each row's position among the column's cells followed by its tails, shape (rows,).

    Counting these positions gives `count_column`. A mean per cell of something known per row needs them.
    """
    tail = {name: grid.size + i for i, name in enumerate(TAILS)}
    if column is None:
        return np.full(rows, tail["absent"], dtype=np.int64)
    if grid.kind == "categorical":
        found = _assign_text(grid, column) if is_plain_text(column) else None
        return _assign_categories(grid, column) if found is None else found
    values, invalid = read_numbers(column)
    order = np.argsort(values)
    start, stop, n_numbers = _finite_range(values[order])
    positions = np.full(rows, tail["missing"], dtype=np.int64)
    positions[order[:start]] = tail["neg_inf"]
    positions[order[start:stop]] = np.repeat(np.arange(grid.size), _cells(grid.knot_bounds, values[order[start:stop]]))
    positions[order[stop:n_numbers]] = tail["pos_inf"]
    if invalid is not None:
        positions[invalid] = tail["invalid"]
    return positions


def _assign_categories(grid: ColumnGrid, column: Any) -> Integers:
    categories = read_categories(column)
    return _cells_of_labels(grid, categories)[categories.codes]


def _assign_text(grid: ColumnGrid, column: Any) -> Integers | None:
    """Return the positions of texts by their place in the vocabulary; None if a text may be spelled in another way."""
    places = pc.index_in(column, value_set=grid.names.cast(column.type))
    unknown = places.null_count - column.null_count
    if unknown and grid.has_variants and has_variants(column):
        return None
    if places.null_count:
        places = places.fill_null(len(grid.positions))
    found = np.array([*grid.positions.values(), grid.size - 1])[places.to_numpy(zero_copy_only=False)]
    if column.null_count:
        found[column.is_null().to_numpy(zero_copy_only=False)] = grid.size + TAILS.index("missing")
    return found
