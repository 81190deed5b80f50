"""Draw a number over time: points with intervals, baselines and limits, what happened when, and further series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.reports import numbers
from keel.reports.charts.axes import Axis, finite, padded
from keel.reports.charts.canvas import Box, Canvas, at, box_of, nothing_to_draw, shorten
from keel.reports.charts.curves import DASHES, draw_legend
from keel.reports.charts.time_axis import pad_times, seconds, time_ticks

if TYPE_CHECKING:
    from keel.reports.charts.specs import Level, Mark, Point, Trend

WIDTH, HEIGHT = 720.0, 230.0
_LEFT, _RIGHT, _BELOW, _LINE = 50.0, 12.0, 20.0, 15.0
MOST_BARS = 40
"""Points with a bar for each interval; more are a line in a band."""
_MARK_LINES = 3
"""Lines of labels above the plot. A mark whose label finds no place keeps its line, which shows the label."""
_WIDEST_INTERVALS = 1.5
"""How far intervals may widen the value axis, in multiples of the range of all values and levels: those of a few rows
must not flatten the rest."""


@dataclass(frozen=True)
class _Plot:
    canvas: Canvas
    times: Axis
    values: Axis


def draw_trend(chart: Trend, description: str, width: float | None = None) -> str:
    """Return the trend as SVG."""
    width = width or WIDTH
    series = [chart.points, *(points for _, points in chart.others)]
    known = [point for points in series for point in points if finite((point.value, point.lower, point.upper))]
    if not known:
        return nothing_to_draw(description, width=width)
    canvas = Canvas(width, HEIGHT)
    names = [(chart.label or chart.name, "s1"), *((label, _style(i)) for i, (label, _) in enumerate(chart.others))]
    top = draw_legend(canvas, names, _LEFT) if chart.others else 0.0
    title = chart.unit or chart.name
    if title:
        canvas.text(4, top + 11, title, room=width - 8)
    times = Axis(*_time_range(known, chart.marks), _LEFT, width - _RIGHT)
    marks = [mark for mark in chart.marks if times.low <= seconds(mark.time) <= times.high]
    lines = _place_marks(canvas, times, marks, top)
    canvas.height = HEIGHT + top + _LINE * max(lines - 1, 0)
    start = top + 8 + _LINE * max(lines, 1 if title else 0)
    plot = _Plot(canvas, times, Axis(*_value_range(known, chart.levels), canvas.height - _BELOW, start))
    _draw_axes(plot)
    _draw_marks(plot, marks, top)
    for i, (_, points) in enumerate(chart.others):
        canvas.path(_style(i), _line(plot, points))
    levels = _draw_levels(plot, chart.levels)
    _draw_points(plot, chart.points, others=bool(chart.others))
    _label_levels(plot, levels, chart.points)
    return canvas.render(description)


def _style(i: int) -> str:
    return f"s{(0, 2, 3, DASHES)[min(i, 3)]}"


def _time_range(points: Sequence[Point], marks: Sequence[Mark]) -> tuple[float, float]:
    """Return the times of the points, with marks that lie no farther beyond than half of that range."""
    at_points = [seconds(point.time) for point in points]
    low, high = min(at_points), max(at_points)
    reach = (high - low) / 2
    near = [time for time in map(lambda mark: seconds(mark.time), marks) if low - reach <= time <= high + reach]
    return pad_times(min([low, *near]), max([high, *near]))


def _value_range(points: Sequence[Point], levels: Sequence[Level]) -> tuple[float, float]:
    values = finite((*(point.value for point in points), *(level.value for level in levels)))
    bounds = finite(bound for point in points for bound in (point.lower, point.upper))
    if values and max(values) > min(values):
        reach = _WIDEST_INTERVALS * (max(values) - min(values))
        bounds = [min(max(bound, min(values) - reach), max(values) + reach) for bound in bounds]
    return padded([*values, *bounds])


def _draw_axes(plot: _Plot) -> None:
    canvas, times, values = plot.canvas, plot.times, plot.values
    grid = ""
    for value, label in values.labelled_ticks(5):
        y = values(value)
        grid += f"M{at(times.start)} {at(y)}H{at(times.end)}"
        canvas.text(times.start - 6, y + 4, label, anchor="end", room=times.start - 6)
    canvas.path("grid", grid)
    ticks = ""
    for time, label in time_ticks(times.low, times.high, times.end - times.start):
        x = times(time)
        ticks += f"M{at(x)} {at(values.start)}v4"
        if canvas.is_free(box_of(x, values.start + 16, label, "middle")):
            canvas.text(x, values.start + 16, label, anchor="middle")
    canvas.path("axis", f"M{at(times.start)} {at(values.start)}H{at(times.end)}{ticks}")


def _place_marks(canvas: Canvas, times: Axis, marks: Sequence[Mark], top: float) -> int:
    """Write the labels of marks above the plot where they find a place; return the number of lines."""
    lines = 0
    canvas_height, canvas.height = canvas.height, math.inf
    for mark in sorted(marks, key=lambda mark: seconds(mark.time)):
        x = times(seconds(mark.time))
        label = shorten(mark.label, 200)
        for line in range(_MARK_LINES):
            y = top + 11 + _LINE * line
            anchor = "start" if canvas.is_free(box_of(x + 4, y, label)) else "end"
            place = x + 4 if anchor == "start" else x - 4
            if canvas.is_free(box_of(place, y, label, anchor)):
                canvas.text(place, y, mark.label, "label note", anchor=anchor, room=200)
                lines = max(lines, line + 1)
                break
    canvas.height = canvas_height
    return lines


def _draw_marks(plot: _Plot, marks: Sequence[Mark], top: float) -> None:
    for mark in marks:
        x = at(plot.times(seconds(mark.time)))
        plot.canvas.path("mark", f"M{x} {at(top + 2)}V{at(plot.values.start)}", title=mark.label)


def _draw_levels(plot: _Plot, levels: Sequence[Level]) -> list[tuple[str, float, float, float]]:
    """Draw each level; return a name for the last of those that have the same one, its start, end and height."""
    path = ""
    named: dict[str, tuple[str, float, float, float]] = {}
    for level in reversed(levels):
        if not math.isfinite(level.value):
            continue
        start = plot.times(seconds(level.start)) if level.start else plot.times.start
        end = plot.times(seconds(level.end)) if level.end else plot.times.end
        y = plot.values(level.value)
        path = f"M{at(start)} {at(y)}H{at(max(end, start))}{path}"
        value = numbers.number(level.value)
        label = level.label if value in level.label else f"{level.label}, {value}".removeprefix(", ")
        named.setdefault(level.label, (label, start, end, y))
    plot.canvas.path("level", path)
    return list(named.values())


def _label_levels(plot: _Plot, levels: Sequence[tuple[str, float, float, float]], points: Sequence[Point]) -> None:
    """Write each level's name on or under its line, over no label and no point, and over as few intervals as can be.

    The halo of a name keeps it readable over an interval.
    """
    dots = _boxes(plot, [(point, (point.value,)) for point in points])
    bars = _boxes(plot, [(point, (point.value, point.lower, point.upper)) for point in points])
    for label, start, end, y in levels:
        text = shorten(label, 260)
        places = [(x, y + dy, anchor) for x, anchor in _along(start, end) for dy in (-4, 13)]
        free = [(place, box) for place in places if plot.canvas.is_free(box := box_of(*place[:2], text, place[2]))]
        if free:
            (x, at_y, anchor), _ = min(free, key=lambda found: (_covered(found[1], dots), _covered(found[1], bars)))
            plot.canvas.text(x, at_y, label, "label note", anchor=anchor, room=260)


def _boxes(plot: _Plot, drawn: Sequence[tuple[Point, tuple[float | None, ...]]]) -> list[Box]:
    """Return the boxes around what is drawn of each point."""
    boxes = []
    for point, values in drawn:
        if known := finite(values):
            x = plot.times(seconds(point.time))
            boxes.append(Box(x - 4, plot.values(max(known)) - 4, x + 4, plot.values(min(known)) + 4))
    return boxes


def _covered(box: Box, others: Sequence[Box]) -> int:
    return sum(box.overlaps(other) for other in others)


def _along(start: float, end: float) -> list[tuple[float, str]]:
    """Return places for a text on a line, with their anchors: its ends, then between them."""
    between = [(end - part * (end - start) / 8, "middle") for part in range(1, 8)]
    return [(end - 2, "end"), (start + 2, "start"), *between]


def _line(plot: _Plot, points: Sequence[Point]) -> str:
    """Return a path through the values, with a gap where one is not known."""
    path, pen_up = "", True
    for point in points:
        value = finite((point.value,))
        if value:
            path += f"{'M' if pen_up else 'L'}{at(plot.times(seconds(point.time)))} {at(plot.values(value[0]))}"
        pen_up = not value
    return path


def _draw_points(plot: _Plot, points: Sequence[Point], *, others: bool) -> None:
    if len(points) > MOST_BARS or others:
        plot.canvas.path("band", _band(plot, points))
        plot.canvas.path("s1", _line(plot, points))
        return
    bars = ""
    for point in points:
        lower, upper = finite((point.lower,)), finite((point.upper,))
        if lower or upper:
            x = at(plot.times(seconds(point.time)))
            bottom = plot.values(lower[0]) if lower else plot.values.start
            bars += f"M{x} {at(bottom)}V{at(plot.values(upper[0]) if upper else plot.values.end)}"
    plot.canvas.path("interval", bars)
    for point in points:
        if finite((point.value,)):
            left, top = plot.times(seconds(point.time)), plot.values(point.value or 0.0)
            plot.canvas.dot("point", left, top, 4 if len(points) <= 30 else 3, title=_describe(point))


def _describe(point: Point) -> str:
    parts = [f"{numbers.time(point.time.isoformat())}: {numbers.number(point.value)}"]
    if finite((point.lower, point.upper)):
        parts.append(numbers.interval(point.lower, point.upper))
    if point.n is not None:
        parts.append(f"n = {numbers.count(point.n)}")
    return ", ".join(parts)


def _band(plot: _Plot, points: Sequence[Point]) -> str:
    """Return an area between the bounds for each run of points that have both."""
    path = ""
    run: list[tuple[float, float, float]] = []
    for point in [*points, None]:
        bounds = finite((point.lower, point.upper)) if point is not None else []
        if point is not None and len(bounds) == 2:
            run.append((plot.times(seconds(point.time)), plot.values(bounds[0]), plot.values(bounds[1])))
        elif run:
            there = " ".join(f"{at(x)} {at(low)}" for x, low, _ in run)
            back = " ".join(f"{at(x)} {at(high)}" for x, _, high in reversed(run))
            path += f"M{there} {back}z"
            run = []
    return path
