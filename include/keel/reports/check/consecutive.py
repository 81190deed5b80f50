"""The section about the window before, where ``drift.against`` asks for that comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.reports import numbers
from keel.reports.column_words import status_tag, summary
from keel.reports.page import Block, Paragraph, Section, Table

if TYPE_CHECKING:
    from keel.reports.check.data import CheckData

MOST_ROWS = 10
"""Columns that the table names, those with the largest impact first."""


def section(data: CheckData) -> tuple[Section, ...]:
    """Return what has changed since the window before; nothing where it was not compared."""
    found = data.consecutive
    if found is None:
        return ()
    before = (
        f"{numbers.count(found.n_previous, 'prediction')} of {numbers.span(found.previous.start, found.previous.end)}"
    )
    changed = [(name, column) for name, column in found.features.items() if column.severity in ("drift", "warn")]
    if found.status == "insufficient":
        text = found.sentence
    elif not changed:
        text = f"Nothing has changed since the window before, the {before}."
    else:
        text = f"Since the window before, the {before}, {numbers.count(len(changed), 'column')} changed."
    blocks: list[Block] = [Paragraph(text, quiet=not changed)]
    if changed:
        rows = tuple((name, status_tag(column), summary(column)) for name, column in changed[:MOST_ROWS])
        blocks.append(
            Table("Columns that changed since the window before", ("column", "status", "change"), rows, (), True)
        )
        if len(changed) > MOST_ROWS:
            blocks.append(Paragraph(f"And {len(changed) - MOST_ROWS} more.", quiet=True))
    blocks.append(Paragraph("No decision rests on this comparison.", quiet=True))
    return (Section("Against the window before", tuple(blocks)),)
