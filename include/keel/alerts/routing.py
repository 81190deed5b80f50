"""To whom a message goes: one delivery for each recipient of each way that takes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import Delivery, Message, News
from keel.monitoring.storage import derived_id
from keel.store import outbox

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.config import ModelConfig, RouteConfig, Severity

OUTBOX = "outbox"
"""The channel where nobody is configured: such a message becomes a file in the outbox."""
Recipient = tuple[str, str]
"""Channel and recipient."""


def recipients(configs: Iterable[ModelConfig], news: Collection[News], severity: Severity) -> list[Recipient]:
    """Return who is to get a message about some news, each once, in the order of the configurations.

    A way takes a message for one change that it takes: by its kind, and by its severity, which is the worse of what
    people know of the alert and what it is now. So who was told of an error is told that it is over, too.

    severity: of the message; it decides where there is no news, as for a sample.
    """
    routes = [route for config in configs for route in config.alerts.all_routes()]
    if not routes:
        return [(OUTBOX, "")]
    taken = [route for route in routes if _takes(route, news, severity)]
    return list(dict.fromkeys((route.channel, name) for route in taken for name in route.to))


def put(connection: sa.Connection, message: Message, to: Sequence[Recipient], *, now: datetime) -> tuple[Delivery, ...]:
    """Write a message and its deliveries into the outbox, in the caller's transaction. Returns the deliveries."""
    sent = tuple(_delivery(message, channel, recipient, now) for channel, recipient in to)
    outbox.put_message(connection, message.to_dict(), now=now)
    outbox.put_deliveries(connection, [each.to_dict() for each in sent], references=message.references)
    return sent


def _takes(route: RouteConfig, news: Collection[News], severity: Severity) -> bool:
    if not news:
        return not route.kinds and severity.level >= route.severity.level
    return any(
        (not route.kinds or each.alert.kind in route.kinds) and _level(each) >= route.severity.level for each in news
    )


def _level(news: News) -> int:
    known = news.alert.told_severity
    return max(news.alert.severity.level, known.level if known else 0)


def _delivery(message: Message, channel: str, recipient: str, now: datetime) -> Delivery:
    return Delivery(
        delivery_id=derived_id("delivery", message.message_id, channel, recipient),
        message_id=message.message_id,
        model=message.model,
        channel=channel,
        recipient=recipient,
        state="pending",
        next_try_at=now,
        created_at=now,
    )
