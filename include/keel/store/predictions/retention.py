"""Delete old rows. Their counts and sums stay for ever.

Rows of an hour that is not fully counted, or whose labels are not all summed, are kept whatever their age. Reports,
decisions and the ledger never expire. Rows and labels that arrive for an expired hour are stored until the next expiry
and mark nothing, because counts of them alone would replace those of all rows. An hour that was kept has all its rows,
and new rows mark it as usual.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.database.tables import hours, label_conflicts, label_sums, labels, model_tables
from keel.store.database.times import HOUR, to_micros
from keel.store.predictions.arrow_session import writing
from keel.store.predictions.dirty_hours import hour_of

if TYPE_CHECKING:
    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

STEP_ROWS = 20_000
"""Rows deleted in one transaction, at least those of one hour. Other writers get their turn in between."""


def expire(database: Database, layout: Layout, before: datetime) -> int:
    """Delete rows of hours that ended by ``before``, oldest first, with their labels. Returns the number of rows.

    If it is interrupted, the next run deletes the rest.
    """
    horizon = to_micros(before) // HOUR * HOUR
    expired, reached = 0, None
    while reached != horizon:
        reached = _next_step(database, layout, reached, horizon)
        expired += expire_until(database, layout, reached)
    return expired


def _next_step(database: Database, layout: Layout, reached: int | None, horizon: int) -> int:
    """Return the hour at which the next transaction ends."""
    time = layout.table.c.time
    query = sa.select(time).where(time < horizon, *(() if reached is None else (time >= reached,)))
    with database.connect() as connection:
        last = connection.execute(query.order_by(time).limit(1).offset(STEP_ROWS)).scalar()
    return horizon if last is None else min(horizon, last // HOUR * HOUR + HOUR)


def expire_until(database: Database, layout: Layout, horizon: int) -> int:
    """Delete rows of hours before ``horizon`` in one transaction. Returns the number of rows."""
    table, mine = layout.table, model_tables.c.model == layout.model
    waits = sa.or_(_marked(layout, hours, hours.c.counted), _marked(layout, label_sums, label_sums.c.summed))
    old = sa.and_(table.c.time < horizon, ~waits)
    ids = sa.select(table.c.id).where(old)
    behind = sa.or_(model_tables.c.expired_before.is_(None), model_tables.c.expired_before < horizon)
    with writing(database, layout.model) as session:
        expired = session.scalar(sa.select(sa.func.count()).select_from(table).where(old))
        if expired:
            for of_rows in (labels, label_conflicts):
                session.run(sa.delete(of_rows).where(of_rows.c.model == layout.model, of_rows.c.id.in_(ids)))
            session.run(sa.delete(table).where(old))
        session.run(sa.update(model_tables).where(mine, behind).values(expired_before=horizon))
    return expired


def _marked(layout: Layout, marks: sa.Table, done: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return whether the hour of a row is marked: it has rows or labels that are not counted or summed."""
    rows, key = layout.table.c, marks.c
    same = sa.and_(key.model == layout.model, key.version == rows.version, key.hour == hour_of(rows.time))
    return sa.exists().where(same, key.revision > done)


def delete_unmatched_labels(database: Database, layout: Layout, before: datetime) -> int:
    """Delete labels without a prediction that were observed before a time, and their conflicts.

    Returns the number of labels. Their prediction was never stored, or has expired.
    """
    deleted = []
    with writing(database, layout.model) as session:
        for table in (labels, label_conflicts):
            unmatched = ~sa.exists().where(layout.table.c.id == table.c.id)
            old = sa.and_(table.c.model == layout.model, table.c.observed_at < to_micros(before), unmatched)
            deleted.append(session.scalar(sa.select(sa.func.count()).select_from(table).where(old)))
            if deleted[-1]:
                session.run(sa.delete(table).where(old))
    return deleted[0]
