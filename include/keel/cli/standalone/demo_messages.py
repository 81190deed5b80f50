"""The messages that the demo's people got: what each said and where its mail lies, and how many the year had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from keel.workspace import Workspace


def read_messages(ws: Workspace, message_ids: Collection[str]) -> list[dict[str, Any]]:
    """Return messages as they were written, oldest first, with what became of each delivery.

    ``file`` is the path of a mail in the outbox, which is where all mails go that no server is configured for.
    """
    found = [ws.store.outbox.message(each) for each in message_ids]
    rows = ws.store.outbox.deliveries(message_ids=message_ids)
    return [
        {
            "message_id": each["message_id"],
            "topic": each["topic"],
            "severity": each["severity"],
            "subject": each["subject"],
            "happened": each["happened"],
            "kinds": [line["kind"] for line in each["alerts"]],
            "deliveries": [_delivery(ws, row) for row in rows if row["message_id"] == each["message_id"]],
        }
        for each in found
        if each is not None
    ]


def _delivery(ws: Workspace, row: Mapping[str, Any]) -> dict[str, Any]:
    file = (row["reference"] or {}).get("file")
    return {
        "channel": row["channel"],
        "recipient": row["recipient"],
        "state": row["state"],
        "answer": row["answer"],
        "file": str(ws.outbox / file) if file else None,
    }


def print_messages(console: Console, messages: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print how many messages the year had, what they were about, and what became of each recipient's."""
    told = [each for of_run in messages.values() for each in of_run]
    silent = sum(not of_run for of_run in messages.values())
    about = Counter(_about(each) for each in told)
    counts = ", ".join(f"{number} {what}" for what, number in about.most_common())
    noun = "message" if len(told) == 1 else "messages"
    console.print(f"\nThe year had {len(told)} {noun}{f': {counts}' if counts else ''}.", soft_wrap=True)
    console.print(f"{silent} of {len(messages)} runs told nobody anything.", soft_wrap=True)
    people = Counter((row["channel"], row["recipient"], _became(row)) for each in told for row in each["deliveries"])
    for (channel, recipient, what), number in sorted(people.items()):
        who = f"{recipient} by {channel}" if recipient else "nobody is named"
        console.print(Text(f"  {who}: {number} {what}"), soft_wrap=True)


def _became(row: Mapping[str, Any]) -> str:
    """Return what became of a delivery; the fallback's file is no delivery of another channel."""
    if row["state"] == "sent":
        return "written to the outbox" if row["file"] else "sent"
    why = (row["answer"] or "").partition(";")[0]
    return f"not sent ({why})" if why else "not sent yet"


def _about(message: Mapping[str, Any]) -> str:
    """Return what a message is about: the kind that stands first in it, or that it is a digest."""
    if message["topic"] == "digest" or not message["kinds"]:
        return str(message["topic"])
    over = " over" if message["topic"] == "resolved" else ""
    return f"{message['kinds'][0].replace('_', ' ')}{over}"
