"""Draw the shares of categories: a row each, the reference as a thick pale bar, the window as a thin dark one in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.reports.charts.axes import Axis, known_shares
from keel.reports.charts.canvas import Canvas, at, nothing_to_draw, width_of
from keel.reports.numbers import share
from keel.values.texts import shown

if TYPE_CHECKING:
    from keel.reports.charts.specs import Bar, Categories

WIDTH = 320.0
_ROW, _THICK, _THIN = 16.0, 11.0, 4.0
_TOP, _BELOW, _GAP = 2.0, 18.0, 5.0
_WIDEST_NAME = 0.34
"""Of the drawing's width."""
_LONGEST = 1.5
"""A bar is cut at this multiple of the longest one of a category with a name: all the others together, or all missing,
must not flatten them."""


def draw_categories(chart: Categories, description: str, width: float | None = None) -> str:
    """Return the categories as SVG."""
    width = width or WIDTH
    rows = [*chart.bars, *chart.tails]
    shares = [
        value for value in known_shares(each for bar in rows for each in (bar.reference, bar.current)) if value > 0
    ]
    if not shares:
        return nothing_to_draw(description)
    split = len(chart.bars)
    gap = _GAP if chart.bars and chart.tails else 0.0
    bottom = _TOP + _ROW * len(rows) + gap
    canvas = Canvas(width, bottom + _BELOW)
    left = min(max(width_of(shown(bar.label[:60])) for bar in rows), _WIDEST_NAME * width) + 8
    numbers = [_both(bar) for bar in rows]
    right = width - max(map(width_of, numbers)) - 8
    axis = Axis(0.0, min(max(shares), _LONGEST * _longest_named(chart)), left, right)
    grid = ""
    for tick, label in _ticks(axis):
        grid += f"M{at(axis(tick))} {at(_TOP)}V{at(bottom)}"
        canvas.text(axis(tick), bottom + 13, label, anchor="middle")
    canvas.path("grid", grid)
    thick = thin = cuts = ""
    for i, bar in enumerate(rows):
        y = _TOP + _ROW * i + (gap if i >= split else 0.0)
        thick += _bar(axis, bar.reference, y + (_ROW - _THICK) / 2, _THICK)
        thin += _bar(axis, bar.current, y + (_ROW - _THIN) / 2, _THIN)
        if max(known_shares((bar.reference, bar.current)), default=0.0) > axis.high * 1.001:
            cuts += f"M{at(right - 12)} {at(y + 14)}l4 -12M{at(right - 8)} {at(y + 14)}l4 -12"
        canvas.text(left - 5, y + 12, bar.label, "name" if i < split else "label", anchor="end", room=left - 6)
        canvas.text(width - 2, y + 12, numbers[i], anchor="end")
    canvas.path("ref", thick)
    canvas.path("bar", thin)
    canvas.path("cut", cuts)
    canvas.path("axis", f"M{at(left)} {at(_TOP)}V{at(bottom)}")
    return canvas.render(description)


def _longest_named(chart: Categories) -> float:
    """Return the greatest share of a category with a name, by which the others are drawn; 1 without any."""
    named = chart.bars[:-1] or chart.bars
    return max(known_shares(each for bar in named for each in (bar.reference, bar.current)), default=0.0) or 1.0


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    return [(tick, "0" if tick == 0 else share(tick)) for tick in axis.ticks(4)]


def _bar(axis: Axis, value: float | None, top: float, height: float) -> str:
    known = known_shares((value,))
    if not known or known[0] <= 0:
        return ""
    end = max(axis(known[0]), axis.start + 0.5)  # a rare category is seen
    return f"M{at(axis.start)} {at(top)}H{at(end)}v{at(height)}H{at(axis.start)}z"


def _both(bar: Bar) -> str:
    before, now = (known_shares((each,)) for each in (bar.reference, bar.current))
    if not before:
        return _percent(now[0] if now else None)
    return f"{_percent(before[0])} → {_percent(now[0] if now else None)}"


def _percent(value: float | None) -> str:
    """Return a share with one decimal, which is enough beside its bar, and its own digits where that is zero."""
    if value is None or 0 < value < 0.001 or 0.9995 <= value < 1:
        return share(value, 2)
    return f"{100 * value:.1f}%" if value not in (0, 1) else share(value)
