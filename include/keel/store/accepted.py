"""Accepted drifts: counts of a window that are a version's reference of a column, in place of its training rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.database.tables import accepted_references
from keel.store.database.times import from_micros, to_micros
from keel.store.records import insert

if TYPE_CHECKING:
    from keel.store.database.connections import Database

_ROW = accepted_references.c


@dataclass(frozen=True)
class AcceptedCounts:
    """One row: a version has at most one for each column and end of a window."""

    model: str
    version: int
    column: str
    window_start: datetime
    window_end: datetime
    grid_id: str
    payload: bytes
    """`keel.grid.counts.Counts` of the one column."""
    accepted_by: str
    reason: str
    accepted_at: datetime


class AcceptedTable:
    """The accepted drifts of all models."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_version(self, model: str, version: int, *, until: datetime | None = None) -> list[AcceptedCounts]:
        """Return what was last accepted for each column of a version, in order of the columns' names.

        until: only windows that end by then, as a window that ends then is compared with none that ends later.
        """
        with self._database.connect() as connection:
            return of_version(connection, model, version, until=until)


def of_version(
    connection: sa.Connection, model: str, version: int, *, until: datetime | None = None
) -> list[AcceptedCounts]:
    """Return what was last accepted for each column of a version, on the caller's connection."""
    query = sa.select(accepted_references).where(_ROW.model == model, _ROW.version == version)
    if until is not None:
        query = query.where(_ROW.window_end <= to_micros(until))
    rows = connection.execute(query.order_by(_ROW.feature, _ROW.accepted_at, _ROW.window_end))
    last = {row.feature: row for row in rows}
    return [
        AcceptedCounts(
            model=row.model,
            version=row.version,
            column=row.feature,
            window_start=from_micros(row.window_start),
            window_end=from_micros(row.window_end),
            grid_id=row.grid_id,
            payload=bytes(row.payload),
            accepted_by=row.accepted_by,
            reason=row.reason,
            accepted_at=from_micros(row.accepted_at),
        )
        for row in last.values()
    ]


def put(connection: sa.Connection, accepted: AcceptedCounts) -> None:
    """Store a row, in place of one of the same column and end, in the caller's transaction."""
    row = {
        "model": accepted.model,
        "version": accepted.version,
        "feature": accepted.column,
        "window_start": to_micros(accepted.window_start),
        "window_end": to_micros(accepted.window_end),
        "grid_id": accepted.grid_id,
        "payload": accepted.payload,
        "accepted_by": accepted.accepted_by,
        "reason": accepted.reason,
        "accepted_at": to_micros(accepted.accepted_at),
    }
    key = [column.name for column in accepted_references.primary_key]
    statement = insert(connection, accepted_references).values(**row)
    changed = {name: statement.excluded[name] for name in row if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))


def delete(connection: sa.Connection, model: str, version: int, column: str) -> None:
    """Delete the rows of a column, in the caller's transaction; nothing where there is none."""
    mine = (_ROW.model == model, _ROW.version == version, _ROW.feature == column)
    connection.execute(sa.delete(accepted_references).where(*mine))
