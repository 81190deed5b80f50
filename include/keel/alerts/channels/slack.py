"""A message as a post in Slack's Block Kit, and the first post about an alert as it is edited afterwards.

Source of the limits: https://docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from keel.alerts.channels.content import MARKS, RESOLVED_MARK, content, cut, links, section, written
from keel.alerts.channels.templates import render
from keel.alerts.records import Change, Message
from keel.errors import SchemaError

TEMPLATE = "slack.json.j2"
BLOCKS = 50
HEADER = 150
TEXT = 3_000
WHOLE = 12_000
"""Characters of all blocks together. Slack states no number, and refuses long ones with ``msg_blocks_too_long``."""
REMEMBERED = 20
"""Alerts of a post that are remembered for editing it."""
STATES = {
    Change.FIRING: "open",
    Change.ESCALATED: "worse",
    Change.REMINDER: "still open",
    Change.RESOLVED: "over",
    Change.EVENT: "",
    Change.ACKNOWLEDGED: "acknowledged",
}


def post(message: Message) -> dict[str, Any]:
    """Return ``text``, which notifications show, and ``blocks``, which the channel shows."""
    return _rendered(content(message))


def memo(message: Message) -> dict[str, Any]:
    """Return what is kept of a post, beside its ``channel`` and ``ts``, so that it can be edited later."""
    alerts = {line.fingerprint: [line.change.value, cut(line.sentence, 200)] for line in message.alerts[:REMEMBERED]}
    return {
        "severity": message.severity.value,
        "subject": cut(message.subject, HEADER),
        "happened": cut(message.happened, 600),
        "at": written(message.at),
        "alerts": alerts,
    }


def edited(message: Message, first: Mapping[str, Any], later: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the first post about alerts, as it is after ``message``: what was reported, and how each alert is now.

    first, later: memos of the first post, and of the messages between it and this one.
    """
    alerts: dict[str, list[str]] = dict(first.get("alerts") or {})
    for each in (*later, memo(message)):
        alerts |= {
            key: [state[0], alerts[key][1]] for key, state in (each.get("alerts") or {}).items() if key in alerts
        }
    is_over = bool(alerts) and all(change == Change.RESOLVED for change, _ in alerts.values())
    mark = RESOLVED_MARK if is_over else next((MARKS[s] for s in MARKS if s.value == first.get("severity")), "")
    now = [f"{STATES[Change(change)]}: {sentence}" for change, sentence in alerts.values()]
    values = content(message) | {
        "title": f"{mark} {first.get('subject') or message.subject}".strip(),
        "happened": first.get("happened") or message.happened,
        "sections": [
            section(f"Latest, {written(message.at)}", [cut(message.happened, 600)]),
            *([section("Now", now)] if len(now) > 1 else []),
        ],
        "facts": {},
        "tables": [],
        "verbatim": "",
        "links": links(message),
        "footer": f"Keel · first posted {first.get('at', 'earlier')} · what happened since is in the thread",
    }
    return _rendered(values)


def _rendered(values: dict[str, Any]) -> dict[str, Any]:
    """Return the template's post, within Slack's limits."""
    text = render(TEMPLATE, check=_read, **{**values, "fallback": mrkdwn(values["fallback"])})
    return fitted(_read(text))


def mrkdwn(text: str) -> str:
    """Return a text without what Slack's own markup reads as links and mentions.

    >>> mrkdwn("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    return escape(text, quote=False)


def _read(text: str) -> dict[str, Any]:
    post = json.loads(text)
    blocks = post.get("blocks") if isinstance(post, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(b, dict) and isinstance(b.get("type"), str) for b in blocks):
        raise SchemaError(f"{TEMPLATE}: the result must be an object whose 'blocks' is a list of objects with a 'type'")
    return dict(post)


def fitted(post: dict[str, Any]) -> dict[str, Any]:
    """Return a post within Slack's limits: texts are cut, and blocks before the last are left out from behind."""
    blocks = [_shortened(block, HEADER if block.get("type") == "header" else TEXT) for block in post["blocks"]]
    left_out = 0
    while len(blocks) > 3 and (
        len(blocks) + bool(left_out) > BLOCKS or len(json.dumps(blocks, ensure_ascii=False)) > WHOLE
    ):  # noqa: E501
        del blocks[-2]
        left_out += 1
    if left_out:
        note = "The message is longer than Slack takes: see the links, or the page of the check."
        blocks.insert(-1, {"type": "context", "elements": [{"type": "plain_text", "emoji": False, "text": note}]})
    return {**post, "text": cut(str(post.get("text") or "–"), TEXT), "blocks": blocks}


def _shortened(value: Any, limit: int) -> Any:
    """Return a block with every text in it cut to Slack's limit; Slack refuses an empty one."""
    if isinstance(value, list):
        return [_shortened(item, limit) for item in value]
    if not isinstance(value, dict):
        return value
    short = {key: _shortened(item, limit) for key, item in value.items()}
    if isinstance(short.get("text"), str):
        text = short["text"] or "–"
        short["text"] = text if len(text) <= limit else text[: limit - 1] + "…"
    return short
