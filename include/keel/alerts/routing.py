"""To whom a message goes: one delivery for each recipient of each way that takes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import Change, Delivery, Message, News
from keel.monitoring.storage import derived_id
from keel.store import alerts, outbox

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.alerts.records import Alert
    from keel.config import ModelConfig, RouteConfig, Severity

OUTBOX = "outbox"
"""The channel where nobody is configured: such a message becomes a file in the outbox."""
INCIDENT_CHANNELS = ("pagerduty",)
"""Channels that keep an incident of each alert, which goes on calling people until it is over there too."""
Recipient = tuple[str, str]
"""Channel and recipient."""
Recipients = Mapping[Recipient, Collection[str]]
"""To whom a message goes, with the fingerprints of the alerts whose changes each takes."""


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


def recipients(
    configs: Iterable[ModelConfig],
    news: Collection[News],
    severity: Severity | None,
    *,
    before: Mapping[str, Collection[Recipient]] | None = None,
) -> Recipients:
    """Return who is to get a message about some news, in the order of the configurations.

    A way takes a message for one change that it takes: by its kind, and by its severity, which is the worse of what
    people know of the alert and what it is now. Who was sent the beginning of an alert takes its end, too.

    severity: of the message, which decides where there is no news; None takes nobody then.
    before: see `sent_before`.
    """
    routes = [route for config in configs for route in config.alerts.all_routes()]
    if not routes:
        return {(OUTBOX, ""): ()}
    taken: dict[Recipient, list[str]] = {}
    for route in routes:
        for who in ((route.channel, name) for name in route.to):
            mine = [
                each.alert.fingerprint for each in news if _takes(route, each) or _ends_for(who, each, before or {})
            ]
            if mine or (not news and _takes_all(route, severity)):
                taken.setdefault(who, []).extend(mine)
    return {who: tuple(dict.fromkeys(mine)) for who, mine in taken.items()}


def sent_before(connection: sa.Connection, found: Iterable[Alert]) -> dict[str, set[Recipient]]:
    """Return, by fingerprint, who was sent a message that told of an alert."""
    before: dict[str, set[Recipient]] = {}
    for alert in found:
        rows = outbox.deliveries_of(connection, alerts.told_in(connection, [alert.alert_id]))
        about = (row for row in rows if row["tells"] is None or alert.fingerprint in row["tells"])
        before[alert.fingerprint] = {(row["channel"], row["recipient"]) for row in about}
    return before


def put(
    connection: sa.Connection,
    message: Message,
    to: Recipients,
    *,
    now: datetime,
    after: Sequence[str] | None = None,
) -> tuple[Delivery, ...]:
    """Write a message and its deliveries into the outbox, in the caller's transaction. Returns the deliveries.

    after: ids of messages that come first at the same recipient, if they can; by default those that it answers to.
    """
    sent = tuple(new_delivery(message, who, now, tells) for who, tells in to.items())
    references = message.references if after is None else after
    outbox.put_message(connection, message.to_dict(), now=now)
    for each in sent:
        outbox.put_delivery(connection, each.to_dict(), references=references, waits=_waits(message, each))
    return sent


def _waits(message: Message, delivery: Delivery) -> bool:
    """Return whether a delivery waits for one of before that does not get through. What is new does not.

    What only ends does: nobody needs to read first that it is over. So does every end for a channel that keeps
    incidents, with what is told with it: an incident that began after its end would stay open.
    """
    tells = delivery.tells
    ends = [
        line.change in (Change.RESOLVED, Change.ACKNOWLEDGED)
        for line in message.alerts
        if tells is None or line.fingerprint in tells
    ]
    return any(ends) if delivery.channel in INCIDENT_CHANNELS else bool(ends) and all(ends)


def _takes(route: RouteConfig, news: News) -> bool:
    return (not route.kinds or news.alert.kind in route.kinds) and _level(news) >= route.severity.level


def _takes_all(route: RouteConfig, severity: Severity | None) -> bool:
    return severity is not None and not route.kinds and severity.level >= route.severity.level


def _ends_for(who: Recipient, news: News, before: Mapping[str, Collection[Recipient]]) -> bool:
    return news.change is Change.RESOLVED and who in before.get(news.alert.fingerprint, ())


def _level(news: News) -> int:
    known = news.alert.told_severity
    return max(news.alert.severity.level, known.level if known else 0)


def new_delivery(message: Message, who: Recipient, now: datetime, tells: Collection[str] = ()) -> Delivery:
    """Return a message on its way to a recipient. tells: fingerprints of the alerts whose changes the recipient takes.

    An incident that the recipient does not take would be opened for what nobody ends there. A text tells all.
    """
    channel, recipient = who
    return Delivery(
        delivery_id=derived_id("delivery", message.message_id, channel, recipient),
        message_id=message.message_id,
        model=message.model,
        channel=channel,
        recipient=recipient,
        state="pending",
        tells=tuple(tells) if tells and channel in INCIDENT_CHANNELS else None,
        next_try_at=now,
        created_at=now,
    )
