"""A page as text: with colours and borders on a terminal, as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text

from keel.reports.charts.bars import together
from keel.reports.charts.lines import chart_lines, spark
from keel.reports.charts.specs import Categories, Chart, Histogram, Sparkline
from keel.reports.page import (
    Actions,
    Block,
    Cell,
    ColumnCard,
    ColumnCards,
    Command,
    Details,
    Fact,
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
    Tone,
    without_actions,
)
from keel.values.texts import CELL, NAME, TEXT, shown, to_ascii

MAX_ROWS = 30
"""Rows of a table, columns and items of a list that are printed."""
CELL_WIDTH = 30
"""Characters of a history in a table."""
STYLES = {Tone.NEUTRAL: "", Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "red"}
WIDE, MEDIUM = 100, 72
"""Characters from which the table of columns has a distribution of 20 characters, and of 12."""


@dataclass(frozen=True)
class PageText:
    """A page that a rich console prints: as wide as it is, in ASCII where it knows nothing else."""

    page: Page

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        parts = _page(self.page, options.max_width)
        if not options.ascii_only:
            yield from parts
            return
        for segment in console.render(Group(*parts), options):
            yield Segment(to_ascii(segment.text), segment.style, segment.control)


def _page(page: Page, width: int) -> Iterator[RenderableType]:
    eyebrow = Text(shown(page.eyebrow, CELL), style="dim")
    if page.tag:
        eyebrow.append("  ").append_text(_tag(page.tag))
    yield eyebrow
    yield Text(shown(page.headline), style="bold")
    if page.lead:
        yield Text("\n" + shown(page.lead))
    if page.facts:
        yield Text("")
        yield _facts(page.facts)
    for section in page.sections:
        yield Text("\n" + shown(section.title, CELL) if section.title else "", style="bold")
        for block in section.blocks:
            yield from _block(block, width)
    if page.footer:
        yield Text("")
        yield from (Text(shown(line, CELL), style="dim") for line in page.footer)


def render(page: Page) -> PageText:
    """Return a page as something that a rich console prints."""
    return PageText(page)


def plain(page: Page, *, width: int = 100) -> str:
    """Return a page as lines of text without colours, at most ``width`` characters long."""
    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    options = replace(console.options, encoding="utf-8")
    lines = console.render_lines(PageText(page), options, pad=False)
    return "".join("".join(segment.text for segment in line).rstrip() + "\n" for line in lines)


def _block(block: Block, width: int) -> Iterator[RenderableType]:
    if isinstance(block, Facts):
        yield _facts(block.facts)
    elif isinstance(block, Paragraph):
        yield Text(" ".join([shown(block.text), *map(_link, block.links)]), style="dim" if block.quiet else "")
    elif isinstance(block, Items):
        yield from (Text(f"- {shown(item)}") for item in block.items[:MAX_ROWS])
        yield from _rest(len(block.items))
    elif isinstance(block, Command):
        yield Padding(Text("\n".join(map(shown, block.text.splitlines())), style="bold"), (0, 0, 0, 4))
    elif isinstance(block, Figure):
        yield Text(shown(block.sentence))
        lines = chart_lines(block.chart)
        yield Padding(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), (0, 0, 0, 2))
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, ColumnCards):
        yield from _columns(block, width)
    elif isinstance(block, Details):
        yield from _details(block, width)


def _details(block: Details, width: int) -> Iterator[RenderableType]:
    yield Text(shown(block.summary, CELL), style="italic")
    for inner in block.blocks:
        yield from (Padding(part, (0, 0, 0, 2)) for part in _block(inner, width - 2))


def _facts(facts: tuple[Fact, ...]) -> RenderableType:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=False, max_width=28)
    grid.add_column()
    for fact in facts:
        value = Text(shown(fact.value, NAME), style=f"bold {STYLES[fact.tone]}".strip())
        grid.add_row(value, Text("; ".join(shown(line, CELL) for line in fact.lines)))
    return grid


def _table(block: Table) -> Iterator[RenderableType]:
    block = without_actions(block, None)
    grid = _grid()
    for i, title in enumerate(block.head):
        grid.add_column(Text(shown(title, CELL)), justify="right" if i in block.numeric else "left")
    for row in block.rows[:MAX_ROWS]:
        grid.add_row(*(_cell(cell) for cell in row))
    yield Text(shown(block.caption, CELL), style="dim")
    yield grid
    yield from _rest(len(block.rows))


def _columns(block: ColumnCards, width: int) -> Iterator[RenderableType]:
    size = 20 if width >= WIDE else 12 if width >= MEDIUM else 0
    drawn = size and any(card.figure and card.status.tone is not Tone.GOOD for card in block.cards[:MAX_ROWS])
    grid = _grid()
    grid.add_column("column", overflow="fold", min_width=10, max_width=28)
    grid.add_column("status", no_wrap=True)
    if block.impact_unit:
        grid.add_column(Text(f"impact on\n{shown(block.impact_unit, 20)}"), justify="right")
    if drawn:
        labels = f"{shown(block.reference_label, size)}\n{shown(block.current_label, size)}"
        grid.add_column(Text(labels), min_width=size, no_wrap=True)
    grid.add_column("measures", overflow="fold")
    for card in block.cards[:MAX_ROWS]:
        cells = [Text(shown(card.name, NAME), style="bold"), _tag(card.status)]
        cells += [Text(shown(card.impact, NAME))] if block.impact_unit else []
        quiet = card.status.tone is Tone.GOOD  # two lines of text for each column that is fine would fill the screen
        cells += [Text("" if quiet else _distribution(card, size))] if drawn else []
        grid.add_row(*cells, Text(shown(card.summary, CELL)))
    yield grid
    yield from _rest(len(block.cards))


def _distribution(card: ColumnCard, size: int) -> str:
    chart: Chart | None = card.figure.chart if card.figure else None
    if isinstance(chart, Histogram):
        both = [shares for shares in (chart.reference, chart.current) if shares is not None]
    elif isinstance(chart, Categories):
        both = [tuple(b.reference or 0.0 for b in chart.bars), tuple(b.current or 0.0 for b in chart.bars)]
    else:
        return ""
    return "\n".join(together(both, width=size))


def _grid() -> Grid:
    return Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def _cell(cell: Cell) -> Text:
    if isinstance(cell, Tag):
        return _tag(cell)
    if isinstance(cell, Link | Local):
        return Text(_link(cell))
    if isinstance(cell, Actions):
        return Text("")
    if isinstance(cell, Stacked):
        top, below = _cell(cell.top), Text(shown(cell.below, CELL), style="dim")
        return Text("\n").join([part for part in (top, below) if part])
    if isinstance(cell, Sparkline):
        return Text(spark(cell, width=CELL_WIDTH))
    return Text(shown(cell, CELL))


def _tag(tag: Tag) -> Text:
    return Text(shown(tag.text, NAME), style=STYLES[tag.tone])


def _link(link: Link | Local) -> str:
    if isinstance(link, Local):
        return shown(link.text, CELL)
    return f"{shown(link.text, CELL)}: {shown(link.href, TEXT)}" if link.href else shown(link.text, CELL)


def _rest(count: int) -> Iterator[RenderableType]:
    if count > MAX_ROWS:
        yield Text(f"{count - MAX_ROWS:,} more are not printed here.", style="dim")
