"""Tables of predictions for the tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
EVER = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
FEATURES = {"temp": "numeric", "carrier": "categorical"}
MICROSECONDS = pa.timestamp("us", tz="UTC")


def batch(
    ids: Sequence[str] | range, *, start: datetime = NOON, step: timedelta = timedelta(seconds=1), **columns: Any
) -> pa.Table:
    """Return predictions of version 1, one ``step`` apart, with values for FEATURES; ``columns`` override or add."""
    names = [f"p{i}" for i in ids] if isinstance(ids, range) else list(ids)
    size = len(names)
    values: dict[str, Any] = {
        "id": pa.array(names, pa.string()),
        "time": pa.array([start + i * step for i in range(size)], MICROSECONDS),
        "version": pa.array([1] * size, pa.int64()),
        "score": pa.array([0.25] * size, pa.float64()),
        "prediction": pa.array([0.0] * size, pa.float64()),
        "temp": pa.array([float(i) for i in range(size)], pa.float64()),
        "carrier": pa.array(["AA"] * size, pa.string()),
        **columns,
    }
    return pa.table({name: value for name, value in values.items() if value is not ...})


def labels(values: dict[str, float] | list[tuple[str, float]], *, observed_at: datetime = NOON) -> pa.Table:
    """Return labels, all observed at one time."""
    pairs = list(values.items()) if isinstance(values, dict) else values
    return pa.table(
        {
            "id": pa.array([name for name, _ in pairs], pa.string()),
            "label": pa.array([value for _, value in pairs], pa.float64()),
            "observed_at": pa.array([observed_at] * len(pairs), MICROSECONDS),
        }
    )
