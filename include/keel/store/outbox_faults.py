"""Verify that alerts, what waits for a digest, messages, deliveries and tries belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.alert_tables import alert_events, alerts, deliveries, delivery_tries, digest_entries, messages

if TYPE_CHECKING:
    from keel.store.database.connections import Database

Query = sa.Select[*tuple[Any, ...]]


def find_faults(database: Database, *, most: int) -> Iterator[str]:
    """Yield a sentence for each fault, and how many more than ``most`` there are of a kind.

    Each query is one statement, so that concurrent writes are no fault.
    """
    for sentence, query in {**_of_alerts(), **_of_deliveries()}.items():
        with database.connect() as connection:
            found = connection.execute(query).all()
        for model, name in found[:most]:
            yield f"{model or 'all models'}: {sentence.format(name)}: was the store changed outside Keel?"
        if len(found) > most:
            yield f"{sentence.format('…')}: {len(found) - most:,} more have the same fault"


def _of_alerts() -> dict[str, Query]:
    """Return by sentence what selects the model and the id of each fault."""
    a, e, g = alerts.c, alert_events.c, digest_entries.c
    is_open = a.resolved_at.is_(None)
    twice = sa.select(sa.func.min(a.model), a.fingerprint).where(is_open).group_by(a.fingerprint)
    told, missing = messages.c.message_id == a.message_id, "and the message that told of it is missing"
    return {
        "several alerts of the fingerprint {} are open": twice.having(sa.func.count() > 1),
        "the alert {} is open and resolved at once": _where(a.model, a.alert_id, is_open == (a.state == "resolved")),
        "the alert {} has a history, and is missing": _where(sa.literal(""), e.alert_id, _no(a.alert_id == e.alert_id)),
        "the alert {} waits for a digest, and is missing": _where(
            g.model, g.alert_id, g.message_id.is_(None), _no(a.alert_id == g.alert_id)
        ),
        f"the alert {{}} is open, {missing}": _where(
            a.model, a.alert_id, is_open, a.message_id.is_not(None), _no(told)
        ),
    }


def _of_deliveries() -> dict[str, Query]:
    d, t = deliveries.c, delivery_tries.c
    tries = sa.select(sa.func.count()).where(t.delivery_id == d.delivery_id).scalar_subquery()
    is_done = d.state != "pending"
    return {
        "the delivery {} has no message, so it cannot be sent": _where(
            d.model, d.delivery_id, _no(messages.c.message_id == d.message_id)
        ),
        "the delivery {} waits, and for no time, so it will never be sent": _where(
            d.model, d.delivery_id, ~is_done, d.next_try_at.is_(None)
        ),
        "the delivery {} has other tries than it says": _where(
            d.model, d.delivery_id, sa.or_(d.tries != tries, sa.and_(is_done, tries == 0))
        ),
        "the delivery {} has tries, and is missing": _where(
            sa.literal(""), t.delivery_id, _no(d.delivery_id == t.delivery_id)
        ),
    }


def _where(model: sa.ColumnElement[str], name: sa.ColumnElement[str], *where: sa.ColumnElement[bool]) -> Query:
    return sa.select(model, name).where(*where).distinct().order_by(name)


def _no(same: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(same)
