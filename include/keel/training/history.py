"""The labelled history that a model's pipeline offers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import ConfigError, KeelError, SchemaError, TrainingFailed
from keel.store.predictions import casting
from keel.training.pipeline import described, import_pipeline
from keel.training.training import retrain_plan

if TYPE_CHECKING:
    from keel.config import ModelConfig


def labelled_history(config: ModelConfig, *, shift: timedelta = timedelta(0)) -> pa.Table:
    """Return the labelled history that the model's pipeline offers, with its times moved by ``shift``.

    Columns: id, time, label (null for a label that never arrives), features.

    Raises
    ------
    ConfigError
        The pipeline cannot be imported or offers no history.
    TrainingFailed
        Its function raised an error or returned no table.
    SchemaError
        Its ids, times or labels cannot be read.

    """
    pipeline = retrain_plan(config).pipeline
    offered = getattr(import_pipeline(pipeline), "labelled_history", None)
    if not callable(offered):
        raise ConfigError(f"{pipeline}: has no labelled_history(config), so Keel has nothing to replay")
    try:
        rows = offered(config)
    except KeelError:
        raise
    except Exception as error:
        raise TrainingFailed(f"{pipeline}.labelled_history: {described(error)}") from error
    if not isinstance(rows, pa.Table):
        raise TrainingFailed(f"{pipeline}.labelled_history: returned {type(rows).__name__}, not a pyarrow.Table")
    rows = _read(rows, pipeline)
    if shift:
        rows = rows.set_column(rows.schema.get_field_index("time"), "time", pc.add(rows["time"], shift))
        # Moved rows are new rows: one store can hold the same flight at two times.
        moved = pc.binary_join_element_wise(rows["id"], f"{shift.total_seconds():.0f}s", "+")
        rows = rows.set_column(rows.schema.get_field_index("id"), "id", moved)
    return rows


def _read(rows: pa.Table, pipeline: str) -> pa.Table:
    """Return a history with ids, times and labels in the store's types, whatever Arrow types they have."""
    try:
        ids, times = casting.to_ids(rows), casting.to_times(rows, "time").cast(casting.UTC_MICROSECONDS)
        labels = casting.to_numeric(casting.take(rows, "label"))
        if labels.invalid:
            row, value = next(iter(labels.invalid.items()))
            raise SchemaError(f"column 'label', row {row}: must be a number (got {value!r})")
    except SchemaError as error:
        raise SchemaError(f"{pipeline}: labelled_history: {error}") from None
    for name, column in (("id", ids), ("time", times), ("label", labels.values)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def between(rows: pa.Table, start: datetime, end: datetime) -> pa.Table:
    """Return the rows whose time lies in [start, end)."""
    kind = pa.timestamp("us", "UTC")
    after = pc.greater_equal(rows["time"], pa.scalar(start, kind))
    return rows.filter(pc.and_(after, pc.less(rows["time"], pa.scalar(end, kind))))
