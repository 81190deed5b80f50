"""A message as chats show it: plain data for their templates, cut to what a reader reads."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from keel.config import Severity
from keel.values.texts import is_web_address, shown

if TYPE_CHECKING:
    from keel.alerts.records import Message, Table

LINE = 600
"""Characters of one paragraph."""
LINES = 8
"""Paragraphs under one heading."""
NAME = 120
ROWS = 10
"""Rows of evidence, over all tables."""
CELL = 40
"""Characters of a cell in text of one width: longer lines wrap on a phone."""
MARKS = {Severity.INFO: "ℹ️", Severity.WARNING: "⚠️", Severity.ERROR: "🔴", Severity.CRITICAL: "🚨"}
RESOLVED_MARK = "✅"
_PIECES = re.compile(r"(`[^`]+`|https?://[^\s`<>\"]+)")
HEADINGS = (("hurts", "Does it hurt?"), ("done", "What Keel did"), ("todo", "What to do"))


def content(message: Message) -> dict[str, Any]:
    """Return what the templates of Slack, Teams and Apprise are given.

    ``title``, ``happened``, ``sections`` (each ``heading``, ``lines``, and the same as ``spans``), ``facts``,
    ``tables`` (each ``title``, ``head``, ``rows``, ``notes``, and the rows as ``text`` of one width), ``verbatim``,
    ``links`` (each ``name`` and ``address``), ``footer``, ``severity``, ``topic``, ``fallback`` (one line), and the
    ``message`` itself as it is. The other texts are plain: no control characters, and line ends only in ``text`` and
    ``verbatim``.
    """
    return {
        "message": message.to_dict(),
        "topic": message.topic,
        "severity": message.severity.value,
        "title": title(message),
        "happened": shown(message.happened, LINE) or "–",
        "sections": sections(message),
        "facts": {shown(name, NAME): shown(value, LINE) for name, value in message.facts.items()},
        "tables": tables(message.evidence),
        "verbatim": block(message.verbatim),
        "links": links(message),
        "footer": f"Keel · {written(message.at)}",
        "fallback": f"{title(message)}: {shown(message.happened, LINE)}",
    }


def title(message: Message) -> str:
    """Return the subject, with a mark of how much it matters."""
    mark = RESOLVED_MARK if message.topic == "resolved" else MARKS[message.severity]
    return f"{mark} {shown(message.subject, NAME)}"


def sections(message: Message) -> list[dict[str, Any]]:
    """Return the paragraphs by heading, in the order in which they are read; the runbook comes first in its own."""
    found = []
    for name, heading in HEADINGS:
        lines = [shown(line, LINE) for line in getattr(message, name)]
        if name == "todo" and message.runbook and not any(message.runbook in line for line in lines):
            lines.insert(0, f"Runbook: {shown(message.runbook, LINE)}")
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], f"{len(lines) - LINES + 1} more: see the links"]
        if lines:
            found.append(section(heading, lines, addresses(message)))
    return found


def section(heading: str, lines: list[str], linked: Collection[str] = ()) -> dict[str, Any]:
    """Return a section of a message: its lines as texts, and cut into spans. linked: see `spans`."""
    return {"heading": heading, "lines": lines, "spans": [spans(line, linked) for line in lines]}


def addresses(message: Message) -> set[str]:
    """Return the addresses that a message may link to: its own. An address in the data may be anybody's."""
    return {*message.links.values(), *filter(None, [message.runbook])}


def spans(line: str, linked: Collection[str] = ()) -> list[dict[str, str]]:
    """Return a line in pieces of one ``style``: text, code (between backquotes), or a link (one of ``linked``).

    >>> [(span["style"], span["text"]) for span in spans("To see it: `keel status`")]
    [('text', 'To see it: '), ('code', 'keel status')]
    """
    pieces = [piece for piece in _PIECES.split(line) if piece]
    return [_span(piece, linked) for piece in pieces] or [_span("–", linked)]


def _span(piece: str, linked: Collection[str]) -> dict[str, str]:
    if len(piece) > 2 and piece.startswith("`") and piece.endswith("`"):
        return {"style": "code", "text": piece[1:-1]}
    return {"style": "link" if piece in linked and is_web_address(piece) else "text", "text": piece}


def tables(evidence: tuple[Table, ...]) -> list[dict[str, Any]]:
    """Return the evidence, at most ten rows together."""
    left, found = ROWS, []
    for table in evidence:
        rows = [[shown(cell, NAME) for cell in row] for row in table.rows[:left]]
        notes = [shown(note, LINE) for note in table.notes]
        left -= len(rows)
        if not rows and not notes:
            continue
        head = [shown(cell, NAME) for cell in table.head]
        text = aligned([head, *rows] if head else rows, table.numeric)
        found.append({"title": shown(table.title, NAME), "head": head, "rows": rows, "notes": notes, "text": text})
    return found


def cut(text: str, limit: int) -> str:
    """Return a text on one line of at most ``limit`` characters, whatever its characters are shown as."""
    line = shown(text, limit)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def aligned(rows: list[list[str]], numeric: tuple[int, ...] = ()) -> str:
    """Return rows as text of one width.

    >>> print(aligned([["feature", "distance"], ["temp", "0.2"]], numeric=(1,)))
    feature  distance
    temp          0.2
    """
    cells = [[cut(cell, CELL) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    lines = (
        "  ".join(c.rjust(widths[i]) if i in numeric else c.ljust(widths[i]) for i, c in enumerate(row))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def block(text: str, limit: int = 2_000) -> str:
    """Return text with a layout of its own: its line ends stay, everything else is shown as on one line."""
    lines = text.strip("\n").splitlines()
    whole = "\n".join(shown(line, LINE) for line in lines)
    return whole if len(whole) <= limit else whole[:limit].rstrip() + "\n…"


def links(message: Message) -> list[dict[str, str]]:
    """Return the links with an address that a browser opens. The runbook is among what to do."""
    return [
        {"name": shown(name, NAME) or "Link", "address": address}
        for name, address in message.links.items()
        if is_web_address(address)
    ]


def written(at: datetime) -> str:
    """Return a time as people read it.

    >>> written(datetime(2026, 5, 3, 6, 0, tzinfo=UTC))
    '3 May 2026, 06:00 UTC'
    """
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
