"""A message as an Adaptive Card in the envelope that a workflow's webhook in Teams takes.

Source: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using and
https://adaptivecards.io/explorer. Teams refuses more than 28 KB.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from keel.alerts.channels.content import content
from keel.alerts.channels.templates import render
from keel.config import Severity
from keel.errors import SchemaError

if TYPE_CHECKING:
    from keel.alerts.records import Message

TEMPLATE = "teams.json.j2"
LIMIT = 27_000
"""Bytes of a request. Teams takes 28 KB, and adds to what it got."""
COLOURS = {
    Severity.INFO: "accent",
    Severity.WARNING: "warning",
    Severity.ERROR: "attention",
    Severity.CRITICAL: "attention",
}
DISPENSABLE = ("tables", "verbatim", "facts", "sections")
"""What is left out of a card that is too large, the first first."""


def request(message: Message) -> dict[str, Any]:
    """Return the body of the request that posts a message as a card, within Teams' limit."""
    values = {**content(message), "colour": "good" if message.topic == "resolved" else COLOURS[message.severity]}
    for name in (None, *DISPENSABLE):
        if name:
            values[name] = type(values[name])()
            values["footer"] = "Keel · the message is longer than Teams takes: see the links"
        body = _envelope(_read(render(TEMPLATE, check=_read, **values)))
        if len(json.dumps(body).encode()) <= LIMIT:
            return body
    return _envelope(_small(values))


def _small(values: dict[str, Any]) -> dict[str, Any]:
    """Return a card of the first sentence, for a template that makes a larger one of next to nothing."""
    text = f"{values['title']}\n{values['happened']}"
    block = {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]}
    return {"type": "AdaptiveCard", "version": "1.5", "body": [block]}


def _envelope(card: dict[str, Any]) -> dict[str, Any]:
    content_type = "application/vnd.microsoft.card.adaptive"
    attachment = {"contentType": content_type, "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _read(text: str) -> dict[str, Any]:
    card = json.loads(text)
    if not isinstance(card, dict) or card.get("type") != "AdaptiveCard" or not isinstance(card.get("body"), list):
        raise SchemaError(f"{TEMPLATE}: the result must be an object of type 'AdaptiveCard' with a list 'body'")
    return card
