"""The blocks that a page is made of. A builder makes them from records, and a renderer turns them into text or HTML.

All texts are plain: a renderer escapes them. No chart is without a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, TypeAlias

from keel.reports.charts.specs import Chart, Sparkline


class Tone(StrEnum):
    """What a word or number means for its reader. It is never carried by colour alone."""

    NEUTRAL = "neutral"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True)
class Tag:
    """A status in a word."""

    text: str
    tone: Tone = Tone.NEUTRAL


@dataclass(frozen=True)
class Link:
    """A text that leads to an address. An address that is neither http nor https is shown as text."""

    text: str
    href: str


@dataclass(frozen=True)
class Local:
    """A text that leads to another page of Keel's in Airflow. Elsewhere only the text is shown.

    path: relative to the root of those pages, quoted as in an address, such as ``models/flight_delay``.
    """

    text: str
    path: str


@dataclass(frozen=True)
class Field:
    """What an action asks for in its dialog."""

    name: str
    """Of the member of the request's body."""
    label: str
    kind: Literal["text", "number", "choice", "duration", "flag"] = "text"
    value: str = ""
    """What it holds at first."""
    choices: tuple[str, ...] = ()
    required: bool = False
    """Whether it may not be empty. An empty field and a flag that is not set are not sent."""


@dataclass(frozen=True)
class Action:
    """A request that a person may send from here, once a dialog is confirmed.

    Only the page in Airflow shows it, and only to who may run ``dag_id``.
    """

    label: str
    method: str
    path: str
    """Relative to Airflow's root, such as ``models/promote``."""
    question: str
    """What the dialog asks: one sentence that says what happens."""
    body: tuple[tuple[str, str | int], ...] = ()
    """Members of the request's body that nobody is asked for."""
    fields: tuple[Field, ...] = ()
    dag_id: str = ""
    """The DAG whose run permission it needs; empty: none."""
    danger: bool = False
    """Whether it changes what production answers, and is shown as such."""


@dataclass(frozen=True)
class Actions:
    """What can be done here, the most likely first."""

    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Fact:
    """A number or word in large type, and what it says, a line each."""

    value: str
    lines: tuple[str, ...]
    tone: Tone = Tone.NEUTRAL


@dataclass(frozen=True)
class Facts:
    """A few facts side by side."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, with links after it."""

    text: str
    links: tuple[Link | Local, ...] = ()
    quiet: bool = False
    """Whether it is an aside."""


@dataclass(frozen=True)
class Items:
    """A list, an item a line."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command to copy."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A chart and the sentence that says what it shows, which is also its description for a screen reader."""

    chart: Chart
    sentence: str


Simple: TypeAlias = str | Tag | Link | Local | Sparkline | Actions


@dataclass(frozen=True)
class Stacked:
    """The content of a cell with a quiet line below it, such as a model and its version."""

    top: Simple
    below: str


Cell: TypeAlias = Simple | Stacked


@dataclass(frozen=True)
class Table:
    """A table with a caption for readers that do not see it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    """Columns that are aligned to the right."""
    wide: bool = False
    """Whether it may be wider than a phone, and scrolls there."""
    unbroken: tuple[int, ...] = ()
    """Columns of short cells, whose lines do not wrap."""
    sentences: tuple[int, ...] = ()
    """Columns of sentences, which are not squeezed beside those that do not wrap."""


def without_actions(table: Table, may: Callable[[str], bool] | None) -> Table:
    """Return a table without the columns in which there is only what a reader may not do.

    may: whether the reader may run a DAG. None: nothing can be done where the table is shown.
    """

    def is_kept(column: int) -> bool:
        cells = [row[column] for row in table.rows if column < len(row)]
        found = [cell for cell in cells if isinstance(cell, Actions)]
        if not found or any(cell != "" for cell in cells if not isinstance(cell, Actions)):
            return True
        return may is not None and any(not each.dag_id or may(each.dag_id) for cell in found for each in cell.actions)

    kept = [i for i in range(len(table.head)) if is_kept(i)]
    if len(kept) == len(table.head):
        return table
    rows = tuple(tuple(row[i] for i in kept if i < len(row)) for row in table.rows)
    head = tuple(table.head[i] for i in kept)
    of = (table.numeric, table.unbroken, table.sentences)
    numeric, unbroken, sentences = (tuple(kept.index(i) for i in columns if i in kept) for columns in of)
    return replace(table, head=head, rows=rows, numeric=numeric, unbroken=unbroken, sentences=sentences)


@dataclass(frozen=True)
class Measure:
    """A measure of a column: its name, its number as text, and a sentence about what it means."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class ColumnCard:
    """One column of the data: its distribution, what its drift costs, its measures and its history."""

    name: str
    kind: str
    role: str
    status: Tag
    figure: Figure | None
    impact: str
    """With sign and unit; empty without losses."""
    summary: str
    """The measures in a line."""
    measures: tuple[Measure, ...] = ()
    reasons: tuple[str, ...] = ()
    history: Sparkline | None = None
    history_sentence: str = ""


@dataclass(frozen=True)
class ColumnCards:
    """All columns, the worst first. A page draws as many as it has space for, lists the others, and searches all.

    reference_label: empty where the charts have no reference.
    impact_unit: of what drift costs, such as ``Brier score``; empty without losses.
    """

    cards: tuple[ColumnCard, ...]
    reference_label: str = "reference"
    current_label: str = "window"
    impact_unit: str = ""


@dataclass(frozen=True)
class Details:
    """Blocks that are folded until a reader opens them."""

    summary: str
    blocks: tuple[Block, ...]


Block: TypeAlias = Facts | Paragraph | Items | Command | Figure | Table | ColumnCards | Details | Actions


@dataclass(frozen=True)
class Section:
    """A part of a page, with a title unless it is the only one."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A report as blocks: one sentence first, then facts, then the evidence."""

    title: str
    """Of the window or file: short."""
    eyebrow: str
    """What the page is about, above the headline: model, version, window, rows."""
    headline: str
    """One sentence that a product owner understands."""
    tag: Tag | None = None
    lead: str = ""
    facts: tuple[Fact, ...] = ()
    sections: tuple[Section, ...] = ()
    footer: tuple[str, ...] = ()
    """Where the numbers come from: grid, level, release."""
