"""Sums over the labelled predictions of each hour, by model and version. They stay when the rows expire.

An hour is stale while it has labels that are not in its sums. Storing a label marks the hour of its prediction as
stale, as storing predictions marks hours to be counted (`keel.store.predictions.dirty_hours`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.database.tables import label_sums
from keel.store.database.times import from_micros, hour_micros, to_micros

if TYPE_CHECKING:
    from keel.store.database.connections import Database

_FIELDS = label_sums.c


class PerformanceTable:
    """The hourly sums that `keel.monitoring.performance_history` computes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stale(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[tuple[int, datetime, int]]:
        """Return (version, hour, revision) of stale hours, start ≤ hour < end where given."""
        query = sa.select(_FIELDS.version, _FIELDS.hour, _FIELDS.revision)
        query = query.where(_FIELDS.model == model, _FIELDS.revision > _FIELDS.summed, *_within(start, end))
        with self._database.connect() as connection:
            found = connection.execute(query.order_by(_FIELDS.version, _FIELDS.hour)).all()
        return [(version, from_micros(hour), revision) for version, hour, revision in found]

    def put_hours(self, model: str, version: int, hourly: Sequence[tuple[datetime, int, str, int]]) -> None:
        """Store the sums of many hours, each (hour, n, body, revision), in one transaction. Idempotent.

        n: labelled rows. revision: of the hour when its rows were read, as `stale` returned it. Sums of a revision that
        is stored already are ignored. So a slow process cannot undo newer sums, and an hour whose rows expired in
        between does not become empty.
        """
        if not hourly:
            return
        hour, seen, n = (sa.bindparam(name, type_=sa.BigInteger) for name in ("at", "seen", "rows"))
        key = sa.and_(_FIELDS.model == model, _FIELDS.version == version, _FIELDS.hour == hour)
        statement = sa.update(label_sums).where(key, _FIELDS.summed < seen, _FIELDS.revision >= seen)
        values = [
            {"at": hour_micros(at), "rows": rows, "sums": body, "seen": revision} for at, rows, body, revision in hourly
        ]
        with self._database.begin() as connection:
            connection.execute(statement.values(summed=seen, n=n, body=sa.bindparam("sums", type_=sa.Text)), values)

    def get(
        self, model: str, start: datetime, end: datetime, version: int | None = None
    ) -> list[tuple[int, datetime, int, str]]:
        """Return (version, hour, n, body) of summed hours, start ≤ hour < end, in order of version and hour."""
        query = sa.select(_FIELDS.version, _FIELDS.hour, _FIELDS.n, _FIELDS.body)
        query = query.where(_FIELDS.model == model, _FIELDS.body.is_not(None), *_within(start, end))
        if version is not None:
            query = query.where(_FIELDS.version == version)
        with self._database.connect() as connection:
            found = connection.execute(query.order_by(_FIELDS.version, _FIELDS.hour)).all()
        return [(number, from_micros(hour), int(n), body) for number, hour, n, body in found]

    def newest_hour(self, model: str) -> datetime | None:
        """Return the latest hour whose predictions have a label; None without any."""
        query = sa.select(sa.func.max(_FIELDS.hour)).where(_FIELDS.model == model)
        with self._database.connect() as connection:
            newest = connection.execute(query).scalar()
        return None if newest is None else from_micros(int(newest))


def _within(start: datetime | None, end: datetime | None) -> list[sa.ColumnElement[bool]]:
    after = [] if start is None else [_FIELDS.hour >= to_micros(start)]
    return after if end is None else [*after, _FIELDS.hour < to_micros(end)]
