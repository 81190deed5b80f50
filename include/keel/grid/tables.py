"""Tables of any form: pyarrow tables, record batches and pandas DataFrames, alone or as an iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from keel.values.columns import is_frame

PORTION_ROWS = 131_072
"""Rows counted at once: a column of float64 is then one mebibyte and stays in a core's cache while it is sorted."""


def number_of_rows(table: Any) -> int:
    """Return the rows of an arrow table, a record batch or a DataFrame."""
    return len(table) if is_frame(table) else int(table.num_rows)


def batches_of(data: Any) -> Iterator[Any]:
    """Yield ``data`` itself when it is a table, a record batch or a DataFrame, else the batches that it iterates over.

    Raises
    ------
    TypeError
        For anything else.

    """
    if _is_table(data):
        yield data
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | dict):
        for batch in data:
            if not _is_table(batch):
                raise TypeError(f"expected tables or record batches, got {type(batch).__name__}")
            yield batch
    else:
        raise TypeError(f"expected a table, a DataFrame or an iterable of record batches, got {type(data).__name__}")


def _is_table(data: Any) -> bool:
    return isinstance(data, pa.Table | pa.RecordBatch) or is_frame(data)


def gather(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows of the batches in larger tables, to pay the work per column and table less often.

    Consecutive arrow batches of one schema are joined without a copy, up to `PORTION_ROWS` rows. A DataFrame is
    yielded as it is.
    """
    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        joins = isinstance(table, pa.Table) and (not waiting or waiting[0].schema.equals(table.schema))
        if waiting and not (joins and rows + table.num_rows <= PORTION_ROWS):
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
        if isinstance(table, pa.Table):
            waiting.append(table)
            rows += table.num_rows
        else:
            yield table
    if waiting:
        yield pa.concat_tables(waiting)
