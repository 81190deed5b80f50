"""A table as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.reports.html.byte_budget import LEFT_OUT, ByteBudget
from keel.reports.html.elements import cell, text
from keel.reports.page import Actions, Cell, Table, without_actions
from keel.values.texts import CELL

if TYPE_CHECKING:
    from keel.reports.html.live import Live

MAX_ROWS = 500
"""Rows of a table and items of a list that are shown. Records hold them all."""
UNNAMED = "Actions"
"""What a column of buttons without a title is to a screen reader."""


def render(block: Table, budget: ByteBudget, live: Live | None) -> str:
    """Return a table. On a phone, a wide one scrolls in a document, and is a list of its rows on the page in Airflow.

    That list needs the title of each cell, and the roles of a table, which a browser forgets with another layout.
    """
    block = without_actions(block, live.may if live else None)
    stacked = live is not None and block.wide
    caption = text(block.caption, CELL)
    role = ' role="columnheader"' if stacked else ""
    titles = "".join(_title(block, i, role) for i in range(len(block.head)))
    # who uses the keyboard scrolls what has the focus
    frame = (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0">' if block.wide else '<div class="table">'
    )
    table = '<table class="stacked" role="table">' if stacked else "<table>"
    row = '<tr role="row">' if stacked else "<tr>"
    start = f"{frame}{table}<caption>{caption}</caption><thead>{row}{titles}</tr></thead><tbody>"
    end = "</tbody></table></div>"
    if not budget.has(start + end):
        return LEFT_OUT
    rows = budget.take_some(_row(block, cells, live, stacked) for cells in block.rows[:MAX_ROWS])
    return f"{start}{''.join(rows)}{end}{rest_of(len(block.rows) - len(rows))}"


def rest_of(count: int) -> str:
    """Return the sentence that so many rows or items are not shown."""
    return f'<p class="quiet">{count:,} more are not shown here. The stored report has them.</p>' if count > 0 else ""


def _title(block: Table, column: int, role: str) -> str:
    title = text(block.head[column], CELL)
    label = f' aria-label="{UNNAMED}"' if not title and _holds_actions(block, column) else ""
    return f'<th scope="col"{role}{label}{_classes(block, column)}>{title}</th>'


def _holds_actions(block: Table, column: int) -> bool:
    return any(column < len(row) and isinstance(row[column], Actions) for row in block.rows)


def _row(block: Table, row: tuple[Cell, ...], live: Live | None, stacked: bool) -> str:
    first, *others = (cell(value, live) for value in row)
    if not stacked:
        cells = "".join(f"<td{_classes(block, i)}>{value}</td>" for i, value in enumerate(others, start=1))
        return f'<tr><th scope="row"{_classes(block, 0)}>{first}</th>{cells}</tr>'
    cells = "".join(
        f'<td role="cell" data-label="{text(title, CELL)}"{_classes(block, i)}>{value}</td>'
        for i, (value, title) in enumerate(zip(others, block.head[1:], strict=False), start=1)
    )
    return f'<tr role="row"><th scope="row" role="rowheader"{_classes(block, 0)}>{first}</th>{cells}</tr>'


def _classes(block: Table, column: int) -> str:
    kinds = (("num", block.numeric), ("unbroken", block.unbroken), ("said", block.sentences))
    names = [name for name, columns in kinds if column in columns]
    return f' class="{" ".join(names)}"' if names else ""
