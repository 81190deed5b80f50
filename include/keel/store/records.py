"""Hourly counts, reports and decisions.

Every put is an upsert on a key that the caller derives from the window, so that a task that runs again leaves the same
rows. A row keeps the ``created_at`` of its first put.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from keel.store.database import drift_tables
from keel.store.database.tables import counts, decisions, reports
from keel.store.database.times import from_micros, hour_micros, to_micros

if TYPE_CHECKING:
    from keel.store.database.connections import Database

_TIMES = frozenset({"window_start", "window_end", "created_at", "start", "end", "decided_until"})


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT of the connection's dialect, which supports ON CONFLICT."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def upsert(database: Database, table: sa.Table, row: Mapping[str, object], unchanged: Sequence[str]) -> None:
    """Insert a row, or update the row with its key, except for the columns in ``unchanged``."""
    with database.begin() as connection:
        _upsert(connection, table, row, unchanged)


def _upsert(connection: sa.Connection, table: sa.Table, row: Mapping[str, object], unchanged: Sequence[str]) -> None:
    key = [column.name for column in table.primary_key]
    statement = insert(connection, table).values(**row)
    changed = {name: statement.excluded[name] for name in row if name not in {*key, *unchanged}}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))


def micros_or_none(moment: datetime | None) -> int | None:
    """Return microseconds since the epoch, or None for None."""
    return None if moment is None else to_micros(moment)


def as_record(row: sa.Row[*tuple[Any, ...]]) -> dict[str, Any]:
    """Return a row as a dict with aware datetimes and parsed JSON."""
    record: dict[str, Any] = {}
    for name, value in row._mapping.items():
        if name in _TIMES and value is not None:
            value = from_micros(value)
        elif name in ("body", "outcome") and value is not None:
            value = json.loads(value)
        record[name] = value
    return record


def as_json(body: Mapping[str, Any]) -> str:
    """Return JSON; ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(body, allow_nan=False)


class CountsTable:
    """Counts by model, version, grid and hour. They stay when the rows expire."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, model: str, version: int, hour: datetime, grid_id: str, n: int, payload: bytes, *, revision: int = 0
    ) -> None:
        """Store the counts of an hour in place of earlier ones.

        revision: of the hour when its rows were read, as `PredictionLog.dirty_hours` returned it. Counts of an older
        revision than the stored ones are ignored, so that a slow process cannot undo newer counts.
        """
        self.put_hours(model, version, grid_id, [(hour, n, payload, revision)])

    def put_hours(
        self, model: str, version: int, grid_id: str, hourly: Sequence[tuple[datetime, int, bytes, int]]
    ) -> None:
        """Store the counts of many hours, each (hour, n, payload, revision) as in `put`, in one transaction."""
        if not hourly:
            return
        rows = [
            {
                "model": model,
                "version": version,
                "grid_id": grid_id,
                "hour": hour_micros(hour),
                "n": n,
                "payload": payload,
                "revision": revision,
            }
            for hour, n, payload, revision in hourly
        ]
        with self._database.begin() as connection:
            statement = insert(connection, counts)
            changed = {name: statement.excluded[name] for name in ("n", "payload", "revision")}
            key = [column.name for column in counts.primary_key]
            newer = statement.excluded.revision >= counts.c.revision
            connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed, where=newer), rows)

    def get(
        self, model: str, version: int, grid_id: str, start: datetime, end: datetime
    ) -> list[tuple[datetime, bytes]]:
        """Return (hour, payload) of the hours with start ≤ hour < end, in order."""
        query = sa.select(counts.c.hour, counts.c.payload).where(
            counts.c.model == model,
            counts.c.version == version,
            counts.c.grid_id == grid_id,
            counts.c.hour >= to_micros(start),
            counts.c.hour < to_micros(end),
        )
        with self._database.connect() as connection:
            rows = connection.execute(query.order_by(counts.c.hour)).all()
        return [(from_micros(hour), bytes(payload)) for hour, payload in rows]


def _put_drift(connection: sa.Connection, report: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Store the measures of a drift report in place of those of the one with its id."""
    columns = drift_tables.drift_columns
    _upsert(connection, drift_tables.drift_windows, drift_tables.window_row(report, body), unchanged=())
    connection.execute(sa.delete(columns).where(columns.c.report_id == report["report_id"]))
    if rows := drift_tables.column_rows(report["report_id"], body):
        connection.execute(sa.insert(columns), rows)


@dataclass(frozen=True)
class ReportKey:
    """Which report there is, without its body."""

    report_id: str
    version: int | None
    start: datetime
    end: datetime
    status: str
    created_at: datetime


class Reports:
    """The reports of checks, comparisons, probations and experiments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        report_id: str,
        model: str,
        version: int | None,
        kind: str,
        window_start: datetime | None,
        window_end: datetime | None,
        status: str,
        body: Mapping[str, Any],
        created_at: datetime,
    ) -> None:
        """Store a report in place of the one with its id. ``created_at`` stays that of the first."""
        row: dict[str, Any] = {
            "report_id": report_id,
            "model": model,
            "version": version,
            "kind": kind,
            "window_start": micros_or_none(window_start),
            "window_end": micros_or_none(window_end),
            "status": status,
            "body": as_json(body),
            "created_at": to_micros(created_at),
        }
        with self._database.begin() as connection:
            _upsert(connection, reports, row, unchanged=["created_at"])
            if kind in drift_tables.KINDS:
                _put_drift(connection, row, body)

    def get(self, report_id: str) -> dict[str, Any] | None:
        """Return a report with parsed body and aware datetimes, or None."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(reports).where(reports.c.report_id == report_id)).one_or_none()
        return None if row is None else as_record(row)

    def keys(
        self,
        model: str,
        kinds: Collection[str],
        *,
        version: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[ReportKey]:
        """Return which windows of a model have a report of these kinds, the latest end first, without the bodies.

        since, until: only windows with since ≤ end ≤ until. The newest report of an end is the first of them.
        """
        r = reports.c
        query = sa.select(r.report_id, r.version, r.window_start, r.window_end, r.status, r.created_at)
        query = query.where(r.model == model, r.kind.in_(kinds), r.window_end.is_not(None), r.window_start.is_not(None))
        if version is not None:
            query = query.where(r.version == version)
        if since is not None:
            query = query.where(r.window_end >= to_micros(since))
        if until is not None:
            query = query.where(r.window_end <= to_micros(until))
        query = query.order_by(r.window_end.desc(), r.created_at.desc(), r.report_id).limit(limit)
        with self._database.connect() as connection:
            rows = connection.execute(query).all()
        return [
            ReportKey(identity, number, from_micros(start), from_micros(end), status, from_micros(created))
            for identity, number, start, end, status, created in rows
        ]

    def bodies(self, report_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the bodies of some reports by their ids; an id without a report is in none."""
        query = sa.select(reports.c.report_id, reports.c.body).where(reports.c.report_id.in_(report_ids))
        with self._database.connect() as connection:
            return {identity: json.loads(body) for identity, body in connection.execute(query)}

    def list(
        self,
        model: str,
        kind: str | None = None,
        limit: int | None = 50,
        *,
        version: int | None = None,
        statuses: Collection[str] = (),
        overlapping: tuple[datetime, datetime] | None = None,
    ) -> Sequence[dict[str, Any]]:
        """Return the latest reports of a model, newest first.

        kind, version, statuses: only reports that have one of these; the limit is applied after that.
        overlapping: only reports whose window shares some time with start..end.
        """
        query = sa.select(reports).where(reports.c.model == model)
        for column, wanted in ((reports.c.kind, kind), (reports.c.version, version)):
            if wanted is not None:
                query = query.where(column == wanted)
        if statuses:
            query = query.where(reports.c.status.in_(statuses))
        if overlapping is not None:
            start, end = map(to_micros, overlapping)
            query = query.where(reports.c.window_start < end, reports.c.window_end > start)
        query = query.order_by(reports.c.created_at.desc(), reports.c.report_id.desc()).limit(limit)
        with self._database.connect() as connection:
            return [as_record(row) for row in connection.execute(query)]


class Decisions:
    """Decisions with their sentence, body and outcome."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        decision_id: str,
        model: str,
        version: int | None,
        window_start: datetime | None,
        window_end: datetime | None,
        action: str,
        sentence: str,
        body: Mapping[str, Any],
        run_id: str | None,
        created_at: datetime,
    ) -> None:
        """Store a decision in place of the one with its id. ``created_at`` of the first and any outcome stay."""
        row = {
            "decision_id": decision_id,
            "model": model,
            "version": version,
            "window_start": micros_or_none(window_start),
            "window_end": micros_or_none(window_end),
            "action": action,
            "sentence": sentence,
            "body": as_json(body),
            "run_id": run_id,
            "created_at": to_micros(created_at),
        }
        upsert(self._database, decisions, row, unchanged=["created_at"])

    def set_outcome(self, decision_id: str, outcome: Mapping[str, Any]) -> None:
        """Store the outcome of a decision; LookupError if there is no such decision."""
        statement = sa.update(decisions).where(decisions.c.decision_id == decision_id)
        with self._database.begin() as connection:
            if connection.execute(statement.values(outcome=as_json(outcome))).rowcount == 0:
                raise LookupError(f"no decision has the id {decision_id!r}")

    def get(self, decision_id: str) -> dict[str, Any] | None:
        """Return a decision with parsed body and outcome and aware datetimes, or None."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(decisions).where(decisions.c.decision_id == decision_id)).one_or_none()
        return None if row is None else as_record(row)

    def latest(self, model: str, action: str | None = None) -> dict[str, Any] | None:
        """Return the newest decision of a model, of one action if given, or None."""
        return next(iter(self.list(model, action, limit=1)), None)

    def last_window_end(
        self, model: str, action: str, *, until: datetime, without: Collection[str] = ()
    ) -> datetime | None:
        """Return the latest end, at most ``until``, of a window that led to an action; None if there was none.

        The order is that of the data, not that in which decisions were made: a backfill decides on old windows late.

        without: the ids of decisions to leave out.
        """
        query = sa.select(sa.func.max(decisions.c.window_end)).where(
            decisions.c.model == model, decisions.c.action == action, decisions.c.window_end <= to_micros(until)
        )
        if without:
            query = query.where(decisions.c.decision_id.not_in(without))
        with self._database.connect() as connection:
            latest = connection.execute(query).scalar()
        return None if latest is None else from_micros(latest)

    def without_outcome(self, model: str, action: str) -> set[str]:
        """Return the ids of a model's decisions for an action whose outcome was not recorded."""
        query = sa.select(decisions.c.decision_id).where(
            decisions.c.model == model, decisions.c.action == action, decisions.c.outcome.is_(None)
        )
        with self._database.connect() as connection:
            return set(connection.execute(query).scalars())

    def ending(
        self,
        model: str,
        version: int | None,
        action: str,
        *,
        after: datetime,
        until: datetime | None = None,
        other_than: str | None = None,
    ) -> Sequence[dict[str, Any]]:
        """Return the decisions on one version that led to an action, latest window first.

        after, until: only of windows with after < end ≤ until.
        other_than: the id of a decision to leave out.
        """
        query = sa.select(decisions).where(
            decisions.c.model == model,
            decisions.c.action == action,
            decisions.c.version.is_not_distinct_from(version),
            decisions.c.window_end > to_micros(after),
        )
        if until is not None:
            query = query.where(decisions.c.window_end <= to_micros(until))
        if other_than is not None:
            query = query.where(decisions.c.decision_id != other_than)
        query = query.order_by(decisions.c.window_end.desc(), decisions.c.decision_id)
        with self._database.connect() as connection:
            return [as_record(row) for row in connection.execute(query)]

    def notified(
        self,
        model: str,
        version: int | None,
        action: str,
        *,
        after: datetime,
        until: datetime | None = None,
        other_than: str | None = None,
    ) -> Sequence[dict[str, Any]]:
        """Return those decisions of `ending` whose message reached a channel, latest window first."""
        found = self.ending(model, version, action, after=after, until=until, other_than=other_than)
        # Keel 0.1.0 stored the channels as "told"
        return [
            each
            for each in found
            if each["outcome"] and (each["outcome"].get("notified") or each["outcome"].get("told"))
        ]

    def of_run(self, model: str, run_id: str, *, kind: str = "decision") -> dict[str, Any] | None:
        """Return the newest decision that a run made on a model; None if it has made none.

        kind: what its id begins with; by default the decisions of checks. Scheduled runs of two DAGs share an id.
        """
        query = sa.select(decisions).where(
            decisions.c.model == model,
            decisions.c.run_id == run_id,
            decisions.c.decision_id.startswith(f"{kind}-", autoescape=True),
        )
        query = query.order_by(decisions.c.created_at.desc(), decisions.c.decision_id.desc()).limit(1)
        with self._database.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else as_record(row)

    def last_check(self, model: str) -> datetime | None:
        """Return when the last decision of a check of a model was first stored; None without one."""
        mine = sa.and_(decisions.c.model == model, decisions.c.decision_id.startswith("decision-", autoescape=True))
        query = sa.select(decisions.c.created_at).where(mine).order_by(decisions.c.created_at.desc()).limit(1)
        with self._database.connect() as connection:
            latest = connection.execute(query).scalar()
        return None if latest is None else from_micros(latest)

    def list(self, model: str, action: str | None = None, limit: int = 50) -> Sequence[dict[str, Any]]:
        """Return the latest decisions of a model, newest first."""
        query = sa.select(decisions).where(decisions.c.model == model)
        if action is not None:
            query = query.where(decisions.c.action == action)
        query = query.order_by(decisions.c.created_at.desc(), decisions.c.decision_id.desc()).limit(limit)
        with self._database.connect() as connection:
            return [as_record(row) for row in connection.execute(query)]
