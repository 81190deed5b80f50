"""Predictions beside their labels, those without one included."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.database.planner_hints import within
from keel.store.database.tables import labels
from keel.store.database.times import to_micros
from keel.store.predictions.arrow_session import reading
from keel.store.predictions.encoding import decode

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

COLUMNS = ("id", "time", "version", "entity")


def row_labels(database: Database, layout: Layout, start: datetime, end: datetime) -> pa.Table:
    """Return ``id, time, version, entity, label`` of scored rows with start ≤ time < end, by time; label null if none.

    Rows are those of all versions, quarantined or not.
    """
    rows = layout.table.c
    source = sa.outerjoin(layout.table, labels, sa.and_(labels.c.model == layout.model, labels.c.id == rows.id))
    columns = [*(rows[name] for name in COLUMNS), labels.c.label]
    query = sa.select(*(column.label(f"c{i}") for i, column in enumerate(columns))).select_from(source)
    query = query.where(within(rows.time, to_micros(start), to_micros(end)), rows.version.is_not(None))
    with reading(database) as session:
        return decode(session.fetch(query.order_by(rows.time, rows.id)), [*COLUMNS, "label"], {})
