"""Bins of about equal reference mass over the cells of one column, for ranks that need few categories.

The rows that choose the bins are not the rows that are counted on them. A category that is frequent among the rows that
order the categories is less frequent among others, and ranks would show that as a change.
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
        Numeric: shape (e,), ascending. A value lies on the piece numbered by how many edges are less than it; tails lie
        on piece e + 1. Categorical: empty; the pieces are the grid's cells followed by its tails.
    bins
        Bin of each piece in each context, shape (contexts, pieces), int8.

    """

    grid: ColumnGrid
    edges: Floats
    bins: NDArray[np.int8]


def bin_column(grid: ColumnGrid, chosen: Integers) -> tuple[BinnedColumn, NDArray[np.int8]]:
    """Choose a column's bins in every context.

    chosen: rows on each cell and tail that choose the bins, shape (contexts, cells + 5). A context with fewer than
    `ROWS_PER_BIN` · 2 has the bins of all rows together.

    Returns
    -------
    The column, and the bin of each of the grid's cells and tails, shape (contexts, cells + 5).

    """
    together = chosen.sum(axis=0)
    few = chosen[:, : grid.size].sum(axis=1) < 2 * ROWS_PER_BIN
    rows = [together if is_few else row for row, is_few in zip(chosen, few, strict=True)]
    if grid.kind == "categorical":
        of_cells = _with_tails([_rank_categories(row[: grid.size]) for row in rows], len(TAILS))
        return BinnedColumn(grid, np.zeros(0), of_cells), of_cells
    bounds = [_bound_numbers(row[: grid.size]) for row in rows]
    ends = np.unique(np.concatenate(bounds))
    pieces = np.append(ends, grid.size - 1)
    of_pieces = _with_tails([np.searchsorted(bound, pieces) for bound in bounds], 1)
    of_cells = _with_tails([np.searchsorted(bound, np.arange(grid.size)) for bound in bounds], len(TAILS))
    return BinnedColumn(grid, _greatest_values(grid, ends), of_pieces), of_cells


def _with_tails(bins: list[Integers], tails: int) -> NDArray[np.int8]:
    return np.hstack([np.stack(bins), np.full((len(bins), tails), TAIL)]).astype(np.int8)


def _bound_numbers(cells: Integers) -> Integers:
    """Return the last cell of each bin but the highest, ascending; at most `BINS` - 1."""
    total = int(cells.sum())
    if not total:
        return np.zeros(0, dtype=np.int64)
    bins = int(np.clip(total // ROWS_PER_BIN, 2, BINS))
    below = np.cumsum(cells)
    bounds = np.searchsorted(below, np.arange(1, bins) * (total / bins))
    # A value with the share of two bins has a bin of its own: it replaces two of the bounds by one on either side.
    frequent = np.flatnonzero(cells >= 2 * total / bins)
    found = np.unique(np.concatenate([bounds, frequent, frequent - 1]))
    return found[(found >= 0) & (found < len(cells) - 1)][: BINS - 1]


def _greatest_values(grid: ColumnGrid, cells: Integers) -> Floats:
    """Return the greatest value that lies on each of a numeric column's cells, the highest cell not included."""
    least, greatest = grid.knot_bounds
    on_knot = cells % 2 == 1
    edges = np.empty(len(cells))
    edges[on_knot] = greatest[cells[on_knot] // 2]
    edges[~on_knot] = np.nextafter(least[cells[~on_knot] // 2], -np.inf)
    return edges


def _rank_categories(cells: Integers) -> Integers:
    """Return the bin of each category and of `other`, shape (cells,).

    The most frequent category is first. Rare ones share the last bin with `other`.
    """
    bins = np.full(len(cells), BINS - 1, dtype=np.int64)
    named = np.flatnonzero(cells[:-1] >= ROWS_PER_BIN)
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
