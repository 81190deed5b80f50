"""Draw labelled estimates under each other with their intervals, beside a line that a bound must exceed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.reports.charts.axes import Axis, finite, padded
from keel.reports.charts.canvas import Canvas, at, box_of, nothing_to_draw, width_of
from keel.values.texts import shown

if TYPE_CHECKING:
    from keel.reports.charts.specs import Interval, Intervals

WIDTH = 560.0
_ROW, _TOP, _BELOW = 22.0, 18.0, 36.0
_WIDEST_NAME = 0.3
"""Of the drawing's width."""
_WIDEST_DETAIL = 0.26


def draw_intervals(chart: Intervals, description: str, width: float | None = None) -> str:
    """Return the estimates as SVG. A bound that is open is an arrow to the edge."""
    width = width or WIDTH
    values = finite(each for row in chart.rows for each in (row.value, row.lower, row.upper))
    line = finite((chart.line,))
    if not values:
        return nothing_to_draw(description, width=width)
    bottom = _TOP + _ROW * len(chart.rows)
    canvas = Canvas(width, bottom + _BELOW)
    left = min(max(width_of(shown(row.label[:80])) for row in chart.rows), _WIDEST_NAME * width) + 12
    details = max(width_of(shown(row.detail[:80])) for row in chart.rows)
    right = width - (min(details, _WIDEST_DETAIL * width) + 12 if details else 12)
    axis = Axis(*padded([*values, *line]), left, right)
    _draw_value_axis(canvas, axis, bottom, chart.unit or chart.name)
    if line:
        x = axis(line[0])
        canvas.path("level", f"M{at(x)} {at(_TOP - 4)}V{at(bottom)}")
        if chart.line_label:
            half = width_of(shown(chart.line_label[:80])) / 2
            canvas.text(min(max(x, half + 2), width - half - 2), 11, chart.line_label, anchor="middle", room=width - 4)
    for i, row in enumerate(chart.rows):
        y = _TOP + _ROW * (i + 0.5)
        canvas.text(left - 10, y + 4, row.label, "name", anchor="end", room=left - 10)
        if row.detail:
            canvas.text(right + 10, y + 4, row.detail, room=width - right - 10)
        _draw_row(canvas, axis, row, y)
    return canvas.render(description)


def _draw_value_axis(canvas: Canvas, axis: Axis, bottom: float, title: str) -> None:
    if title:
        canvas.text(axis.end, bottom + 30, title, anchor="end", room=canvas.width - 16)
    grid = ""
    for value, label in axis.labelled_ticks(7):
        grid += f"M{at(axis(value))} {at(_TOP - 4)}V{at(bottom)}"
        if canvas.is_free(box_of(axis(value), bottom + 15, label, "middle")):
            canvas.text(axis(value), bottom + 15, label, anchor="middle")
    canvas.path("grid", grid)
    canvas.path("axis", f"M{at(axis.start)} {at(bottom)}H{at(axis.end)}")


def _draw_row(canvas: Canvas, axis: Axis, row: Interval, y: float) -> None:
    lower, upper, value = (finite((each,)) for each in (row.lower, row.upper, row.value))
    if not (lower or upper or value):
        canvas.text((axis.start + axis.end) / 2, y + 4, "no value", "label note", anchor="middle")
        return
    if lower or upper:
        start = axis(lower[0]) if lower else axis.start
        end = axis(upper[0]) if upper else axis.end
        bar = f"M{at(start)} {at(y)}H{at(end)}"
        bar += f"M{at(start)} {at(y - 4)}v8" if lower else f"M{at(start + 5)} {at(y - 4)}l-5 4 5 4"
        bar += f"M{at(end)} {at(y - 4)}v8" if upper else f"M{at(end - 5)} {at(y - 4)}l5 4 -5 4"
        canvas.path("interval", bar)
    if value:
        canvas.dot("point", axis(value[0]), y, 4)
