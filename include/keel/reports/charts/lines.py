"""Charts as a few lines of text, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from keel.reports.charts.bars import bars, sparkline, together, up_to
from keel.reports.charts.specs import (
    Bar,
    Categories,
    Chart,
    Curves,
    Heatmap,
    Histogram,
    Intervals,
    Point,
    Sparkline,
    Trend,
)
from keel.reports.numbers import number, share, signed
from keel.values.texts import NAME, shown

WIDTH = 40
"""Characters of the longest line of bars."""
MAX_LINES = 12
"""Categories or intervals that are listed."""


def chart_lines(chart: Chart, *, reference: str = "reference", current: str = "window") -> list[str]:
    """Return a chart as lines of text, without a line end. What it shows is said by its sentence, and not repeated."""
    if isinstance(chart, Histogram):
        return list(_histogram(chart, reference, current))
    if isinstance(chart, Categories):
        return list(_categories((*chart.bars, *chart.tails), reference, current))
    if isinstance(chart, Trend):
        return list(_trend(chart))
    if isinstance(chart, Intervals):
        return list(_intervals(chart))
    if isinstance(chart, Sparkline):
        return [spark(chart, width=WIDTH)]
    if isinstance(chart, Heatmap):
        return list(_heatmap(chart))
    return list(_curves(chart))


def spark(chart: Sparkline, *, width: int = 20) -> str:
    """Return a history as a line of block characters, the highest of them at its threshold where it starts from zero.

    >>> spark(Sparkline((0.0, 1.0, 4.0, 9.0), threshold=8.0, from_zero=True)), spark(Sparkline((5.0, 6.0, 7.0)))
    ('▁▂▄█', '▁▅█')
    """
    if chart.from_zero and chart.threshold:
        return up_to(chart.values, chart.threshold, width=width)
    return sparkline(chart.values, width=width)


def _histogram(chart: Histogram, reference: str, current: str) -> Iterator[str]:
    width = max(len(reference), len(current))
    sides = [(reference, chart.reference), (current, chart.current)]
    known = [(label, shares) for label, shares in sides if shares is not None]
    for (label, _), line in zip(known, together([shares for _, shares in known], width=WIDTH), strict=True):
        yield f"{label:<{width}}  {line}"
    if chart.edges:
        scale = ", logarithmic" if chart.scale == "log" else ""
        low, high = chart.edges[0], chart.edges[-1]
        span = ", ".join(shown(each, 24) for each in chart.labels[:MAX_LINES]) or f"{number(low)} to {number(high)}"
        yield f"{'':<{width}}  {span}{scale}"
    beyond = tuple(bar for bar in (chart.below, chart.above) if bar is not None)
    yield from _categories((*beyond, *chart.tails), reference, current)


def _categories(rows: tuple[Bar, ...], reference: str, current: str) -> Iterator[str]:
    if not rows:
        return
    labels = [shown(row.label, 24) for row in rows[:MAX_LINES]]
    width = max(map(len, labels))
    for label, row in zip(labels, rows, strict=False):
        yield f"{label:<{width}}  {share(row.reference):>7} {reference}  {share(row.current):>7} {current}"
    if len(rows) > MAX_LINES:
        yield f"and {len(rows) - MAX_LINES} more"


def _trend(chart: Trend) -> Iterator[str]:
    series = [(chart.label or chart.name, chart.points), *chart.others]
    width = max(len(shown(label, 24)) for label, _ in series)
    for label, points in series:
        values = [point.value for point in points]
        yield f"{shown(label, 24):<{width}}  {sparkline(values, width=WIDTH)}  {_last(points)}"
    for level in chart.levels:
        yield f"{shown(level.label, NAME)} {number(level.value)}"
    for mark in chart.marks[-MAX_LINES:]:
        yield f"{mark.time:%Y-%m-%d} {shown(mark.label, NAME)}"


def _last(points: tuple[Point, ...]) -> str:
    known = [point for point in points if point.value is not None]
    return f"{known[0].time:%Y-%m-%d} to {known[-1].time:%Y-%m-%d}, last {number(known[-1].value)}" if known else ""


def _intervals(chart: Intervals) -> Iterator[str]:
    labels = [shown(row.label, 32) for row in chart.rows[:MAX_LINES]]
    width = max(map(len, labels), default=0)
    for label, row in zip(labels, chart.rows, strict=False):
        value = signed(row.value)
        low, high = ("open" if bound is None else signed(bound) for bound in (row.lower, row.upper))
        detail = f"  {shown(row.detail, NAME)}" if row.detail else ""
        yield f"{label:<{width}}  {value:>9}  [{low}, {high}]{detail}"
    if len(chart.rows) > MAX_LINES:
        yield f"and {len(chart.rows) - MAX_LINES} more"
    if chart.line is not None:
        yield f"line: {shown(chart.line_label, NAME) or number(chart.line)}"


def _curves(chart: Curves) -> Iterator[str]:
    width = max((len(shown(curve.label, 24)) for curve in chart.curves), default=0)
    for curve in chart.curves:
        line = bars(curve.y, width=WIDTH)
        yield f"{shown(curve.label, 24):<{width}}  {line}"


def _heatmap(chart: Heatmap) -> Iterator[str]:
    """Yield a line for each row, a character a check, full where the darkest shade is."""
    width = max((len(shown(name, 24)) for name in chart.rows[:MAX_LINES]), default=0)
    for name, cells in zip(chart.rows[:MAX_LINES], chart.cells, strict=False):
        yield f"{shown(name, 24):<{width}}  {up_to([cell.value if cell else None for cell in cells], 1.0, width=WIDTH)}"
    if len(chart.rows) > MAX_LINES:
        yield f"and {len(chart.rows) - MAX_LINES} more"
    if chart.columns and chart.rows:
        yield f"{'':<{width}}  {chart.columns[0]:%Y-%m-%d} to {chart.columns[-1]:%Y-%m-%d}"
