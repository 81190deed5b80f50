"""What the templates of a mail see: plain values, cut to what a reader reads, without control characters."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Any

from keel.alerts.records import Change
from keel.config import Severity
from keel.values.texts import CELL, NAME, TEXT, is_web_address, shown

if TYPE_CHECKING:
    from keel.alerts.records import Message, Table

HEADINGS = {"hurts": "Does it hurt?", "done": "What Keel did", "todo": "What to do"}
STATUSES = {
    Severity.INFO: ("info", "neutral"),
    Severity.WARNING: ("warning", "warn"),
    Severity.ERROR: ("error", "bad"),
    Severity.CRITICAL: ("critical", "bad"),
}
"""Word and tone of a severity."""
OVER, TEST = ("resolved", "good"), ("test", "neutral")
LONGEST_WHOLE_WORD = 24
"""Characters of a word in a table that is never broken, which would make its column too narrow for the others."""
LONGEST_BLOCK = 20_000
"""Characters of a text with a layout of its own."""
_CODE = re.compile(r"`([^`]+)`")


def values(message: Message, *, picture: str | None = None) -> dict[str, Any]:
    """Return the values of a message.

    picture: address of the drawn picture, such as ``cid:…``; None where there is none.
    """
    found = message.picture
    sentence = shown(found.sentence) if found else ""
    sections = _sections(message)
    word, tone = _status(message)
    return {
        "message": message.to_dict(),
        "subject": message.subject,
        "status": {"text": word, "tone": tone},
        "eyebrow": f"{message.model or 'all models'} · {written(message)}",
        "preview": next((text for section in sections for text in section["texts"]), ""),
        "happened": shown(message.happened),
        "sections": sections,
        "runbook": _link("Runbook", message.runbook) if message.runbook else None,
        "picture": {"address": picture, "sentence": sentence} if picture else None,
        "sentence_of_picture": sentence,
        "tables": [_table(table) for table in message.evidence],
        "verbatim": _block(message.verbatim),
        "links": [_link(name, address) for name, address in message.links.items()],
        "facts": [(shown(name, NAME), shown(value, TEXT)) for name, value in message.facts.items()],
        "footer": _footer(message),
    }


def written(message: Message) -> str:
    """Return when a message was composed."""
    at = message.at.astimezone(UTC)
    return f"{at.day} {at:%B %Y %H:%M} UTC"


def _status(message: Message) -> tuple[str, str]:
    if message.topic == "resolved":
        return OVER
    if message.topic == "test":
        return TEST
    told = [each.severity for each in message.alerts if each.change is not Change.RESOLVED]
    return STATUSES[max(told, key=lambda severity: severity.level, default=message.severity)]


def _sections(message: Message) -> list[dict[str, Any]]:
    found = []
    for name, heading in HEADINGS.items():
        texts = [shown(text) for text in getattr(message, name)]
        if texts or (name == "todo" and message.runbook):
            plain = [_CODE.sub(r"\1", text) for text in texts]
            found.append({"name": name, "heading": heading, "texts": plain, "lines": [_parts(text) for text in texts]})
    return found


def _parts(text: str) -> list[dict[str, Any]]:
    """Return a line as parts, of which those between backticks are commands."""
    return [{"text": part, "code": number % 2 == 1} for number, part in enumerate(_CODE.split(text)) if part]


def _link(name: str, address: str) -> dict[str, Any]:
    return {"name": shown(name, NAME), "address": shown(address), "is_link": is_web_address(address)}


def _table(table: Table) -> dict[str, Any]:
    rows = [[shown(cell, CELL) for cell in row] for row in table.rows]
    head = [shown(cell, NAME) for cell in table.head]
    return {
        "title": shown(table.title, CELL),
        "head": head,
        "rows": [[_cell(cell, head, number, table.numeric) for number, cell in enumerate(row)] for row in rows],
        "numeric": list(table.numeric),
        "notes": [shown(note) for note in table.notes],
        "aligned": aligned([head, *rows] if rows else [], table.numeric),
    }


def _cell(text: str, head: list[str], number: int, numeric: tuple[int, ...]) -> dict[str, Any]:
    """Return a cell. A phone shows no head: there a number says what it is."""
    is_named = number in numeric and number < len(head)
    return {"text": text, "is_short": _is_short(text), "name": head[number].lower() if is_named else ""}


def _is_short(cell: str) -> bool:
    return max(map(len, cell.split()), default=0) <= LONGEST_WHOLE_WORD


def aligned(rows: list[list[str]], numeric: tuple[int, ...] = ()) -> list[str]:
    """Return rows as lines with their cells in columns; the last cell is as long as it is.

    >>> aligned([["Column", "PSI"], ["temp", "0.2"]], numeric=(1,))
    ['Column  PSI', 'temp    0.2']
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths, numeric)).rstrip() for row in rows]


def _padded(row: list[str], widths: list[int], numeric: tuple[int, ...]) -> list[str]:
    return [
        cell.rjust(width) if number in numeric else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _block(text: str) -> str:
    """Return a text with its line ends, and everything else as it is shown on one line."""
    lines = "\n".join(shown(line) for line in text.strip("\n").splitlines())
    return lines if len(lines) <= LONGEST_BLOCK else f"{lines[:LONGEST_BLOCK]}\n…"


def _footer(message: Message) -> list[str]:
    if message.topic == "test":
        return ["Times are in UTC."]
    named = f"{message.model}'s model.yaml" if message.model else "a model.yaml"
    return [f"You get this because you are named under alerts in {named}. Times are in UTC."]
