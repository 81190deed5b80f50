"""Read a column of timestamps as microseconds."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def to_micros(column: Any) -> Any:
    """Return timestamps with a zone as microseconds since 1970-01-01 UTC, int64. Nanoseconds are rounded down.

    `pa.ArrowInvalid` for a time that no such number holds.
    """
    # in UTC, because a floor in a zone fails for an hour that occurs twice
    column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    if column.type.unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    return column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
