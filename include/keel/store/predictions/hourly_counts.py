"""Number of predictions per hour, also of hours whose rows have expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.database.tables import counts, hours
from keel.store.database.times import HOUR, from_micros, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout


def hourly_rows(
    database: Database, layout: Layout, start: datetime, end: datetime, version: int | None
) -> dict[tuple[int, datetime], int]:
    """Return the number of rows by (version, hour), start ≤ hour < end. Uses current counts, else counts the rows.

    This makes three reads, each along an index. One joined query would scan all counts for each hour, because their
    key begins with the grid.
    """
    asked = _asked(hours, layout.model, start, end, version)
    marks = sa.select(hours.c.version, hours.c.hour, hours.c.revision).where(*asked)
    made = sa.select(counts.c.version, counts.c.hour, counts.c.revision, counts.c.n)
    made = made.where(*_asked(counts, layout.model, start, end, version))
    rows = layout.table.c
    inside = sa.and_(rows.version == hours.c.version, rows.time >= hours.c.hour, rows.time < hours.c.hour + HOUR)
    dirty = sa.select(hours.c.version, hours.c.hour, sa.func.count()).join_from(hours, layout.table, inside)
    dirty = dirty.where(*asked, hours.c.revision > hours.c.counted).group_by(hours.c.version, hours.c.hour)
    with database.connect() as connection:
        revisions = {(number, hour): revision for number, hour, revision in connection.execute(marks)}
        found = {(number, hour): n for number, hour, n in connection.execute(dirty)}
        for number, hour, revision, n in connection.execute(made):
            if revisions.get((number, hour)) == revision:
                found[number, hour] = n
    return {(number, from_micros(hour)): int(n) for (number, hour), n in found.items() if n}


def _asked(
    table: sa.Table, model: str, start: datetime, end: datetime, version: int | None
) -> list[sa.ColumnElement[bool]]:
    key = table.c
    asked = [key.model == model, key.hour >= to_micros(start), key.hour < to_micros(end)]
    return asked if version is None else [*asked, key.version == version]
