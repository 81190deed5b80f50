"""All columns as HTML: the worst as cards with their charts, the others as rows of a table, all to be searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keel.reports.html.byte_budget import ByteBudget, byte_count
from keel.reports.html.elements import chart, sparkline, tag, text
from keel.reports.page import Tone
from keel.values.texts import CELL, NAME

if TYPE_CHECKING:
    from keel.reports.page import ColumnCard, ColumnCards, Measure

MAX_DRAWN = 60
"""Columns that are drawn; nobody looks at more charts."""
DRAWN_SHARE = 0.4
"""Of the space, for those, where there are so many columns that they do not all fit."""
UNSEARCHED = 12
"""Columns that are found without a search, and that are never folded."""
MAX_REASONS, MAX_MEASURES = 10, 40
"""Of a card."""
MAX_QUIET = 3
"""Columns without drift at the end that are not folded."""
FRAME = 8_000
"""Bytes for what stands around cards and rows."""
SHORT_NAME = 40
"""Characters of the name in a row, where the rows would not fit otherwise."""


def render(block: ColumnCards, budget: ByteBudget, key: str) -> str:
    """Return all columns as HTML. ``key`` is the part of an id that distinguishes several such blocks."""
    cards = block.cards
    if not cards:
        return '<p class="quiet">There is no column.</p>'
    head = (_search(block, key) if len(cards) > UNSEARCHED else "") + _legend(block)
    budget.left -= byte_count(head) + FRAME
    drawn = _drawn(block, budget)
    first = _unfolded(cards[: len(drawn)])
    shown = f'<ol class="cards">{"".join(drawn[:first])}</ol>'
    if first < len(drawn):
        summary = f"{_counted(cards[first : len(drawn)], first)}, drawn"
        shown += (
            f'<details class="rest"><summary>{summary}</summary>'
            f'<ol class="cards" start="{first + 1}">{"".join(drawn[first:])}</ol></details>'
        )
    kind = "columns" if any(card.impact for card in cards) else "columns without-impact"
    kind += "" if any(card.figure for card in cards) else " without-figures"
    return f'<div class="{kind}">{head}{shown}{_rest(block, cards[len(drawn) :], len(drawn), budget)}</div>'


def _unfolded(cards: tuple[ColumnCard, ...]) -> int:
    """Return how many columns are seen at once: all but those at the end of which there is nothing to say."""
    count = len(cards)
    while count > UNSEARCHED and cards[count - 1].status.tone is Tone.GOOD:
        count -= 1
    return count if len(cards) - count > MAX_QUIET else len(cards)


def _counted(cards: tuple[ColumnCard, ...], before: int) -> str:
    """Return how many columns there are of each status."""
    counts = Counter(card.status.text for card in cards).most_common(6)
    statuses = ", ".join(f"{count:,} {text(status, NAME)}" for status, count in counts)
    return f"{len(cards):,} {'further ' if before else ''}columns ({statuses})"


def _drawn(block: ColumnCards, budget: ByteBudget) -> list[str]:
    few = len(block.cards) <= MAX_DRAWN
    part = ByteBudget(budget.left if few else int(budget.left * DRAWN_SHARE))
    before = part.left
    drawn = part.take_some(_card(card, block) for card in block.cards[:MAX_DRAWN])
    if few and len(drawn) < len(block.cards):  # charts so large that a few do not fit: leave space for the rows
        part = ByteBudget(before // 2)
        drawn = part.take_some(drawn)
        before = before // 2
    budget.left -= before - part.left
    return drawn


def _search(block: ColumnCards, key: str) -> str:
    """Return the controls, which a script shows: without it they would do nothing."""
    counts = Counter(card.status.text for card in block.cards)
    options = "".join(
        f'<option value="{text(status, NAME)}">{text(status, NAME)} ({count:,})</option>'
        for status, count in list(counts.items())[:20]
    )
    return (
        f'<form class="search" hidden><label for="find{key}">Search columns</label>'
        f'<input type="search" id="find{key}" autocomplete="off" spellcheck="false">'
        f'<label for="status{key}">Status</label><select id="status{key}">'
        f'<option value="">all ({len(block.cards):,})</option>{options}</select><output role="status"></output></form>'
    )


def _legend(block: ColumnCards) -> str:
    impact = f"Impact on the {text(block.impact_unit, NAME)}" if block.impact_unit else ""
    swatches = [("current", f"{text(block.current_label, NAME)} (blue)")]
    if block.reference_label:
        swatches.insert(0, ("reference", f"{text(block.reference_label, NAME)} (grey)"))
    named = ", ".join(f'<i class="swatch {kind}"></i>{label}' for kind, label in swatches)
    return f'<p class="legend"><span>Column</span><span>{named}</span><span>{impact}</span><span>Measures</span></p>'


def _card(card: ColumnCard, block: ColumnCards) -> str:
    about = " · ".join(text(part, NAME) for part in (card.kind, card.role) if part)
    figure = ""
    if card.figure is not None:
        figure = f"{chart(card.figure.chart, card.figure.sentence)}<p>{text(card.figure.sentence, CELL)}</p>"
    unit = f" <span>{text(block.impact_unit, NAME)}</span>" if block.impact_unit and card.impact else ""
    impact = f"{text(card.impact, NAME)}{unit}" if card.impact else ""
    history = ""
    if card.history is not None:
        history = f'<p class="history">{sparkline(card.history, card.history_sentence)}'
        history += f"<span>{text(card.history_sentence, CELL)}</span></p>"
    reasons = "".join(f"<li>{text(reason, CELL)}</li>" for reason in card.reasons[:MAX_REASONS])
    return (
        f'<li class="card"><div class="who"><h3>{text(card.name, NAME)}</h3>{tag(card.status)}<p>{about}</p></div>'
        f'<div class="plot">{figure}</div><div class="impact">{impact}</div>'
        f'<div class="what"><p>{text(card.summary, CELL)}</p>{f"<ul>{reasons}</ul>" if reasons else ""}{history}'
        f"{_measures(card.measures)}</div></li>"
    )


def _measures(measures: tuple[Measure, ...]) -> str:
    if not measures:
        return ""
    rows = "".join(
        f"<div><dt>{text(each.name, NAME)}</dt><dd><b>{text(each.value, NAME)}</b> "
        f"{text(each.meaning, CELL)}</dd></div>"
        for each in measures[:MAX_MEASURES]
    )
    return f"<details><summary>What the measures mean</summary><dl>{rows}</dl></details>"


def _rest(block: ColumnCards, rest: tuple[ColumnCard, ...], drawn: int, budget: ByteBudget) -> str:
    if not rest:
        return ""
    rows = list(_rows(rest, NAME, summary=True))
    if sum(map(byte_count, rows)) > budget.left:
        rows = list(_rows(rest, SHORT_NAME, summary=False))
    taken = budget.take_some(rows)
    note = f"{_counted(rest, drawn)}, not drawn"
    missing = len(rest) - len(taken)
    cut = f'<p class="quiet">{missing:,} more are not listed here. The stored report has them.</p>' if missing else ""
    impact = f"Impact on the {text(block.impact_unit, NAME)}" if block.impact_unit else "Impact"
    return (
        f'<details class="rest"><summary>{note}</summary><div class="table"><table>'
        f"<caption>{note}, the worst first</caption><thead><tr><th scope=col>Column<th scope=col>Status"
        f"<th scope=col class=num>{impact}<th scope=col>Measures</thead><tbody>{''.join(taken)}</tbody></table></div>"
        f"{cut}</details>"
    )


def _rows(cards: tuple[ColumnCard, ...], limit: int, *, summary: bool) -> Iterator[str]:
    """Yield a row for each column, without the closing tags that HTML can do without: there can be thousands."""
    for card in cards:
        measures = text(card.summary, NAME) if summary else ""
        yield (
            f"<tr><th scope=row>{text(card.name, limit)}<td>{text(card.status.text, NAME)}"
            f"<td class=num>{text(card.impact, NAME)}<td>{measures}\n"
        )
