"""Quarantined time ranges. Training does not use their rows, and later checks exclude them.

A range is quarantined because of its *data*, or because of its *labels*. Nothing that needs labels uses either. Checks
of the features, which need none, use ranges whose labels are quarantined.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.tables import quarantines
from keel.store.database.times import from_micros, to_micros
from keel.store.records import as_record, insert
from keel.window import outside

if TYPE_CHECKING:
    from keel.store.database.connections import Database

_FIELDS = quarantines.c
_RECORD = (
    _FIELDS.start_at.label("start"),
    _FIELDS.end_at.label("end"),
    _FIELDS.decided_until,
    _FIELDS.reason,
    _FIELDS.released,
    _FIELDS.created_at,
    _FIELDS.about,
)
DATA, LABELS = "data", "labels"
"""What a quarantine is about."""


class Quarantines:
    """The quarantines of all models, active and released. No two of a model about the same overlap."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        model: str,
        start: datetime,
        end: datetime,
        reason: str,
        created_at: datetime,
        decided_until: datetime | None = None,
        about: str = DATA,
    ) -> None:
        """Quarantine the part of start ≤ time < end that no quarantine about it has covered yet, active or released.

        decided_until: the end of the window whose check decided so. Default: ``end``.
        """
        if to_micros(end) <= to_micros(start):
            raise ValueError(f"the window {start.isoformat()} to {end.isoformat()} is empty")
        shared = {
            "model": model,
            "about": about,
            "reason": reason,
            "created_at": to_micros(created_at),
            "decided_until": to_micros(decided_until or end),
        }
        mine = sa.and_(_FIELDS.model == model, _FIELDS.about == about)
        near = sa.and_(mine, _FIELDS.start_at < to_micros(end), _FIELDS.end_at > to_micros(start))
        with self._database.begin() as connection:
            if not self._database.is_sqlite:  # where only one transaction writes
                connection.execute(sa.text("LOCK TABLE quarantines IN SHARE ROW EXCLUSIVE MODE"))
            found = connection.execute(sa.select(_FIELDS.start_at, _FIELDS.end_at).where(near)).all()
            for begin, finish in outside(start, end, [(from_micros(a), from_micros(b)) for a, b in found]):
                row = {**shared, "start_at": to_micros(begin), "end_at": to_micros(finish)}
                connection.execute(insert(connection, quarantines).values(**row))

    def list(
        self,
        model: str,
        *,
        about: str | None = None,
        decided_before: datetime | None = None,
        with_released: bool = False,
    ) -> Sequence[dict[str, Any]]:
        """Return ``start, end, decided_until, reason, released, created_at, about`` of quarantines, in order of time.

        about: only those about `DATA` or `LABELS`.
        decided_before: only those that a window with an earlier end decided on.
        """
        query = sa.select(*_RECORD).where(_FIELDS.model == model)
        if about is not None:
            query = query.where(_FIELDS.about == about)
        if not with_released:
            query = query.where(sa.not_(_FIELDS.released))
        if decided_before is not None:
            query = query.where(_FIELDS.decided_until < to_micros(decided_before))
        with self._database.connect() as connection:
            return [as_record(row) for row in connection.execute(query.order_by(_FIELDS.start_at, _FIELDS.about))]


def release(connection: sa.Connection, model: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Release the quarantines that lie within start..end, in the caller's transaction, and return them.

    Their rows stay, as evidence and so that `Quarantines.put` does not quarantine the same time again.
    """
    within = sa.and_(_FIELDS.model == model, _FIELDS.start_at >= to_micros(start), _FIELDS.end_at <= to_micros(end))
    mine = sa.and_(within, sa.not_(_FIELDS.released))
    found = connection.execute(sa.select(*_RECORD).where(mine).order_by(_FIELDS.start_at).with_for_update()).all()
    connection.execute(sa.update(quarantines).where(mine).values(released=True))
    return [{**as_record(row), "released": True} for row in found]
