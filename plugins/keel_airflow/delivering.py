"""Send what the outbox holds, through the providers' hooks, from whatever process of Airflow has written it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keel_airflow.channels import senders
from keel_airflow.channels.connections import DEFAULT_SENDER, sender_address, smtp_connection

if TYPE_CHECKING:
    from keel.alerts.records import Delivery
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def deliver(workspace: Workspace, *, message_id: str | None = None, channel: str | None = None) -> tuple[Delivery, ...]:
    """Send the deliveries that are due, and return those that were tried. What is not accepted is tried again later.

    message_id, channel: only of this message, only by this channel; None: any.
    """
    from keel.alerts.delivery import send_due
    from keel.alerts.outbox import EmlSender
    from keel.window import now_utc

    fallback = EmlSender(workspace.outbox, mail_from())
    tried = send_due(workspace.store, senders(), fallback, now=now_utc(), message_id=message_id, channel=channel)
    for each in tried:
        level = logging.INFO if each.state == "sent" else logging.WARNING
        log.log(level, "%s by %s: %s (%s)", each.message_id, each.channel, each.state, each.answer or "not tried")
    return tried


def mail_from() -> str:
    """Return the sender of a mail in the outbox: that of the mail server, or the default where that is not set well."""
    try:
        return sender_address(smtp_connection())
    except Exception:
        return DEFAULT_SENDER


def deliver_quietly(workspace: Workspace, *, message_id: str | None, channel: str | None = None) -> list[str]:
    """Send a message now, and return the channels that took it. It never raises: `keel.alerts` sends what is left.

    For a run whose work is done: a message that does not leave must not fail it. None: there is no message.
    """
    if message_id is None:
        return []
    try:
        tried = deliver(workspace, message_id=message_id, channel=channel)
    except Exception:
        log.exception("message %s stays in the outbox; keel.alerts sends it", message_id)
        return []
    return list(dict.fromkeys(each.channel for each in tried if each.state == "sent"))


def counted(tried: Sequence[Delivery]) -> dict[str, int]:
    """Return how many deliveries are in each state: ``sent``, ``pending`` and ``failed``."""
    found = Counter(each.state for each in tried)
    return {state: found[state] for state in ("sent", "pending", "failed")}
