"""Count on this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from keel.grid.tables import gather

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_MICROS = 3_600_000_000


def count_hours(grid: ReferenceGrid, tables: Iterable[pa.Table]) -> dict[datetime, Counts]:
    """Return the counts of every full hour (UTC) that has rows.

    Parameters
    ----------
    grid
        The grid to count on.
    tables
        Tables of any size with a column ``time``, a timestamp[us, UTC] without nulls.

    """
    hourly: dict[datetime, Counts] = {}
    for table in gather(tables):
        micros = table["time"].cast(pa.int64()).to_numpy()
        order = np.argsort(micros, kind="stable")
        hours, starts = np.unique(micros[order] // HOUR_MICROS, return_index=True)
        sorted_rows = table.take(pa.array(order))
        for hour, start, end in zip(hours, starts, [*starts[1:], len(order)], strict=True):
            at = EPOCH + timedelta(hours=int(hour))
            counts = grid.count(sorted_rows.slice(start, end - start))
            hourly[at] = hourly[at] + counts if at in hourly else counts
    return hourly
