"""The channels of a message: which of Airflow's connections exist, and how a message is sent outside a task."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel_airflow.hooks import find_connection

if TYPE_CHECKING:
    from keel.alerts.delivery import Sender

log = logging.getLogger(__name__)

SMTP_CONN_ID = "smtp_default"
SLACK_CONN_ID = "slack_default"
EMAIL, SLACK, OUTBOX = "email", "slack", "outbox"
DEFAULT_SENDER = "keel@localhost"


def senders() -> dict[str, Sender]:
    """Return the sender of each channel, by the name that a route gives it.

    Nothing is connected before a message is sent, and connections are looked up then: in a task, in a callback of the
    DAG processor, or in a plain process.
    """
    from keel_airflow.channels.apprise import AppriseSender
    from keel_airflow.channels.email import EmailSender
    from keel_airflow.channels.pagerduty import PagerDutySender
    from keel_airflow.channels.slack import SlackSender
    from keel_airflow.channels.teams import TeamsSender

    return {
        "email": EmailSender(),
        "slack": SlackSender(),
        "teams": TeamsSender(),
        "pagerduty": PagerDutySender(),
        "apprise": AppriseSender(),
    }


def address(message: Mapping[str, Any]) -> dict[str, Any]:
    """Add ``channels`` and ``sender`` to a composed message, and ``post`` for Slack.

    A channel needs a recipient in the model's configuration and an Airflow connection. The connection is looked up now,
    not when the DAG is parsed. Without mail and Slack the channel is the outbox. An empty message has no channels.
    """
    if not message:
        return {"channels": []}
    smtp = find_connection(SMTP_CONN_ID) if message.get("email") else None
    slack = find_connection(SLACK_CONN_ID) if message.get("slack") else None
    channels = [name for name, connection in ((EMAIL, smtp), (SLACK, slack)) if connection] or [OUTBOX]
    sender = smtp.extra_dejson.get("from_email") if smtp else None
    return {
        **message,
        "channels": channels,
        "sender": sender or os.environ.get("KEEL_MAIL_FROM") or DEFAULT_SENDER,
        "post": escape(f"*{message['subject']}*\n{message['text']}", quote=False),
    }


def deliver(message: Mapping[str, Any]) -> list[str]:
    """Send a composed message by every channel it has, and return the channels that took it.

    For callbacks, which have no retries: when every channel fails, the message goes to the outbox.
    """
    addressed = address(message)
    sent = [name for name in addressed["channels"] if _sent(name, addressed)]
    if addressed["channels"] and not sent and _sent(OUTBOX, addressed):
        sent = [OUTBOX]
    return sent


def _sent(channel: str, message: Mapping[str, Any]) -> bool:
    try:
        _SENDERS[channel](message)
    except Exception:
        log.exception("could not send %r by %s", message["subject"], channel)
        return False
    return True


def _send_email(message: Mapping[str, Any]) -> None:
    from keel_airflow.mail_hook import send_mail

    send_mail(message, conn_id=SMTP_CONN_ID)


def _post_to_slack(message: Mapping[str, Any]) -> None:
    from airflow.providers.slack.hooks.slack import SlackHook

    post = {"channel": message["slack"], "text": message["post"]}
    SlackHook(slack_conn_id=SLACK_CONN_ID).call("chat.postMessage", json=post)


def _write_to_outbox(message: Mapping[str, Any]) -> None:
    from keel.alerts.outbox import write_eml
    from keel.config import MODELS_FOLDER
    from keel.monitoring.records import Message

    # The folder of `Workspace`, without opening one: the store may be what failed.
    home = Path(os.environ.get("KEEL_HOME") or MODELS_FOLDER.parents[1] / ".keel")
    write_eml(home / "outbox", Message.from_dict(message), sender=message["sender"], now=datetime.now(UTC))


_SENDERS = {EMAIL: _send_email, SLACK: _post_to_slack, OUTBOX: _write_to_outbox}
