"""A message as events of PagerDuty's Events API v2: one event an alert, which PagerDuty then keeps the life of.

Source: https://developer.pagerduty.com/docs/send-alert-event and send-change-event.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from keel.alerts.channels.content import content, cut, links, title
from keel.alerts.records import AlertLine, Change, Message
from keel.values.texts import is_web_address, shown

ALERT_PATH = "/v2/enqueue"
CHANGE_PATH = "/v2/change/enqueue"
SUMMARY = 1_024
"""Characters of a summary, PagerDuty's limit."""
KEY = 255
"""Characters of a ``dedup_key``, PagerDuty's limit."""
CLIENT = "Keel"


@dataclass(frozen=True)
class Event:
    """One request: the path, and the body without its ``routing_key``, which is a secret of the connection."""

    path: str
    body: dict[str, Any]


def events(message: Message, tells: Collection[str] | None = None) -> tuple[Event, ...]:
    """Return the events of a message, in the order in which they are sent.

    tells: fingerprints of the alerts that the receiver is told of; None: all of the message.

    An alert triggers, acknowledges or resolves the incident of its fingerprint. News that asks for nothing, such as a
    promotion, is a change event, which opens no incident. A message about no alert is one event of its own. A test
    opens an incident of the least severity, and resolves it at once, so that nobody has to.
    """
    lines = [line for line in message.alerts if tells is None or line.fingerprint in tells]
    if lines:
        return tuple(_event(message, line) for line in lines)
    if message.topic == "test":
        return (_trigger(message, None), _closing("resolve", message.message_id))
    return (_trigger(message, None) if message.severity.is_trouble else _change(message, None),)


def _event(message: Message, line: AlertLine) -> Event:
    if line.change is Change.RESOLVED:
        return _closing("resolve", line.fingerprint)
    if line.change is Change.ACKNOWLEDGED:
        return _closing("acknowledge", line.fingerprint)
    if line.change is Change.EVENT and not line.severity.is_trouble:
        return _change(message, line)
    return _trigger(message, line)


def _closing(action: str, key: str) -> Event:
    return Event(ALERT_PATH, {"event_action": action, "dedup_key": key[:KEY]})


def _trigger(message: Message, line: AlertLine | None) -> Event:
    payload = {
        **_payload(message, line),
        "severity": (line or message).severity.value,
        "component": shown(line.subject, SUMMARY) if line and line.subject else message.model or CLIENT,
        "group": message.model or CLIENT,
        "class": line.kind.value if line else message.topic,
    }
    body = {
        "event_action": "trigger",
        "dedup_key": (line.fingerprint if line else message.message_id)[:KEY],
        "payload": payload,
        "client": CLIENT,
        **_links(message),
    }
    return Event(ALERT_PATH, body)


def _change(message: Message, line: AlertLine | None) -> Event:
    return Event(CHANGE_PATH, {"payload": _payload(message, line), **_links(message)})


def _payload(message: Message, line: AlertLine | None) -> dict[str, Any]:
    summary = f"{message.model}: {line.sentence}" if line and message.model else line.sentence if line else None
    return {
        "summary": cut(summary or message.subject, SUMMARY) or CLIENT,
        "source": message.model or CLIENT,
        "timestamp": (line.first_seen if line else message.at).isoformat(),
        "custom_details": _details(message, line),
    }


def _details(message: Message, line: AlertLine | None) -> dict[str, Any]:
    """Return what a responder reads in the incident, in the order of every other channel."""
    parts = content(message)
    told = {section["heading"]: "\n".join(section["lines"]) for section in parts["sections"]}
    evidence = {str(shown(name)): shown(str(value)) for name, value in line.evidence.items()} if line else {}
    return {"message": title(message), "what happened": parts["happened"], **told, **parts["facts"], **evidence}


def _links(message: Message) -> dict[str, Any]:
    named = [(each["name"], each["address"]) for each in links(message)]
    if message.runbook and is_web_address(message.runbook):
        named.insert(0, ("Runbook", message.runbook))
    return {"links": [{"href": address, "text": name} for name, address in named]} if named else {}
