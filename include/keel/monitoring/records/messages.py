"""Records of a message to a model's people, and of what a mail shows beside its text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from keel.monitoring.records.base import JsonObject, Record
from keel.values.texts import CELL, shown


class MessagePart(Record):
    """One block of a formatted mail: paragraphs, facts, or a table, under a title."""

    title: str = ""
    paragraphs: tuple[str, ...] = ()
    facts: dict[str, str] = {}
    """Value by label. A value that is an address becomes a link."""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numeric: tuple[int, ...] = ()
    """Columns that are aligned to the right."""
    verbatim: str = ""
    """Text with a layout of its own, such as Markdown."""


class MessagePicture(Record):
    """The one picture of a mail, as data: whoever sends the mail draws it, on whatever machine that is."""

    chart: JsonObject
    """As `keel.reports.charts.plain.to_plain` describes it."""
    sentence: str
    """What it shows; also for readers without pictures."""


def _one_line(subject: str) -> str:
    """Return a subject as a mail can have it: a header that held a line break would fail every message about it."""
    return shown(subject, CELL)


class Message(Record):
    """A message to a model's people: text for every channel, and the addressees."""

    subject: Annotated[str, AfterValidator(_one_line)]
    """One line, of whatever names it is made."""
    text: str
    email: tuple[str, ...] = ()
    slack: str | None = None
    """The Slack channel."""
    parts: tuple[MessagePart, ...] = ()
    """The same as ``text``, in the blocks of a formatted mail. Empty: the text is the mail."""
    picture: MessagePicture | None = None
