"""How many predictions each hour had, also of hours whose rows have expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.marking import hour_of
from keel.store.tables import counts, hours
from keel.store.times import HOUR, from_micros, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from keel.store.database import Database
    from keel.store.layout import Layout


def hourly_rows(
    database: Database, layout: Layout, start: datetime, end: datetime, version: int | None
) -> dict[tuple[int, datetime], int]:
    """Return rows by (version, hour), start ≤ hour < end: from the counts where these are as of now, else counted."""
    asked = [hours.c.model == layout.model, hours.c.hour >= to_micros(start), hours.c.hour < to_micros(end)]
    if version is not None:
        asked.append(hours.c.version == version)
    same = sa.and_(*(counts.c[name] == hours.c[name] for name in ("model", "version", "hour", "revision")))
    known = sa.select(hours.c.version, hours.c.hour, sa.func.max(counts.c.n))
    known = known.select_from(sa.outerjoin(hours, counts, same)).where(*asked).group_by(hours.c.version, hours.c.hour)
    with database.connect() as connection:
        found = {(number, hour): n for number, hour, n in connection.execute(known)}
        unknown = [hour for (_, hour), n in found.items() if n is None]
        if unknown:
            rows, hour = layout.table.c, hour_of(layout.table.c.time).label("of")
            query = sa.select(rows.version, hour, sa.func.count()).where(
                rows.time >= min(unknown), rows.time < max(unknown) + HOUR, rows.version.is_not(None)
            )
            for number, at, n in connection.execute(query.group_by(rows.version, sa.text("2"))):
                if found.get((number, at), n) is None:
                    found[number, at] = n
    return {(number, from_micros(hour)): int(n) for (number, hour), n in found.items() if n}
