"""A message as a notification of Apprise: a title, plain text, and a type that services show as a colour or icon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from keel.alerts.channels.content import content
from keel.alerts.channels.templates import render
from keel.config import Severity

if TYPE_CHECKING:
    from keel.alerts.records import Message

TEMPLATE = "apprise.txt.j2"
_TYPES: dict[Severity, Literal["info", "warning", "failure"]] = {
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.ERROR: "failure",
    Severity.CRITICAL: "failure",
}


@dataclass(frozen=True)
class Notification:
    """The arguments of ``Apprise.notify``."""

    title: str
    body: str
    notify_type: Literal["info", "success", "warning", "failure"]


def notification(message: Message) -> Notification:
    """Return a message as a notification. A service with a shorter limit gets the beginning, or several parts."""
    parts = content(message)
    kind = "success" if message.topic == "resolved" else _TYPES[message.severity]
    return Notification(title=parts["title"], body=render(TEMPLATE, **parts).strip(), notify_type=kind)
