"""Draw columns × time: a row each, a cell a check, the darker the more has changed, and a dot where it has drifted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.reports.charts.axes import finite
from keel.reports.charts.canvas import Canvas, at, box_of, nothing_to_draw, width_of
from keel.reports.charts.time_axis import seconds, times_named
from keel.values.texts import shown

if TYPE_CHECKING:
    from keel.reports.charts.specs import HeatCell, Heatmap

WIDTH = 960.0
SHADES = 6
"""Steps of a cell's colour, classes ``h0`` to ``h5``."""
_ROW, _GAP = 20.0, 2.0
_TOP, _BELOW, _LEGEND = 18.0, 22.0, 20.0
_WIDEST_NAME = 0.32
"""Of the drawing's width."""
_NARROWEST, _WIDEST = 12.0, 64.0
"""Of a cell. Where the cells would be narrower, as on a phone, the oldest are left out."""
_SWATCH = 14.0

Address = Callable[[str], str]


@dataclass(frozen=True)
class _Layout:
    left: float
    step: float
    first: int
    """Of the columns that are drawn."""
    bottom: float

    def x(self, column: int) -> float:
        return self.left + (column - self.first) * self.step

    def y(self, row: int) -> float:
        return _TOP + row * _ROW


def draw_heatmap(chart: Heatmap, description: str, width: float | None = None, address: Address | None = None) -> str:
    """Return the heatmap as SVG. With addresses each cell that has a path is a link."""
    width = width or WIDTH
    if not chart.rows or not chart.columns or not any(cell for row in chart.cells for cell in row):
        return nothing_to_draw(description, width=width)
    layout = _layout(chart, width)
    canvas = Canvas(width, layout.bottom + _BELOW + _LEGEND)
    _draw_marks(canvas, chart, layout)
    for i, name in enumerate(chart.rows):
        canvas.text(layout.left - 8, layout.y(i) + 14, name, "name", anchor="end", room=layout.left - 10)
        for j, cell in enumerate(chart.cells[i]):
            if cell is not None and j >= layout.first:
                _draw_cell(canvas, cell, layout, i, j, address)
    _label_times(canvas, chart, layout)
    _draw_legend(canvas, chart, layout)
    linked = address is not None and any(cell and cell.path for row in chart.cells for cell in row)
    return canvas.render(description, role="group" if linked else "img")


def _layout(chart: Heatmap, width: float) -> _Layout:
    widest = max(width_of(shown(name[:80])) for name in chart.rows)
    left = min(widest, _WIDEST_NAME * width) + 12
    columns = min(len(chart.columns), max(int((width - left) // _NARROWEST), 1))
    step = min((width - left) / columns, _WIDEST)
    return _Layout(left, step, len(chart.columns) - columns, _TOP + _ROW * len(chart.rows))


def _draw_cell(canvas: Canvas, cell: HeatCell, layout: _Layout, row: int, column: int, address: Address | None) -> None:
    x, y, wide, high = layout.x(column), layout.y(row), layout.step - _GAP, _ROW - _GAP
    shape = f'<rect class="{_shade(cell.value)}" x="{at(x)}" y="{at(y)}" width="{at(wide)}" height="{at(high)}"/>'
    if cell.marked:
        shape += f'<circle class="hm" cx="{at(x + wide / 2)}" cy="{at(y + high / 2)}" r="2.5"/>'
    href = address(cell.path) if address is not None and cell.path else ""
    canvas.group(shape, cell.title, href)


def _shade(value: float | None) -> str:
    known = finite((value,))
    return f"h{min(int(min(max(known[0], 0.0), 1.0) * SHADES), SHADES - 1)}" if known else "hn"


def _draw_marks(canvas: Canvas, chart: Heatmap, layout: _Layout) -> None:
    """Draw a line before the first column at or after the time of each mark, with its label above where it fits."""
    for mark in sorted(chart.marks, key=lambda mark: seconds(mark.time)):
        later = [j for j, time in enumerate(chart.columns) if seconds(time) >= seconds(mark.time)]
        if not later or later[0] < layout.first or (later[0] == layout.first and layout.first > 0):
            continue
        x = layout.x(later[0]) - _GAP / 2
        canvas.path("mark", f"M{at(x)} 2V{at(layout.bottom)}", title=mark.label)
        if canvas.is_free(box_of(x + 4, 12, mark.label)):
            canvas.text(x + 4, 12, mark.label)


def _label_times(canvas: Canvas, chart: Heatmap, layout: _Layout) -> None:
    y = layout.bottom + 14
    labels = times_named(chart.columns)
    for j in range(len(chart.columns) - 1, layout.first - 1, -1):  # the newest is what a reader looks for
        label = labels[j]
        x = min(max(layout.x(j) + (layout.step - _GAP) / 2, width_of(label) / 2), canvas.width - width_of(label) / 2)
        box = box_of(x, y, label, "middle")
        if not any(
            box.left - 8 < other.right and other.left < box.right + 8 for other in canvas.taken if other.bottom > y
        ):
            canvas.text(x, y, label, anchor="middle")


def _draw_legend(canvas: Canvas, chart: Heatmap, layout: _Layout) -> None:
    """Draw what the shades and marks stand for, as far as there are such cells, in as many lines as it needs."""
    y = layout.bottom + _BELOW + 4
    start = 4.0 if layout.left > canvas.width / 4 else layout.left
    cells = [cell for row in chart.cells for cell in row if cell is not None]
    canvas.text(start, y + 11, "unchanged")
    x = start + width_of("unchanged") + 6
    for shade in range(SHADES):
        canvas.shapes.append(_swatch(f"h{shade}", x, y))
        x += _SWATCH + _GAP
    canvas.text(x + 4, y + 11, chart.legend, room=canvas.width - x - 4)
    x += width_of(chart.legend) + 20
    for there, label, marked in (
        (any(cell.marked for cell in cells), "drifted", True),
        (any(not finite((cell.value,)) for cell in cells), "not measured", False),
    ):
        if not there:
            continue
        wide = _SWATCH + 6 + width_of(label)
        if x + wide > canvas.width:
            x, y = start, y + _LEGEND
            canvas.height += _LEGEND
        canvas.shapes.append(_swatch("h5" if marked else "hn", x, y, marked=marked))
        canvas.text(x + _SWATCH + 6, y + 11, label)
        x += wide + 16


def _swatch(shade: str, x: float, y: float, *, marked: bool = False) -> str:
    rect = f'<rect class="{shade}" x="{at(x)}" y="{at(y)}" width="{at(_SWATCH)}" height="{at(_SWATCH)}"/>'
    return rect + (
        f'<circle class="hm" cx="{at(x + _SWATCH / 2)}" cy="{at(y + _SWATCH / 2)}" r="2.5"/>' if marked else ""
    )
