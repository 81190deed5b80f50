"""Which reports there are, of several models, page by page and without their bodies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.tables import reports
from keel.store.database.times import from_micros, to_micros

if TYPE_CHECKING:
    from keel.store import Store


@dataclass(frozen=True)
class ReportHeader:
    """A report without its body."""

    report_id: str
    model: str
    version: int | None
    kind: str
    window_start: datetime | None
    window_end: datetime | None
    status: str
    created_at: datetime


def list_reports(
    store: Store,
    models: Collection[str],
    *,
    kind: str | None = None,
    version: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: ReportHeader | None = None,
    limit: int,
) -> list[ReportHeader]:
    """Return the latest reports of some models, newest first.

    kind, version: only reports that have these.
    since, until: only reports of windows with since ≤ end ≤ until.
    before: only reports that follow this one in the order, for the next page.
    """
    r = reports.c
    query = sa.select(*_columns()).where(r.model.in_(models))
    for column, wanted in ((r.kind, kind), (r.version, version)):
        if wanted is not None:
            query = query.where(column == wanted)
    if since is not None:
        query = query.where(r.window_end >= to_micros(since))
    if until is not None:
        query = query.where(r.window_end <= to_micros(until))
    if before is not None:
        made = to_micros(before.created_at)
        query = query.where(sa.or_(r.created_at < made, sa.and_(r.created_at == made, r.report_id < before.report_id)))
    query = query.order_by(r.created_at.desc(), r.report_id.desc()).limit(limit)
    with store.connect() as connection:
        return [_header(row) for row in connection.execute(query)]


def find_header(store: Store, report_id: str) -> ReportHeader | None:
    """Return a report without its body; None where there is none of this id."""
    with store.connect() as connection:
        row = connection.execute(sa.select(*_columns()).where(reports.c.report_id == report_id)).one_or_none()
    return None if row is None else _header(row)


def _columns() -> list[sa.Column[Any]]:
    return [column for column in reports.columns if column.name != "body"]


def _header(row: sa.Row[Any]) -> ReportHeader:
    start, end = row.window_start, row.window_end
    return ReportHeader(
        report_id=row.report_id,
        model=row.model,
        version=row.version,
        kind=row.kind,
        window_start=None if start is None else from_micros(start),
        window_end=None if end is None else from_micros(end),
        status=row.status,
        created_at=from_micros(row.created_at),
    )
