"""Counting on this machine, from anything that yields tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.grid.counts import Counts
from keel.grid.values import batches_of, number_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keel.grid.reference import ReferenceGrid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_MICROS = 3_600_000_000
ROWS_AT_ONCE = 100_000
"""Small batches are put together up to this many rows: the work per column and batch is then paid once, and columns are
counted in parallel; large enough for that, small enough that a window of any length fits in memory."""


def count(grid: ReferenceGrid, batches: Any) -> Counts:
    """Count a window that comes as a table, a DataFrame or an iterable of batches of any size.

    The same integers as counting each batch and adding. Memory: about `ROWS_AT_ONCE` rows at a time.
    """
    total = Counts.zero(grid)
    for table in _gathered(batches_of(batches)):
        total = total + grid.count(table)
    return total


def count_hours(grid: ReferenceGrid, tables: Iterable[pa.Table]) -> dict[datetime, Counts]:
    """Count rows hour by hour: full hour in UTC → counts. ``time`` is a timestamp[us, UTC] column without nulls."""
    hourly: dict[datetime, Counts] = {}
    for table in tables:
        micros = table["time"].cast(pa.int64()).to_numpy()
        order = np.argsort(micros, kind="stable")
        hours, starts = np.unique(micros[order] // HOUR_MICROS, return_index=True)
        sorted_rows = table.take(pa.array(order))
        for hour, start, end in zip(hours, starts, [*starts[1:], len(order)], strict=True):
            at = EPOCH + timedelta(hours=int(hour))
            counts = grid.count(sorted_rows.slice(start, end - start))
            hourly[at] = hourly[at] + counts if at in hourly else counts
    return hourly


def _gathered(batches: Iterator[Any]) -> Iterator[Any]:
    """Put consecutive arrow batches of one schema together, up to `ROWS_AT_ONCE` rows."""
    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        if isinstance(batch, pa.RecordBatch):
            batch = pa.Table.from_batches([batch])
        fits = isinstance(batch, pa.Table) and (not waiting or waiting[0].schema.equals(batch.schema))
        if waiting and (not fits or rows + number_of_rows(batch) > ROWS_AT_ONCE):
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
        if isinstance(batch, pa.Table):
            waiting.append(batch)
            rows += batch.num_rows
        else:
            yield batch
    if waiting:
        yield pa.concat_tables(waiting)
