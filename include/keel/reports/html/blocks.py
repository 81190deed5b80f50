"""The blocks of a page as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from keel.reports.charts.specs import Heatmap, Intervals, Trend
from keel.reports.html import tables
from keel.reports.html.byte_budget import LEFT_OUT, ByteBudget
from keel.reports.html.elements import chart, facts, link, text
from keel.reports.html.tables import MAX_ROWS, rest_of
from keel.reports.page import (
    Actions,
    Block,
    ColumnCards,
    Command,
    Details,
    Facts,
    Figure,
    Items,
    Paragraph,
    Table,
)
from keel.values.texts import CELL

if TYPE_CHECKING:
    from keel.reports.html.live import Live

PHONE = 340
"""Pixels of a chart on a phone."""

BROAD = 1200
"""Pixels of a trend on the page in Airflow, which is broader than a document."""


def render(block: Block, budget: ByteBudget, live: Live | None) -> Iterator[str | ColumnCards]:
    """Yield a block as HTML. Columns are yielded as they are: they take the space that all others leave.

    live: None in a document that stands alone.
    """
    if isinstance(block, ColumnCards):
        yield block
    elif isinstance(block, Details):
        yield from _details(block, budget, live)
    elif isinstance(block, Table):
        yield tables.render(block, budget, live)
    elif isinstance(block, Items):
        yield _items(block, budget)
    elif isinstance(block, Actions):
        yield budget.take(live.actions(block)) if live else ""
    else:
        yield budget.take(_simple(block, live))


def _details(block: Details, budget: ByteBudget, live: Live | None) -> Iterator[str | ColumnCards]:
    start, end = f"<details><summary>{text(block.summary, CELL)}</summary>", "</details>"
    if not budget.has(start + end):
        yield LEFT_OUT
        return
    yield start
    for inner in block.blocks[:MAX_ROWS]:
        yield from render(inner, budget, live)
    yield end


def _simple(block: Facts | Paragraph | Command | Figure, live: Live | None) -> str:
    if isinstance(block, Facts):
        return facts(block.facts)
    if isinstance(block, Paragraph):
        links = "".join(f" {link(each, live)}" for each in block.links)
        start = '<p class="quiet">' if block.quiet else "<p>"
        return f"{start}{text(block.text)}{links}</p>"
    if isinstance(block, Command):
        return f'<pre class="command" tabindex="0"><code>{text(block.text)}</code></pre>'
    return _figure(block, live)


def _figure(block: Figure, live: Live | None) -> str:
    drawn = chart(block.chart, block.sentence, BROAD if live and isinstance(block.chart, Trend) else None, live)
    if isinstance(block.chart, Trend | Intervals | Heatmap):  # on a phone its texts would be too small
        narrow = chart(block.chart, block.sentence, PHONE, live)
        drawn = f'<div class="broad">{drawn}</div><div class="narrow">{narrow}</div>'
    kind = type(block.chart).__name__.lower()
    return f'<figure class="{kind}">{drawn}<figcaption>{text(block.sentence)}</figcaption></figure>'


def _items(block: Items, budget: ByteBudget) -> str:
    items = budget.take_some(f"<li>{text(item)}</li>" for item in block.items[:MAX_ROWS])
    return f"<ul>{''.join(items)}</ul>" + rest_of(len(block.items) - len(items)) if block.items else ""
