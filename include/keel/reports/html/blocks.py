"""The blocks of a page as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from keel.reports.charts.specs import Heatmap, Intervals, Trend
from keel.reports.html.byte_budget import LEFT_OUT, ByteBudget
from keel.reports.html.elements import cell, chart, facts, link, text
from keel.reports.page import (
    Actions,
    Block,
    Cell,
    ColumnCards,
    Command,
    Details,
    Facts,
    Figure,
    Items,
    Paragraph,
    Table,
    without_actions,
)
from keel.values.texts import CELL

if TYPE_CHECKING:
    from keel.reports.html.live import Live

MAX_ROWS = 500
"""Rows of a table and items of a list that are shown. Records hold them all."""

PHONE = 340
"""Pixels of a chart on a phone."""


def render(block: Block, budget: ByteBudget, live: Live | None) -> Iterator[str | ColumnCards]:
    """Yield a block as HTML. Columns are yielded as they are: they take the space that all others leave.

    live: None in a document that stands alone.
    """
    if isinstance(block, ColumnCards):
        yield block
    elif isinstance(block, Details):
        yield from _details(block, budget, live)
    elif isinstance(block, Table):
        yield _table(block, budget, live)
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
    drawn = chart(block.chart, block.sentence, live=live)
    if isinstance(
        block.chart, Trend | Intervals | Heatmap
    ):  # too broad for a phone, where its texts would be too small
        narrow = chart(block.chart, block.sentence, PHONE, live)
        drawn = f'<div class="broad">{drawn}</div><div class="narrow">{narrow}</div>'
    kind = type(block.chart).__name__.lower()
    return f'<figure class="{kind}">{drawn}<figcaption>{text(block.sentence)}</figcaption></figure>'


def _items(block: Items, budget: ByteBudget) -> str:
    items = budget.take_some(f"<li>{text(item)}</li>" for item in block.items[:MAX_ROWS])
    return f"<ul>{''.join(items)}</ul>" + _rest(len(block.items) - len(items)) if block.items else ""


def _table(block: Table, budget: ByteBudget, live: Live | None) -> str:
    block = without_actions(block, live.may if live else None)
    caption = text(block.caption, CELL)
    titles = "".join(
        f'<th scope="col"{_numeric(block, i)}>{text(title, CELL)}</th>' for i, title in enumerate(block.head)
    )
    # who uses the keyboard scrolls what has the focus
    frame = (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0">' if block.wide else '<div class="table">'
    )
    start = f"{frame}<table><caption>{caption}</caption><thead><tr>{titles}</tr></thead><tbody>"
    end = "</tbody></table></div>"
    if not budget.has(start + end):
        return LEFT_OUT
    rows = budget.take_some(_row(block, row, live) for row in block.rows[:MAX_ROWS])
    return f"{start}{''.join(rows)}{end}{_rest(len(block.rows) - len(rows))}"


def _row(block: Table, row: tuple[Cell, ...], live: Live | None) -> str:
    first, *others = (cell(value, live) for value in row)
    cells = "".join(f"<td{_numeric(block, i)}>{value}</td>" for i, value in enumerate(others, start=1))
    return f'<tr><th scope="row"{_numeric(block, 0)}>{first}</th>{cells}</tr>'


def _numeric(block: Table, column: int) -> str:
    return ' class="num"' if column in block.numeric else ""


def _rest(count: int) -> str:
    return f'<p class="quiet">{count:,} more are not shown here. The stored report has them.</p>' if count > 0 else ""
