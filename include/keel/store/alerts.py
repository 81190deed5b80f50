"""The alerts of all models: their life, what has been applied of it, and what waits for a digest.

Rows are dicts with the fields of `keel.alerts.records`: of ``Alert``, ``AlertEvent`` and ``Observation``. Times go in
as datetimes or as ISO text, and come out as datetimes. Whatever changes rows takes the connection of the caller's
transaction, because a change and the message about it are written together; `lock` comes first in it.
"""

from __future__ import annotations

import builtins
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.alert_tables import alert_events, alerts, digest_entries, messages, observations
from keel.store.database.times import from_micros, to_micros
from keel.store.records import as_json, insert

if TYPE_CHECKING:
    from keel.store.database.connections import Database

Row = dict[str, Any]
Rows = list[Row]
_TIMES = frozenset(
    {"first_seen", "last_seen", "cleared_at", "fired_at", "resolved_at", "told_at", "updated_at", "at", "recorded_at"}
)
_JSON = frozenset({"evidence", "body", "kinds"})
_LOCK = 4_102_444_801
"""Of PostgreSQL's advisory locks, the one for alerts. SQLite allows one writer at a time anyway."""


def lock(connection: sa.Connection) -> None:
    """Let this transaction be the only one that changes alerts and messages, until it ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def open_alerts(connection: sa.Connection, model: str | None) -> Rows:
    """Return the alerts of a model that are not over, by the time they were first seen. model: None: of every model."""
    query = sa.select(alerts).where(alerts.c.resolved_at.is_(None))
    return _rows(connection, _ordered(query if model is None else query.where(alerts.c.model == model)))


def alerts_by_id(connection: sa.Connection, alert_ids: Collection[str]) -> dict[str, Row]:
    """Return alerts by their ids; an unknown id is in none."""
    found = _rows(connection, sa.select(alerts).where(alerts.c.alert_id.in_(list(alert_ids))))
    return {row["alert_id"]: row for row in found}


def put_alerts(connection: sa.Connection, rows: Iterable[Mapping[str, Any]], *, now: datetime) -> None:
    """Store alerts, each in place of the row with its id. Of a fingerprint at most one is open.

    The rows that are over are written first: what ends and begins again in one transaction is not open twice.
    """
    values = [{**_written(row, alerts), "updated_at": to_micros(now)} for row in rows]
    over = [row for row in values if row["resolved_at"] is not None]
    for part in (over, [row for row in values if row["resolved_at"] is None]):
        if part:
            statement = insert(connection, alerts)
            changed = {name: statement.excluded[name] for name in part[0] if name != "alert_id"}
            connection.execute(statement.on_conflict_do_update(index_elements=["alert_id"], set_=changed), part)


def events_of(connection: sa.Connection, alert_id: str) -> Rows:
    """Return what happened to an alert, in order."""
    mine = alert_events.c.alert_id == alert_id
    return _rows(connection, sa.select(alert_events).where(mine).order_by(alert_events.c.seq))


def told_in(connection: sa.Connection, alert_ids: Collection[str]) -> list[str]:
    """Return the messages that told of alerts, in the order of telling."""
    return _told(connection, alert_events.c.alert_id.in_(list(alert_ids)))


def delete_alerts(connection: sa.Connection, alert_ids: Collection[str]) -> None:
    """Delete alerts with their events: those of which nobody was told, and that left no trace."""
    for table in (alert_events, alerts):
        connection.execute(sa.delete(table).where(table.c.alert_id.in_(list(alert_ids))))


def add_events(connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append what happened to alerts."""
    values = [_written(row, alert_events) for row in rows]
    if values:
        connection.execute(sa.insert(alert_events), values)


def observation(connection: sa.Connection, observation_id: str) -> Row | None:
    """Return an observation that was recorded, with its ``message_id``; None if it was not."""
    found = _rows(connection, sa.select(observations).where(observations.c.observation_id == observation_id))
    return found[0] if found else None


def latest_observation(connection: sa.Connection, model: str, source: str, *, until: datetime) -> datetime | None:
    """Return the time of the newest observation of a source about a model, not after a time; None before the first."""
    mine = sa.and_(
        observations.c.model == model, observations.c.source == source, observations.c.at <= to_micros(until)
    )
    latest = connection.execute(sa.select(sa.func.max(observations.c.at)).where(mine)).scalar()
    return None if latest is None else from_micros(latest)


def kinds_since(connection: sa.Connection, model: str, source: str, *, after: datetime, until: datetime) -> set[str]:
    """Return the kinds that observations of a source about a model, later than ``after`` and not than ``until``, found
    something of or were able to judge.
    """
    times = observations.c.at > to_micros(after), observations.c.at <= to_micros(until)
    mine = sa.and_(observations.c.model == model, observations.c.source == source, *times)
    rows = connection.execute(sa.select(observations.c.kinds).where(mine)).scalars()
    return {kind for row in rows for kind in json.loads(row)}


def add_observation(connection: sa.Connection, row: Mapping[str, Any], message_id: str | None, now: datetime) -> None:
    """Record that an observation was applied, or was too old to be, and the message about it.

    row: also has ``kinds``, a list of those that it found something of or was able to judge.
    """
    values = _written(row, observations) | {"message_id": message_id, "recorded_at": to_micros(now)}
    connection.execute(sa.insert(observations).values(**values))


def add_entry(
    connection: sa.Connection,
    entry_id: str,
    *,
    model: str,
    alert_id: str,
    at: datetime,
    body: Mapping[str, Any],
    now: datetime,
) -> None:
    """Let a change of an alert wait for the next digest. The same entry waits once."""
    values = {"entry_id": entry_id, "model": model, "alert_id": alert_id, "at": to_micros(at)}
    values |= {"recorded_at": to_micros(now), "body": as_json(body)}
    connection.execute(insert(connection, digest_entries).values(**values).on_conflict_do_nothing())


def waiting_entries(connection: sa.Connection, model: str) -> Rows:
    """Return what waits for the next digest of a model, in the order of its times."""
    mine = sa.and_(digest_entries.c.model == model, digest_entries.c.message_id.is_(None))
    order = digest_entries.c.at, digest_entries.c.recorded_at, digest_entries.c.entry_id
    return _rows(connection, sa.select(digest_entries).where(mine).order_by(*order))


def close_entries(connection: sa.Connection, alert_ids: Collection[str], message_id: str) -> None:
    """Note in which message the waiting changes of alerts were told; ``""`` for those that nobody needs to know."""
    mine = sa.and_(digest_entries.c.alert_id.in_(list(alert_ids)), digest_entries.c.message_id.is_(None))
    connection.execute(sa.update(digest_entries).where(mine).values(message_id=message_id))


class AlertsTable:
    """Reads alerts. Nothing here changes a row, but `expire`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self,
        model: str | None = None,
        *,
        is_open: bool | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Rows:
        """Return alerts, the one first seen last first. since: only those that were open at that time or later."""
        query = sa.select(alerts)
        if model is not None:
            query = query.where(alerts.c.model == model)
        if is_open is not None:
            query = query.where(alerts.c.resolved_at.is_(None) if is_open else alerts.c.resolved_at.is_not(None))
        if since is not None:
            query = query.where(sa.or_(alerts.c.resolved_at.is_(None), alerts.c.resolved_at >= to_micros(since)))
        return self._read(query.order_by(alerts.c.first_seen.desc(), alerts.c.alert_id).limit(limit))

    def models(self) -> set[str]:
        """Return every model of which there are alerts, observations or messages."""
        kept = sa.union(*(sa.select(table.c.model) for table in (alerts, observations, messages)))
        with self._database.connect() as connection:
            return set(connection.execute(kept).scalars())

    def observed_since(self, moment: datetime) -> set[str]:
        """Return every model of which an observation was recorded at a time or later, by the clock."""
        recent = sa.select(observations.c.model).where(observations.c.recorded_at >= to_micros(moment)).distinct()
        with self._database.connect() as connection:
            return set(connection.execute(recent).scalars())

    def get(self, alert_id: str) -> Row | None:
        """Return an alert; None where no alert has the id."""
        found = self._read(sa.select(alerts).where(alerts.c.alert_id == alert_id))
        return found[0] if found else None

    def find(self, beginning: str) -> Rows:
        """Return the alerts whose id begins so."""
        return self._read(_ordered(sa.select(alerts).where(alerts.c.alert_id.startswith(beginning, autoescape=True))))

    def events(self, alert_id: str) -> Rows:
        """Return what happened to an alert, in order."""
        with self._database.connect() as connection:
            return events_of(connection, alert_id)

    def threads(self, message_ids: Collection[str]) -> builtins.list[str]:
        """Return the messages that told of the alerts of which one of these told first, in the order of telling."""
        first = sa.select(alerts.c.alert_id).where(alerts.c.message_id.in_(list(message_ids)))
        with self._database.connect() as connection:
            return _told(connection, alert_events.c.alert_id.in_(first))

    def looks(self, source: str, *, since: datetime, until: datetime) -> dict[str, int]:
        """Return the number of times of which a source saw something at since < time < until, by model.

        A window that was looked at again counts once.
        """
        o = observations.c
        inside = sa.and_(o.source == source, o.at > to_micros(since), o.at < to_micros(until))
        query = sa.select(o.model, sa.func.count(o.at.distinct())).where(inside).group_by(o.model)
        with self._database.connect() as connection:
            return {model: int(number) for model, number in connection.execute(query)}

    def observation(self, observation_id: str) -> Row | None:
        """Return an observation that was recorded, with its ``message_id``; None if it was not."""
        with self._database.connect() as connection:
            return observation(connection, observation_id)

    def waiting(self, model: str) -> Rows:
        """Return what waits for the next digest of a model, in the order of its times."""
        with self._database.connect() as connection:
            return waiting_entries(connection, model)

    def open_by_severity(self) -> dict[tuple[str, str], int]:
        """Return the number of alerts that have fired and are not over, by model and severity."""
        key = alerts.c.model, alerts.c.severity
        fired = sa.and_(alerts.c.resolved_at.is_(None), alerts.c.state != "pending")
        with self._database.connect() as connection:
            found = connection.execute(sa.select(*key, sa.func.count()).where(fired).group_by(*key)).all()
        return {(model, severity): int(number) for model, severity, number in found}

    def open_channels(self) -> dict[str, int]:
        """Return the number of alerts about channels that are not over, by channel."""
        about_channels = sa.and_(alerts.c.resolved_at.is_(None), alerts.c.kind == "channel")
        with self._database.connect() as connection:
            subjects = connection.execute(sa.select(alerts.c.subject).where(about_channels)).scalars()
            return dict(Counter(subject.partition(":")[0] for subject in subjects))

    def expire(self, model: str, before: datetime) -> int:
        """Delete the alerts of a model that were over before a time, with their events. Returns how many.

        Observations and digest entries recorded before it are deleted too, but for the newest observation of each
        source: a still older one is not applied.
        """
        horizon = to_micros(before)
        over = sa.and_(alerts.c.model == model, alerts.c.resolved_at < horizon, alerts.c.updated_at < horizon)
        mine = sa.and_(observations.c.model == model, observations.c.recorded_at < horizon)
        newest = sa.select(sa.func.max(observations.c.at)).where(observations.c.model == model)
        newest = newest.group_by(observations.c.source)
        old = sa.and_(digest_entries.c.model == model, digest_entries.c.recorded_at < horizon)
        with self._database.begin() as connection:
            ids = sa.select(alerts.c.alert_id).where(over)
            connection.execute(sa.delete(alert_events).where(alert_events.c.alert_id.in_(ids)))
            deleted = connection.execute(sa.delete(alerts).where(over)).rowcount
            connection.execute(sa.delete(observations).where(mine, observations.c.at.not_in(newest)))
            connection.execute(sa.delete(digest_entries).where(old))
        return deleted

    def _read(self, query: sa.Select[Any]) -> Rows:
        with self._database.connect() as connection:
            return _rows(connection, query)


def _told(connection: sa.Connection, mine: sa.ColumnElement[bool]) -> list[str]:
    query = sa.select(alert_events.c.detail).where(alert_events.c.event == "told", mine).order_by(alert_events.c.seq)
    return [each for each in dict.fromkeys(connection.execute(query).scalars()) if each]


def _ordered(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.order_by(alerts.c.first_seen, alerts.c.alert_id)


def _rows(connection: sa.Connection, query: sa.Select[Any]) -> Rows:
    return [_read_row(row._mapping) for row in connection.execute(query)]


def _read_row(row: Mapping[Any, Any]) -> Row:
    return {str(name): _read_value(str(name), value) for name, value in row.items()}


def _read_value(name: str, value: Any) -> Any:
    if value is None:
        return None
    return from_micros(value) if name in _TIMES else json.loads(value) if name in _JSON else value


def _written(row: Mapping[str, Any], table: sa.Table) -> Row:
    return {column.name: _write_value(column.name, row[column.name]) for column in table.c if column.name in row}


def _write_value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return to_micros(datetime.fromisoformat(value) if isinstance(value, str) else value)
    return as_json(value) if name in _JSON else value
