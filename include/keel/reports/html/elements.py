"""The small parts of a page as HTML: text, tags, links, charts. Every text of the data becomes HTML here."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from keel.reports.charts import svg
from keel.reports.numbers import count, number
from keel.reports.page import Actions, Cell, Fact, Link, Local, Stacked, Tag, Tone
from keel.values.texts import CELL, NAME, TEXT, is_web_address, shown

if TYPE_CHECKING:
    from keel.reports.charts.specs import Chart, Sparkline
    from keel.reports.html.live import Live

MAX_LINES = 8
"""Of a fact."""


def text(value: str, limit: int = TEXT) -> str:
    """Return a text of the data as HTML, for an element or a quoted attribute.

    >>> text('<img src=x onerror="alert(1)">')
    '&lt;img src=x onerror=&quot;alert(1)&quot;&gt;'
    """
    return escape(shown(value, limit))


def tag(value: Tag) -> str:
    """Return a status in a word."""
    return f'<span class="tag {value.tone}">{text(value.text, NAME)}</span>'


def link(value: Link | Local, live: Live | None) -> str:
    """Return a link, or its text and address where the address is none of the web.

    A link to a page of Keel's is its text where those pages are not: without ``live``.
    """
    words = text(value.text, CELL)
    if isinstance(value, Local):
        return live.link(value) if live else words
    if not is_web_address(value.href):
        return f"{words} ({text(value.href, CELL)})" if value.href else words
    return f'<a href="{escape(value.href)}" rel="noopener noreferrer">{words}</a>'


def cell(value: Cell, live: Live | None) -> str:
    """Return the content of a table's cell."""
    if isinstance(value, str):
        return text(value, CELL)
    if isinstance(value, Tag):
        return tag(value)
    if isinstance(value, Link | Local):
        return link(value, live)
    if isinstance(value, Stacked):
        below = f'<span class="below">{text(value.below, CELL)}</span>' if value.below else ""
        return cell(value.top, live) + below
    if isinstance(value, Actions):
        return live.actions(value) if live else ""
    return sparkline(value, "")


def fact(value: Fact) -> str:
    """Return a fact as an item of a list."""
    tone = "" if value.tone is Tone.NEUTRAL else f" {value.tone}"
    lines = "".join(f"<span>{text(line, CELL)}</span>" for line in value.lines[:MAX_LINES])
    return f'<li class="fact{tone}"><b>{text(value.value, NAME)}</b>{lines}</li>'


def facts(values: tuple[Fact, ...]) -> str:
    """Return facts side by side, or nothing without any."""
    return f'<ul class="facts">{"".join(map(fact, values))}</ul>' if values else ""


def chart(value: Chart, sentence: str, width: float | None = None, live: Live | None = None) -> str:
    """Return a chart as SVG; ``sentence`` describes it to who does not see it. Its links are those of ``live``."""
    address = live.address if live else None
    return svg.draw(value, description=shown(sentence, CELL), width=width, address=address)


def sparkline(value: Sparkline, sentence: str) -> str:
    """Return a history as a small chart in a line of text."""
    return chart(value, sentence or _history(value))


def _history(value: Sparkline) -> str:
    known = [number for number in value.values if number is not None]
    if not known:
        return "no history"
    return f"history of {count(len(known), 'value')}: from {number(known[0])} to {number(known[-1])}"
