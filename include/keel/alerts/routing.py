"""To whom a message goes: one delivery for each recipient of each way that takes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import Change, Delivery, Message, News
from keel.monitoring.storage import derived_id
from keel.store import outbox

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.config import ModelConfig, RouteConfig, Severity

OUTBOX = "outbox"
"""The channel where nobody is configured: such a message becomes a file in the outbox."""
Recipient = tuple[str, str]
"""Channel and recipient."""


@dataclass(frozen=True)
class Posted:
    """What became of an observation, or of a digest.

    message_id: of the message about it; None where it has none: nothing is new, or what is new waits for a digest.
    deliveries: those of that message. news: what the message tells. repeated: whether it was applied before.
    digest_id: of a digest that was due in the data's time and was written with it.
    """

    message_id: str | None = None
    deliveries: tuple[Delivery, ...] = ()
    news: tuple[News, ...] = ()
    repeated: bool = False
    digest_id: str | None = None


def recipients(configs: Iterable[ModelConfig], news: Collection[News], severity: Severity | None) -> list[Recipient]:
    """Return who is to get a message about some news, each once, in the order of the configurations.

    A way takes a message for one change that it takes: by its kind, and by its severity, which is the worse of what
    people know of the alert and what it is now. So who was told of an error is told that it is over, too.

    severity: of the message, which decides where there is no news; None takes nobody then.
    """
    routes = [route for config in configs for route in config.alerts.all_routes()]
    if not routes:
        return [(OUTBOX, "")]
    taken = [route for route in routes if _takes(route, news, severity)]
    return list(dict.fromkeys((route.channel, name) for route in taken for name in route.to))


def put(
    connection: sa.Connection,
    message: Message,
    to: Sequence[Recipient],
    *,
    now: datetime,
    after: Sequence[str] | None = None,
) -> tuple[Delivery, ...]:
    """Write a message and its deliveries into the outbox, in the caller's transaction. Returns the deliveries.

    after: ids of messages that have to arrive at the same recipient before; by default those that it answers to. What
    is new does not wait for one of them that does not get through. What is over does, and what is told with it: an
    incident of a channel that began after its end would never end.
    """
    sent = tuple(new_delivery(message, channel, recipient, now) for channel, recipient in to)
    references = message.references if after is None else after
    outbox.put_message(connection, message.to_dict(), now=now)
    rows = [each.to_dict() for each in sent]
    outbox.put_deliveries(connection, rows, references=references, in_order=_ends_something(message))
    return sent


def _ends_something(message: Message) -> bool:
    return any(each.change in (Change.RESOLVED, Change.ACKNOWLEDGED) for each in message.alerts)


def _takes(route: RouteConfig, news: Collection[News], severity: Severity | None) -> bool:
    if not news:
        return severity is not None and not route.kinds and severity.level >= route.severity.level
    return any(
        (not route.kinds or each.alert.kind in route.kinds) and _level(each) >= route.severity.level for each in news
    )


def _level(news: News) -> int:
    known = news.alert.told_severity
    return max(news.alert.severity.level, known.level if known else 0)


def new_delivery(message: Message, channel: str, recipient: str, now: datetime) -> Delivery:
    """Return a message on its way to a recipient."""
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
