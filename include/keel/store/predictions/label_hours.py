"""Sums over the labels of each hour of predictions, in one query: the rows are not read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from keel.stats.label_profile import LabelHours
from keel.store.database.planner_hints import within
from keel.store.database.tables import labels
from keel.store.database.times import MICROSECOND, to_micros
from keel.store.predictions.arrow_session import reading
from keel.store.predictions.dirty_hours import hour_of

if TYPE_CHECKING:
    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

_SECOND = 1e6


def label_hours(
    database: Database,
    layout: Layout,
    start: datetime,
    end: datetime,
    *,
    delay: timedelta,
    centre: float,
    history: bool,
) -> LabelHours:
    """Return the hours with rows, start ≤ time < end, of all versions, quarantined or not.

    history: whether rows without a version count.
    delay: the label delay, after which a label is late. centre: is subtracted from each label before it is summed.
    """
    rows = layout.table.c
    hour, off = hour_of(rows.time), labels.c.label - sa.literal(centre, sa.Double)
    since = labels.c.observed_at - rows.time
    source = sa.outerjoin(layout.table, labels, sa.and_(labels.c.model == layout.model, labels.c.id == rows.id))
    columns: list[sa.ColumnElement[Any]] = [
        hour,
        sa.func.count(),
        sa.func.count(labels.c.id),
        sa.func.coalesce(sa.func.sum(off), 0.0),
        sa.func.coalesce(sa.func.sum(off * off), 0.0),
        sa.func.min(labels.c.label),
        sa.func.max(labels.c.label),
        sa.func.coalesce(sa.func.sum(sa.case((since > delay // MICROSECOND, 1), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.cast(since, sa.Double) / _SECOND), 0.0),
    ]
    query = (
        sa.select(*(column.label(f"c{i}") for i, column in enumerate(columns)))
        .select_from(source)
        .where(within(rows.time, to_micros(start), to_micros(end)))
    )
    if not history:
        query = query.where(rows.version.is_not(None))
    with reading(database) as session:
        found = session.fetch(query.group_by(hour).order_by(hour))
    stamps, *numbers = found.columns
    hours = stamps.cast(pa.int64()).to_numpy().astype("datetime64[us]").astype("datetime64[h]")
    n, labelled, total, squares, lowest, highest, late, seconds = (
        column.cast(pa.float64()).to_numpy() for column in numbers
    )
    return LabelHours(hours, n, labelled, total, squares, lowest, highest, late, seconds, centre)
