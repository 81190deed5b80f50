"""Rows that are old enough are deleted; what was counted and summed of them stays for ever.

Three things are left alone however old they are: rows of an hour that is not counted as it now is, rows of an hour
whose labels are not all summed, and what has no age, such as reports and the ledger. Rows and labels that arrive for
an hour that has expired are stored until the next expiry and mark nothing: counts and sums made of them alone would
take the place of those of all rows. An hour that was left alone still has all of its rows, and is marked as any other.
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
"""Rows of one transaction, or an hour's if that has more: others want to write too."""


def expire(database: Database, layout: Layout, before: datetime) -> int:
    """Delete rows of hours that ended by ``before``, oldest first, with their labels; return how many rows.

    Interrupted, it has done a part and does the rest the next time.
    """
    horizon = to_micros(before) // HOUR * HOUR
    expired, reached = 0, None
    while reached != horizon:
        reached = _next_step(database, layout, reached, horizon)
        expired += _expire_until(database, layout, reached)
    return expired


def _next_step(database: Database, layout: Layout, reached: int | None, horizon: int) -> int:
    """Return the hour up to which the next transaction goes."""
    time = layout.table.c.time
    query = sa.select(time).where(time < horizon, *(() if reached is None else (time >= reached,)))
    with database.connect() as connection:
        last = connection.execute(query.order_by(time).limit(1).offset(STEP_ROWS)).scalar()
    return horizon if last is None else min(horizon, last // HOUR * HOUR + HOUR)


def _expire_until(database: Database, layout: Layout, horizon: int) -> int:
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
    """Whether a row's hour has news that have not been seen."""
    rows, key = layout.table.c, marks.c
    same = sa.and_(key.model == layout.model, key.version == rows.version, key.hour == hour_of(rows.time))
    return sa.exists().where(same, key.revision > done)


def delete_unmatched_labels(database: Database, layout: Layout, before: datetime) -> int:
    """Delete labels observed before a time that have no prediction, and what contradicts them; return how many labels.

    Their prediction never came, or has expired before they did.
    """
    forgotten = []
    with writing(database, layout.model) as session:
        for table in (labels, label_conflicts):
            orphan = ~sa.exists().where(layout.table.c.id == table.c.id)
            old = sa.and_(table.c.model == layout.model, table.c.observed_at < to_micros(before), orphan)
            forgotten.append(session.scalar(sa.select(sa.func.count()).select_from(table).where(old)))
            if forgotten[-1]:
                session.run(sa.delete(table).where(old))
    return forgotten[0]
