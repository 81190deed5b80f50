"""Find the bins of many columns at once: a block of 100 rows must not pay fifty times for a search of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.grid.bins import BINS, TAIL
from keel.grid.kernel import assign_rows
from keel.grid.tables import number_of_rows
from keel.values.columns import read_column, read_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from keel.grid.bins import BinnedColumn
    from keel.grid.counts import Floats

_STEPS = (16, 8, 4, 2, 1)
_EDGES = sum(_STEPS)
"""A binary search of so many steps finds one of this many edges, of which `BINS` - 1 are used."""
_PORTION = 16_384
"""Values searched at once: their positions and comparisons stay in a core's cache."""
_FLOAT64 = pa.float64()


class BinAssigner:
    """The bins of columns, laid out for the search."""

    def __init__(self, columns: Sequence[BinnedColumn]) -> None:
        self._size = len(columns)
        self._numeric = [i for i, column in enumerate(columns) if column.grid.kind == "numeric"]
        self._names = [columns[i].grid.name for i in self._numeric]
        edges = np.full((len(self._numeric), len(columns[0].edges) if columns else 0, _EDGES), np.inf)
        for row, i in zip(edges, self._numeric, strict=True):
            row[:, : BINS - 1] = columns[i].edges
        self._edges, self._edges_of_column = edges.ravel(), edges.shape[1] * _EDGES
        self._categorical = [(i, column) for i, column in enumerate(columns) if column.grid.kind == "categorical"]

    def bins(self, table: Any, context: NDArray[np.intp]) -> NDArray[np.int8]:
        """Return the bin of each row in each column, shape (columns, rows).

        table: an arrow table or a DataFrame. context: of each row.
        """
        rows = number_of_rows(table)
        found = np.empty((self._size, rows), dtype=np.int8)
        values = np.empty((len(self._numeric), rows))
        for i, name in enumerate(self._names):
            values[i] = _numbers(table, name)
        found[self._numeric] = self._search(values, context)
        for i, column in self._categorical:
            cells = assign_rows(column.grid, read_column(table, column.grid.name), rows)
            found[i] = column.bins[context, cells]
        return found

    def _search(self, values: Floats, context: NDArray[np.intp]) -> NDArray[np.int8]:
        """Return how many edges of its column and context are below each value; `TAIL` where it is not finite.

        values: shape (numeric columns, rows).
        """
        columns, rows = values.shape
        found = np.empty(values.shape, dtype=np.int8)
        width = min(max(rows, 1), _PORTION)
        height = max(_PORTION // width, 1)
        for left in range(0, rows, width):
            inside = slice(left, left + width)
            in_context = context[inside] * _EDGES
            for top in range(0, columns, height):
                part = values[top : top + height, inside]
                start = np.arange(top, top + len(part))[:, None] * self._edges_of_column + in_context
                at = start.copy()
                for step in _STEPS:
                    at += (self._edges.take(at + (step - 1)) < part) * step
                found[top : top + height, inside] = np.where(np.isfinite(part), at - start, TAIL)
        return found


def _numbers(table: Any, name: str) -> Floats | float:
    """Return a column's numbers; NaN for every row of a table that lacks it."""
    if isinstance(table, pa.Table):
        position = table.schema.get_field_index(name)
        if position >= 0 and (column := table.column(position)).type == _FLOAT64:  # most columns, read in a hurry
            values: Floats = column.to_numpy()
            return values
    column = read_column(table, name)
    return np.nan if column is None else read_numbers(column)[0]
