"""Draw the history of a number in the space of a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.reports.charts.axes import Axis, finite, padded
from keel.reports.charts.canvas import Canvas, at, nothing_to_draw

if TYPE_CHECKING:
    from keel.reports.charts.specs import Sparkline

WIDTH, HEIGHT = 96.0, 20.0
MOST = 32
"""Values drawn: the newest. More of them are too fine to see, and too many bytes for a page of many columns."""


def draw_sparkline(chart: Sparkline, description: str) -> str:
    """Return the sparkline as SVG: a line, a dot at the newest value, the threshold dashed."""
    values = [number[0] if (number := finite((value,))) else None for value in chart.values[-MOST:]]
    known = finite(values)
    if not known:
        return nothing_to_draw(description, width=WIDTH, height=HEIGHT, kind="spark")
    threshold = finite((chart.threshold,))
    vertical = Axis(*padded([*known, *threshold, *((0.0,) if chart.from_zero else ())]), HEIGHT - 2, 2)
    step = (WIDTH - 8) / max(len(values) - 1, 1)
    line, pen_up = "", True
    for i, value in enumerate(values):
        if value is None:
            pen_up = True
            continue
        line += f"{'M' if pen_up else 'L' if line.endswith('z') else ' '}{round(4 + i * step)} {round(vertical(value))}"
        pen_up = False
    canvas = Canvas(WIDTH, HEIGHT)
    if threshold:
        canvas.path("level", f"M0 {at(vertical(threshold[0]))}H{at(WIDTH)}")
    canvas.path("cur", line)
    last = max(i for i, value in enumerate(values) if value is not None)
    newest = values[last]
    if newest is not None:
        canvas.dot("point", 4 + last * step, vertical(newest), 2.5)
    return canvas.render(description, "spark")
