"""The outbox: messages, to whom each goes by which channel, and every try to send it.

A message and its deliveries are written in the transaction of what they are about. Whoever sends leases one delivery
after another. A lease runs out, so that what a killed sender had in its hands is sent by the next.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.alert_tables import alerts, deliveries, delivery_tries, messages
from keel.store.database.times import from_micros, to_micros
from keel.store.records import as_json, insert

if TYPE_CHECKING:
    from keel.store.database.connections import Database

Row = dict[str, Any]
Rows = list[Row]
_TIMES = frozenset({"next_try_at", "leased_until", "created_at", "finished_at", "at"})
_JSON = frozenset({"tells", "reference"})
PENDING = "pending"


def put_message(connection: sa.Connection, message: Mapping[str, Any], *, now: datetime) -> None:
    """Store a message, with the fields of `keel.alerts.records.Message`; one that is stored already stays as it is."""
    values = {"message_id": message["message_id"], "model": message["model"], "severity": str(message["severity"])}
    values |= {"body": as_json(message), "created_at": to_micros(now)}
    connection.execute(insert(connection, messages).values(**values).on_conflict_do_nothing())


def put_delivery(
    connection: sa.Connection, row: Mapping[str, Any], *, references: Collection[str], waits: bool
) -> None:
    """Store a delivery, with the fields of `keel.alerts.records.Delivery`; each recipient of a message has one.

    references: the messages that this one answers to. Those of them that are on their way to its recipient are tried
    once more before it. waits: whether it waits until they are finished.
    """
    d, values = deliveries.c, _written(row)
    to = (d.message_id.in_(list(references)), d.channel == row["channel"], d.recipient == row["recipient"])
    query = sa.select(d.delivery_id).where(*to, d.state == PENDING).order_by(d.created_at, d.delivery_id)
    before = list(connection.execute(query).scalars())
    later = sa.and_(d.delivery_id.in_(before), d.leased_until.is_(None), d.next_try_at > values["next_try_at"])
    connection.execute(sa.update(deliveries).where(later).values(next_try_at=values["next_try_at"]))
    values |= {"follows": " ".join(before) if waits and before else None}
    connection.execute(insert(connection, deliveries).values(**values).on_conflict_do_nothing())


def deliveries_of(connection: sa.Connection, message_ids: Collection[str]) -> Rows:
    """Return the deliveries of messages, by channel and recipient."""
    d = deliveries.c
    query = sa.select(deliveries).where(d.message_id.in_(list(message_ids)))
    return _rows(connection, query.order_by(d.created_at, d.channel, d.recipient, d.delivery_id))


class OutboxTable:
    """Messages and deliveries of all models."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def message(self, message_id: str) -> Row | None:
        """Return a message as it was stored; None where none has the id."""
        with self._database.connect() as connection:
            body = connection.execute(sa.select(messages.c.body).where(messages.c.message_id == message_id)).scalar()
        return None if body is None else dict(json.loads(body))

    def messages(
        self, model: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> Rows:
        """Return the messages written at since ≤ time < until, in order, as they were stored."""
        m = messages.c
        query = sa.select(m.body).order_by(m.created_at, m.message_id)
        query = query if model is None else query.where(m.model == model)
        query = query if since is None else query.where(m.created_at >= to_micros(since))
        query = query if until is None else query.where(m.created_at < to_micros(until))
        with self._database.connect() as connection:
            return [dict(json.loads(body)) for body in connection.execute(query).scalars()]

    def deliveries(
        self,
        *,
        message_ids: Collection[str] | None = None,
        state: str | None = None,
        channel: str | None = None,
        recipient: str | None = None,
        limit: int | None = None,
    ) -> Rows:
        """Return deliveries, the oldest first."""
        d = deliveries.c
        query = sa.select(deliveries).order_by(d.created_at, d.channel, d.recipient, d.delivery_id).limit(limit)
        if message_ids is not None:
            query = query.where(d.message_id.in_(list(message_ids)))
        for column, wanted in ((d.state, state), (d.channel, channel), (d.recipient, recipient)):
            query = query if wanted is None else query.where(column == wanted)
        with self._database.connect() as connection:
            return _rows(connection, query)

    def tries(self, delivery_id: str) -> Rows:
        """Return every try of a delivery, in order."""
        mine = delivery_tries.c.delivery_id == delivery_id
        with self._database.connect() as connection:
            return _rows(connection, sa.select(delivery_tries).where(mine).order_by(delivery_tries.c.number))

    def undelivered(self, *, before: datetime | None = None) -> dict[str, int]:
        """Return the number of pending deliveries by channel. before: only of those written before a time."""
        d = deliveries.c
        query = sa.select(d.channel, sa.func.count()).where(d.state == PENDING).group_by(d.channel)
        query = query if before is None else query.where(d.created_at < to_micros(before))
        with self._database.connect() as connection:
            return {channel: int(number) for channel, number in connection.execute(query).all()}

    def accepted_since(self, channel: str, since: datetime | None, *, recipient: str | None = None) -> bool:
        """Return whether a channel's receiver has accepted a message at a time or later; None: at any time.

        A mail that was written into a file for want of a server is no such message. recipient: only of messages to it.
        """
        d = deliveries.c
        is_file = sa.func.coalesce(d.reference, "").like('{"file":%')
        mine = sa.and_(d.channel == channel, d.state == "sent", ~is_file)
        mine = mine if since is None else sa.and_(mine, d.finished_at >= to_micros(since))
        mine = mine if recipient is None else sa.and_(mine, d.recipient == recipient)
        with self._database.connect() as connection:
            return connection.execute(sa.select(d.delivery_id).where(mine).limit(1)).scalar() is not None

    def lease(
        self, lease: str, *, now: datetime, until: datetime, message_id: str | None = None, channel: str | None = None
    ) -> Row | None:
        """Take the delivery that is due the longest, for as long as nobody else is to send it. None: none is due.

        lease: a name of the sender's own. One whose sender is killed is due when the lease ends, behind what was due
        before: should it be what kills senders, it is last.

        A delivery waits until those that it follows are finished.
        """
        d, first = deliveries.c, deliveries.alias().c
        is_free = sa.or_(d.leased_until.is_(None), d.leased_until <= to_micros(now))
        waits = sa.exists().where(d.follows.contains(first.delivery_id), first.state == PENDING)
        is_due = d.next_try_at <= to_micros(now)
        query = sa.select(deliveries).where(d.state == PENDING, is_due, is_free, ~waits)
        for column, wanted in ((d.message_id, message_id), (d.channel, channel)):
            query = query if wanted is None else query.where(column == wanted)
        query = query.order_by(d.next_try_at, d.created_at, d.delivery_id).limit(1)
        with self._database.begin() as connection:
            found = _rows(connection, query.with_for_update(skip_locked=True, of=deliveries))
            if not found:
                return None
            mine = d.delivery_id == found[0]["delivery_id"]
            connection.execute(
                sa.update(deliveries)
                .where(mine)
                .values(lease=lease, leased_until=to_micros(until), next_try_at=to_micros(until))
            )
        return found[0]

    def finish_try(self, delivery: Mapping[str, Any], attempt: Mapping[str, Any]) -> None:
        """Record a try, and what a delivery is after it; its lease ends.

        delivery: the fields of `keel.alerts.records.Delivery`. attempt: at, accepted, answer, milliseconds.

        Tries of two senders, of which one held its lease too long, are both recorded. What was sent stays sent.
        """
        mine = deliveries.c.delivery_id == delivery["delivery_id"]
        number = sa.func.coalesce(sa.func.max(delivery_tries.c.number), 0) + 1
        with self._database.begin() as connection:
            before = _rows(connection, sa.select(deliveries).where(mine).with_for_update())
            if not before:
                return
            query = sa.select(number).where(delivery_tries.c.delivery_id == delivery["delivery_id"])
            tries = connection.execute(query).scalar_one()
            values = {"delivery_id": delivery["delivery_id"], "number": tries, **_micros(attempt)}
            connection.execute(sa.insert(delivery_tries).values(**values))
            written = _written(delivery) | {"tries": tries, "lease": None, "leased_until": None}
            is_done = before[0]["state"] == "sent" and delivery["state"] != "sent"
            changed = {"tries": tries} if is_done else written
            connection.execute(sa.update(deliveries).where(mine).values(**changed))

    def retry(self, delivery_id: str, *, now: datetime) -> bool:
        """Let a delivery that was not sent be due at once. False if there is none, or it was sent."""
        mine = sa.and_(deliveries.c.delivery_id == delivery_id, deliveries.c.state != "sent")
        due = {"state": PENDING, "next_try_at": to_micros(now), "finished_at": None}
        with self._database.begin() as connection:
            return bool(connection.execute(sa.update(deliveries).where(mine).values(**due)).rowcount)

    def expire(self, model: str, before: datetime) -> int:
        """Delete the messages of a model written before a time, with their deliveries and tries. Returns how many.

        Those are kept that are still on their way, and those that told of an alert which is not over.
        """
        m, d = messages.c, deliveries.c
        on_the_way = sa.exists().where(d.message_id == m.message_id, d.state == PENDING)
        in_use = sa.exists().where(alerts.c.message_id == m.message_id, alerts.c.resolved_at.is_(None))
        old = sa.and_(m.model == model, m.created_at < to_micros(before), ~on_the_way, ~in_use)
        with self._database.begin() as connection:
            ids = list(connection.execute(sa.select(m.message_id).where(old)).scalars())
            mine = sa.select(d.delivery_id).where(d.message_id.in_(ids))
            connection.execute(sa.delete(delivery_tries).where(delivery_tries.c.delivery_id.in_(mine)))
            connection.execute(sa.delete(deliveries).where(d.message_id.in_(ids)))
            connection.execute(sa.delete(messages).where(m.message_id.in_(ids)))
        return len(ids)


def _rows(connection: sa.Connection, query: sa.Select[Any]) -> Rows:
    return [_read_row(row._mapping) for row in connection.execute(query)]


def _read_row(row: Mapping[Any, Any]) -> Row:
    return {str(name): _read_value(str(name), value) for name, value in row.items()}


def _read_value(name: str, value: Any) -> Any:
    if value is None:
        return None
    return from_micros(value) if name in _TIMES else json.loads(value) if name in _JSON else value


def _written(row: Mapping[str, Any]) -> Row:
    values = _micros({column.name: row[column.name] for column in deliveries.c if column.name in row})
    return {name: as_json(value) if name in _JSON and value is not None else value for name, value in values.items()}


def _micros(values: Mapping[str, Any]) -> Row:
    return {name: _time(value) if name in _TIMES and value is not None else value for name, value in values.items()}


def _time(moment: datetime | str) -> int:
    return to_micros(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
