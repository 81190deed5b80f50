"""Draw the distribution of a numeric column: the reference as filled bars, the window as a line in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from keel.reports.charts.axes import Axis, ShareAxis, known_shares
from keel.reports.charts.canvas import SMALL_SIZE, Box, Canvas, at, box_of, nothing_to_draw, width_of
from keel.reports.numbers import number

if TYPE_CHECKING:
    from keel.reports.charts.specs import Bar, Histogram

WIDTH, HEIGHT = 320.0, 128.0
_TOP, _BELOW_AXIS = 2.0, 18.0
_WIDEST_BIN = 64.0
"""Of bins that are single values: two of them need no more."""
_SLOT, _BAR = 52.0, 18.0
"""Width of the place of a bar beside the bins, and of the bar."""
_TALLEST_TAIL = 1.5
"""A bar beside the bins is cut at this multiple of the tallest bin: all missing must not flatten the distribution."""


@dataclass(frozen=True)
class _Layout:
    axis: Axis
    shares: ShareAxis
    left: float
    """Left end of the plot, where the place of the rows below the bins is."""
    beside: float
    """Left end of the places of the rows above the bins and of the tails."""


def draw_histogram(chart: Histogram, description: str, width: float | None = None) -> str:
    """Return the histogram as SVG."""
    edges = _usable_edges(chart)
    sides = [side for side in (chart.below, chart.above, *chart.tails) if side is not None]
    shares = known_shares(each for bar in sides for each in _pair(bar))
    if edges:
        shares += known_shares((*(chart.reference or ()), *chart.current))
    if not any(value > 0 for value in shares):
        return nothing_to_draw(description)
    layout = _layout(chart, edges, width or WIDTH)
    canvas = Canvas(width or WIDTH, HEIGHT + (SMALL_SIZE + 2 if sides else 0))
    _draw_share_axis(canvas, layout)
    if edges:
        places = [layout.axis(edge) for edge in edges]
        if chart.reference is not None:
            canvas.path("ref", _bars(places, chart.reference, layout.shares))
        _draw_current(canvas, chart, edges, places, layout.shares)
        canvas.path("axis", f"M{at(layout.axis.start)} {at(layout.shares.bottom)}H{at(layout.axis.end)}")
    if chart.below is not None:
        _draw_side(canvas, chart.below, layout.left, layout.shares)
    for i, bar in enumerate(each for each in (chart.above, *chart.tails) if each is not None):
        _draw_side(canvas, bar, layout.beside + i * _SLOT, layout.shares)
    if edges:
        _label_values(canvas, chart, places, layout)
    return canvas.render(description)


def _pair(bar: Bar) -> tuple[float | None, float | None]:
    return bar.reference, bar.current


def _usable_edges(chart: Histogram) -> list[float]:
    """Return the edges, or none where bins cannot be drawn: then only the bars beside them are."""
    edges = [float(edge) for edge in chart.edges]
    ascending = all(a < b for a, b in zip(edges, edges[1:], strict=False)) and all(map(math.isfinite, edges))
    lengths = {len(edges) - 1, len(chart.current), len(chart.reference or chart.current)}
    if len(edges) < 2 or not ascending or len(lengths) > 1 or (chart.scale == "log" and edges[0] <= 0):
        return []
    return edges


def _layout(chart: Histogram, edges: list[float], width: float) -> _Layout:
    beside = [bar for bar in (chart.above, *chart.tails) if bar is not None]
    bins = known_shares((*(chart.reference or ()), *chart.current)) if edges else []
    sides = known_shares(each for bar in (chart.below, *beside) if bar is not None for each in _pair(bar))
    tallest, tail = max(bins, default=0.0), max(sides, default=0.0)
    most = max(tallest, min(tail, _TALLEST_TAIL * tallest) if tallest > 0 else tail)
    shown = [min(value, most) for value in (*bins, *sides)]
    shares = ShareAxis.of(shown, HEIGHT - _BELOW_AXIS, _TOP + SMALL_SIZE, log=chart.log_shares)
    left = max(width_of(label) for _, label in [*shares.labelled_ticks(), (0.0, "0")]) + 10
    start = left + (_SLOT if chart.below is not None else 0.0)
    end = max(width - 6 - _SLOT * len(beside), start + 20) if edges else start
    if chart.labels:
        end = min(end, start + _WIDEST_BIN * len(chart.labels))
    low, high = (edges[0], edges[-1]) if edges else (0.0, 1.0)
    return _Layout(Axis(low, high, start, end, chart.scale), shares, left, end + 6)


def _draw_share_axis(canvas: Canvas, layout: _Layout) -> None:
    grid = ""
    for tick, label in layout.shares.labelled_ticks():
        y = layout.shares(tick)
        grid += f"M{at(layout.left)} {at(y)}H{at(canvas.width - 6)}"
        canvas.text(layout.left - 4, y + 4, label, anchor="end")
    canvas.path("grid", grid)
    if not layout.shares.log:
        canvas.text(layout.left - 4, layout.shares.bottom + 4, "0", anchor="end")


def _bars(places: Sequence[float], shares: Sequence[float], axis: ShareAxis) -> str:
    gap = 1.0 if places[1] - places[0] > 3 else 0.0
    bars = [
        f"M{at(a)} {at(axis.bottom)}V{at(axis(value))}H{at(b - gap)}V{at(axis.bottom)}z"
        for a, b, value in zip(places, places[1:], shares, strict=False)
        if axis.bottom - axis(value) >= 0.05
    ]
    return "".join(bars)


def _draw_current(
    canvas: Canvas, chart: Histogram, edges: Sequence[float], places: Sequence[float], axis: ShareAxis
) -> None:
    """Draw the steps of the window, dashed where only their sum is known."""
    low, high = chart.shape or (-math.inf, math.inf)
    middle = [(a / 2 + b / 2) for a, b in zip(edges, edges[1:], strict=False)]
    known = [low <= each <= high for each in middle]
    paths = {True: "", False: ""}
    for is_known, run in groupby(range(len(known)), key=known.__getitem__):
        bins = list(run)
        before = axis.bottom if bins[0] == 0 else axis(chart.current[bins[0] - 1])
        points = [(places[bins[0]], before)]
        for i in bins:
            y = axis(chart.current[i])
            points += [(places[i], y), (places[i + 1], y)]
        if bins[-1] == len(known) - 1:
            points.append((places[-1], axis.bottom))
        paths[is_known] += _steps(points)
    canvas.path("cur", paths[True])
    canvas.path("cur spread", paths[False])


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return a path along points each of which is beside, above or below the one before, without stops on a line."""
    (x, y), *others = [(at(x), at(y)) for x, y in points]
    commands = [f"M{x} {y}"]
    for next_x, next_y in others:
        for letter, old, new in (("V", y, next_y), ("H", x, next_x)):
            if new != old:
                if commands[-1][0] == letter:
                    commands.pop()
                commands.append(f"{letter}{new}")
        x, y = next_x, next_y
    return "".join(commands)


def _label_values(canvas: Canvas, chart: Histogram, places: Sequence[float], layout: _Layout) -> None:
    y = layout.shares.bottom + 13
    if chart.labels:
        _label_bins(canvas, chart.labels, places, y)
        return
    ticks = ""
    for value, label in layout.axis.labelled_ticks(6):
        x = layout.axis(value)
        ticks += f"M{at(x)} {at(layout.shares.bottom)}v3"
        if canvas.is_free(box_of(x, y, label, "middle")):
            canvas.text(x, y, label, anchor="middle")
    canvas.path("axis", ticks)


def _label_bins(canvas: Canvas, labels: Sequence[str], places: Sequence[float], y: float) -> None:
    """Name each bin, or every second and so on where their names do not fit."""
    for stride in range(1, len(labels) + 1):
        width = (places[1] - places[0]) * stride - 4
        if all(width_of(label) <= width for label in labels[::stride]) or stride > len(labels) / 2:
            break
    for i in range(0, len(labels), stride):
        canvas.text((places[i] + places[i + 1]) / 2, y, labels[i], anchor="middle", room=width)


def _draw_side(canvas: Canvas, bar: Bar, left: float, axis: ShareAxis) -> None:
    """Draw the pair of shares of rows that lie on no bin, with their name and their numbers."""
    middle = left + _SLOT / 2
    x = middle - _BAR / 2
    if bar.reference is not None:
        canvas.path("ref", f"M{at(x)} {at(axis.bottom)}V{at(axis(bar.reference))}h{at(_BAR)}V{at(axis.bottom)}z")
    if bar.current is not None:
        canvas.path("cur", f"M{at(x)} {at(axis.bottom)}V{at(axis(bar.current))}h{at(_BAR)}V{at(axis.bottom)}")
    if max(known_shares(_pair(bar)), default=0.0) > axis.most * 1.001:
        cut = axis.top + 7
        canvas.path("cut", f"M{at(x - 3)} {at(cut + 3)}l{at(_BAR + 6)} -6M{at(x - 3)} {at(cut + 7)}l{at(_BAR + 6)} -6")
    canvas.path("axis", f"M{at(x - 4)} {at(axis.bottom)}h{at(_BAR + 8)}")
    y = axis.bottom + 13
    name = bar.label if width_of(bar.label, SMALL_SIZE) < _SLOT else bar.label.partition(" (")[0]
    canvas.text(middle, y, name, "label small", anchor="middle", room=_SLOT - 2)
    canvas.text(middle, y + SMALL_SIZE + 2, side_shares(bar), "label small", anchor="middle", room=_SLOT)
    canvas.taken.append(Box(left, axis.top, left + _SLOT, axis.bottom))


def side_shares(bar: Bar) -> str:
    """Return both shares of a bar in a few characters.

    >>> from keel.reports.charts.specs import Bar
    >>> side_shares(Bar("missing", 0.012, 0.14)), side_shares(Bar("missing", None, 0.9999)), side_shares(Bar("", 0, 1))
    ('1.2→14%', '>99%', '0→100%')
    """
    shown = [_percent(each) for each in known_shares(_pair(bar))]
    return "→".join(dict.fromkeys(shown)) + "%" if shown else ""


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "<0.1"
    return ">99" if 0.995 <= share < 1 else number(100 * share, 2 if share >= 0.01 else 1)
