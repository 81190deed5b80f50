"""Bins of about equal reference mass over the cells of one column, for ranks that need few categories.

The rows that choose bins are not counted on them. A bound between numbers that is a value of a counted row fixes how
many of these rows lie on either side of it, and then the ranks of new rows are not uniform. A category that is frequent
among the rows that order categories is less frequent among others, and ranks would show that as a change. So a column's
rows are divided at random: some choose its bins, and the others are counted. Given the bins, counted and new rows are
then exchangeable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keel.grid.counts import TAILS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.grid.column_grid import ColumnGrid
    from keel.grid.counts import Floats, Integers

BINS = 20
"""Most bins of a column in a context, its tails not included."""
TAIL = BINS
"""The bin of all tails: missing, infinite, invalid and absent values have no rank."""
WIDTH = BINS + 1
"""Bins of a column in a context, with that of the tails; unused ones stay empty."""
ROWS_PER_BIN = 5
"""Rows that choose a bin: with fewer, bins are as uneven as the rows are few, and a category is rare."""


@dataclass(frozen=True, eq=False)
class BinnedColumn:
    """The bins of one column in every context.

    Parameters
    ----------
    grid
        The column's cells. Of a numeric column only name and kind are used.
    edges
        Numeric: the greatest value of each bin but the highest, shape (contexts, `BINS` - 1), ascending; infinite for
        bins that are not used. Categorical: shape (contexts, 0).
    bins
        Categorical: the bin of each of the grid's cells and tails, shape (contexts, cells + 5). Numeric: shape
        (contexts, 0).

    """

    grid: ColumnGrid
    edges: Floats
    bins: NDArray[np.int8]


def bin_column(grid: ColumnGrid, chosen: Integers) -> tuple[BinnedColumn, NDArray[np.int8]]:
    """Choose a column's bins in every context.

    chosen: rows on each cell and tail that choose the bins, shape (contexts, cells + 5). A context in which fewer than
    2 · `ROWS_PER_BIN` of them have a rank has the bins of all rows together.

    Returns
    -------
    The column, and the bin of each of the grid's cells and tails, shape (contexts, cells + 5).

    """
    rows = chosen[:, : grid.size]
    few = rows.sum(axis=1) < 2 * ROWS_PER_BIN
    rows = np.where(few[:, None], rows.sum(axis=0), rows)
    n = len(rows)
    if grid.kind == "categorical":
        by_name = np.array(sorted(range(len(grid.vocabulary)), key=grid.vocabulary.__getitem__), dtype=np.int64)
        bins = _with_tails(np.stack([_rank_categories(row, by_name) for row in rows]))
        return BinnedColumn(grid, np.zeros((n, 0)), bins), bins
    is_last = _bound_numbers(rows)
    bins = np.cumsum(is_last, axis=1) - is_last
    contexts, cells = np.nonzero(is_last)
    edges = np.full((n, BINS - 1), np.inf)
    edges[contexts, bins[contexts, cells]] = _greatest_values(grid, cells)
    return BinnedColumn(grid, edges, np.zeros((n, 0), dtype=np.int8)), _with_tails(bins)


def _with_tails(bins: Integers) -> NDArray[np.int8]:
    return np.hstack([bins, np.full((len(bins), len(TAILS)), TAIL)]).astype(np.int8)


def _bound_numbers(rows: Integers) -> NDArray[np.bool_]:
    """Return whether each cell is the last of a bin, the highest bin left out: shape (contexts, cells).

    A value with the share of two bins has a bin of its own: it replaces two bounds by one on either side.
    """
    totals = rows.sum(axis=1)
    bins = np.clip(totals // ROWS_PER_BIN, 2, BINS)
    is_last = rows * bins[:, None] >= np.maximum(2 * totals, 1)[:, None]
    is_last[:, :-1] |= is_last[:, 1:]
    below = np.cumsum(rows, axis=1)
    for context in np.flatnonzero(totals):
        levels = np.arange(1, bins[context]) * (totals[context] / bins[context])
        is_last[context, np.searchsorted(below[context], levels)] = True
    is_last[:, -1] = False
    return is_last & (np.cumsum(is_last, axis=1) < BINS)


def _greatest_values(grid: ColumnGrid, cells: Integers) -> Floats:
    """Return the greatest value that lies on each of a numeric column's cells, the highest cell not included."""
    least, greatest = grid.knot_bounds
    on_knot = cells % 2 == 1
    edges = np.empty(len(cells))
    edges[on_knot] = greatest[cells[on_knot] // 2]
    edges[~on_knot] = np.nextafter(least[cells[~on_knot] // 2], -np.inf)
    return edges


def _rank_categories(cells: Integers, by_name: Integers) -> Integers:
    """Return the bin of each category and of `other`, shape (cells,).

    The most frequent category is first; of equally frequent ones, that of the first name. Their order in the grid's
    vocabulary would tell which is more frequent among the counted rows. Rare ones share the last bin with `other`.
    """
    bins = np.full(len(cells), BINS - 1, dtype=np.int64)
    named = by_name[cells[by_name] >= ROWS_PER_BIN]
    if not len(named):
        return bins
    order = named[np.argsort(-cells[named], kind="stable")]
    rows = cells[order]
    share = rows.sum() / (BINS - 1)
    # A category joins the bin before it while that holds less than an equal share.
    bin_, held = 0, 0
    for at, count in zip(order.tolist(), rows.tolist(), strict=True):
        if held and held + count > share and bin_ < BINS - 2:
            bin_, held = bin_ + 1, 0
        bins[at] = bin_
        held += count
    return bins
