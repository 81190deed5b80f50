"""Draw lines over a numeric axis: ROC, calibration, distributions of residuals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from keel.reports.charts.axes import Axis, padded
from keel.reports.charts.canvas import LABEL_SIZE, Canvas, at, nothing_to_draw, width_of
from keel.values.texts import shown

if TYPE_CHECKING:
    from keel.reports.charts.specs import Curve, Curves

WIDTH, HEIGHT = 380.0, 300.0
_LEFT, _BOTTOM, _LINE = 48.0, 36.0, 16.0
MOST_POINTS = 200
"""Of a curve: more are not seen. Those that stay are spread evenly over the given ones, with both ends."""
DASHES = 4
"""Number of the last style of lines; further curves repeat it."""


def draw_curves(chart: Curves, description: str, width: float | None = None) -> str:
    """Return the curves as SVG, with a legend above the plot where there are several."""
    width = width or WIDTH
    curves = [(curve.label, _thinned(_points(curve))) for curve in chart.curves]
    points = [point for _, line in curves for point in line]
    if not points:
        return nothing_to_draw(description, width=width)
    canvas = Canvas(width, HEIGHT)
    top = draw_legend(canvas, [(label, f"s{min(i, DASHES)}") for i, (label, _) in enumerate(curves)], _LEFT)
    canvas.height = HEIGHT + top
    low, high = (0.0, 1.0) if chart.diagonal else padded([x for x, _ in points], 0.0)
    horizontal = Axis(low, high, _LEFT, width - 12)
    low, high = (0.0, 1.0) if chart.diagonal else padded([y for _, y in points])
    vertical = Axis(low, high, canvas.height - _BOTTOM, top + 20)
    _draw_axes(canvas, horizontal, vertical, chart)
    if chart.diagonal:
        ends = f"M{at(horizontal.start)} {at(vertical.start)}L{at(horizontal.end)} {at(vertical.end)}"
        canvas.path("level", ends)
    for i, (_, line) in enumerate(curves):
        path = " ".join(f"{at(horizontal(x))} {at(vertical(y))}" for x, y in line)
        canvas.path(f"s{min(i, DASHES)}", f"M{path}" if len(line) > 1 else "")
        if len(line) == 1:
            canvas.dot("point", horizontal(line[0][0]), vertical(line[0][1]))
    return canvas.render(description)


def _points(curve: Curve) -> list[tuple[float, float]]:
    pairs = zip(curve.x, curve.y, strict=False)
    return [(float(x), float(y)) for x, y in pairs if _is_number(x) and _is_number(y)]


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MOST_POINTS:
        return points
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(i * step)] for i in range(MOST_POINTS)]


def _draw_axes(canvas: Canvas, horizontal: Axis, vertical: Axis, chart: Curves) -> None:
    grid = ""
    for value, label in horizontal.labelled_ticks(6):
        x = horizontal(value)
        grid += f"M{at(x)} {at(vertical.start)}V{at(vertical.end)}"
        canvas.text(x, vertical.start + 14, label, anchor="middle")
    for value, label in vertical.labelled_ticks(6):
        y = vertical(value)
        grid += f"M{at(horizontal.start)} {at(y)}H{at(horizontal.end)}"
        canvas.text(horizontal.start - 5, y + 4, label, anchor="end")
    canvas.path("grid", grid)
    canvas.path("axis", f"M{at(horizontal.start)} {at(vertical.end)}V{at(vertical.start)}H{at(horizontal.end)}")
    canvas.text(horizontal.end, vertical.start + 30, chart.x_label, anchor="end", room=canvas.width - 12)
    canvas.text(4, vertical.end - 8, chart.y_label, room=canvas.width - 12)


def draw_legend(canvas: Canvas, entries: list[tuple[str, str]], left: float) -> float:
    """Draw a legend at the top in as many lines as it needs; return its height. One entry needs none."""
    named = [(shown(label), classes) for label, classes in entries if label]
    if len(named) < 2:
        return 0.0
    x, y = left, LABEL_SIZE
    room = canvas.width - left - 34
    for label, classes in named:
        width = min(width_of(label), room)
        if x > left and x + 24 + width > canvas.width - 4:
            x, y = left, y + _LINE
        canvas.path(classes, f"M{at(x)} {at(y - 4)}h18")
        canvas.text(x + 24, y, label, "name", room=room)
        x += 24 + width + 16
    return y + 6
