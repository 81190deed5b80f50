"""A page as Markdown, for the log of a task and the artifacts of a run. It holds no HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from keel.reports.charts.bars import sparkline
from keel.reports.charts.lines import chart_lines, spark
from keel.reports.charts.specs import Sparkline
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
    Link,
    Local,
    Page,
    Paragraph,
    Stacked,
    Table,
    Tag,
    without_actions,
)
from keel.values.texts import CELL, NAME, TEXT, is_web_address, shown

MAX_ROWS = 100
"""Rows of a table, columns and items of a list that are written."""
SPECIAL = re.compile(r"[\\|\[\]<>`*~@]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""What Markdown (CommonMark, with GitHub's tables and links) gives a meaning inside a line."""
AT_START = re.compile(r"^(\d*)([-+#=](?=[-+#=]*(?:\s|$))|(?<=\d)[.)](?=\s|$))")
"""What begins a heading, a list or a rule at the start of a line."""


def render(page: Page) -> str:
    """Return a page as Markdown: the headline, the facts, then each section."""
    status = f" · **{safe(page.tag.text, NAME)}**" if page.tag else ""
    parts = [f"# {safe(page.headline)}", f"{safe(page.eyebrow)}{status}"]
    if page.lead:
        parts.append(safe(page.lead))
    parts += _facts(Facts(page.facts))
    for section in page.sections:
        parts.append(f"## {safe(section.title, CELL)}" if section.title else "")
        for block in section.blocks:
            parts += _block(block)
    if page.footer:
        parts += ["---", "\n".join(f"- {safe(line, CELL)}" for line in page.footer)]
    return "\n\n".join(part for part in parts if part) + "\n"


def safe(text: str, limit: int = TEXT) -> str:
    r"""Return a text of the data as one line of Markdown that says just that text.

    >>> safe("a|b <img src=x> [x](y)\n# c")
    'a\\|b \\<img src=x\\> \\[x\\](y) # c'
    >>> safe("# c"), safe("- d"), safe("-0.2 of wind_speed"), safe("http://x")
    ('\\# c', '\\- d', '-0.2 of wind_speed', 'http\\://x')
    """
    flat = " ".join(shown(text, limit).split())
    return AT_START.sub(r"\1\\\2", SPECIAL.sub(r"\\\g<0>", flat))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Return a table of cells that are Markdown already."""
    rule = "|".join(" ---: " if i in numeric else " --- " for i in range(len(head)))
    lines = [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Facts):
        yield from _facts(block)
    elif isinstance(block, Paragraph):
        yield " ".join([safe(block.text), *map(_link, block.links)])
    elif isinstance(block, Items):
        yield "\n".join(f"- {safe(item)}" for item in block.items[:MAX_ROWS])
        yield _rest(len(block.items))
    elif isinstance(block, Command):
        yield _code(shown(line) for line in block.text.splitlines())
    elif isinstance(block, Figure):
        yield safe(block.sentence)
        yield _code(chart_lines(block.chart))
    elif isinstance(block, Table):
        block = without_actions(block, None)
        yield safe(block.caption, CELL)
        if block.head:
            rows = [[_cell(value) for value in row] for row in block.rows[:MAX_ROWS]]
            yield table([safe(title, CELL) for title in block.head], rows, block.numeric)
        yield _rest(len(block.rows))
    elif isinstance(block, ColumnCards):
        yield from _columns(block)
    elif isinstance(block, Details):
        yield from _details(block)


def _facts(block: Facts) -> Iterator[str]:
    if block.facts:
        yield "\n".join(
            f"- **{safe(fact.value, NAME)}**: {'; '.join(safe(line, CELL) for line in fact.lines)}"
            for fact in block.facts
        )


def _details(block: Details) -> Iterator[str]:
    yield f"**{safe(block.summary, CELL)}**"
    for inner in block.blocks:
        yield from _block(inner)


def _columns(block: ColumnCards) -> Iterator[str]:
    impact = f"impact on the {block.impact_unit}" if block.impact_unit else ""
    history = any(card.history for card in block.cards)
    head = [
        "column",
        "status",
        *([safe(impact, CELL)] if impact else []),
        "measures",
        *(["history"] if history else []),
    ]
    rows = []
    for card in block.cards[:MAX_ROWS]:
        row = [f"**{safe(card.name, NAME)}**", safe(card.status.text, NAME)]
        row += [safe(card.impact, NAME)] if impact else []
        row += ["; ".join([safe(card.summary, CELL), *(safe(reason, CELL) for reason in card.reasons)]).strip("; ")]
        row += [sparkline(card.history.values) if card.history else ""] if history else []
        rows.append(row)
    if rows:
        yield table(head, rows, (2,) if impact else ())
    yield _rest(len(block.cards))


def _cell(value: Cell) -> str:
    if isinstance(value, Tag):
        return f"**{safe(value.text, NAME)}**"
    if isinstance(value, Link | Local):
        return _link(value)
    if isinstance(value, Actions):
        return ""
    if isinstance(value, Stacked):
        return ", ".join(filter(None, (_cell(value.top), safe(value.below, CELL))))
    if isinstance(value, Sparkline):
        return spark(value)
    return safe(value, CELL)


def _link(link: Link | Local) -> str:
    if isinstance(link, Local):
        return safe(link.text, CELL)
    if is_web_address(link.href):
        address = link.href.replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace("\\", "%5C")
        return f"[{safe(link.text, CELL)}](<{address}>)"
    return f"{safe(link.text, CELL)} ({safe(link.href, CELL)})" if link.href else safe(link.text, CELL)


def _code(lines: Iterable[str]) -> str:
    content = "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
    return f"{fence}text\n{content}\n{fence}"


def _rest(count: int) -> str:
    return f"{count - MAX_ROWS:,} more are not shown here; the stored report has them." if count > MAX_ROWS else ""
