"""Charts as a few lines of text, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from keel.reports.charts.bars import bars, sparkline
from keel.reports.charts.specs import Bar, Categories, Chart, Curves, Histogram, Intervals, Point, Sparkline, Trend
from keel.reports.texts import NAME, shown

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
        return [sparkline(chart.values, width=WIDTH)]
    return list(_curves(chart))


def _histogram(chart: Histogram, reference: str, current: str) -> Iterator[str]:
    width = max(len(reference), len(current))
    for label, shares in ((reference, chart.reference), (current, chart.current)):
        if shares is not None:
            yield f"{label:<{width}}  {bars(shares, width=WIDTH)}"
    if chart.edges:
        unit = f" {shown(chart.unit, NAME)}" if chart.unit else ""
        scale = ", logarithmic" if chart.scale == "log" else ""
        yield f"{'':<{width}}  {chart.edges[0]:g} to {chart.edges[-1]:g}{unit}{scale}"
    yield from _categories(chart.tails, reference, current)


def _categories(rows: tuple[Bar, ...], reference: str, current: str) -> Iterator[str]:
    if not rows:
        return
    labels = [shown(row.label, 24) for row in rows[:MAX_LINES]]
    width = max(map(len, labels))
    for label, row in zip(labels, rows, strict=False):
        yield f"{label:<{width}}  {_share(row.reference):>6} {reference}  {_share(row.current):>6} {current}"
    if len(rows) > MAX_LINES:
        yield f"and {len(rows) - MAX_LINES} more"


def _trend(chart: Trend) -> Iterator[str]:
    series = [(chart.label or chart.name, chart.points), *chart.others]
    width = max(len(shown(label, 24)) for label, _ in series)
    for label, points in series:
        values = [point.value for point in points]
        yield f"{shown(label, 24):<{width}}  {sparkline(values, width=WIDTH)}  {_last(points)}"
    for level in chart.levels:
        yield f"{shown(level.label, NAME)} {level.value:.4g}"
    for mark in chart.marks[-MAX_LINES:]:
        yield f"{mark.time:%Y-%m-%d} {shown(mark.label, NAME)}"


def _last(points: tuple[Point, ...]) -> str:
    known = [point for point in points if point.value is not None]
    return f"{known[0].time:%Y-%m-%d} to {known[-1].time:%Y-%m-%d}, last {known[-1].value:.4g}" if known else ""


def _intervals(chart: Intervals) -> Iterator[str]:
    labels = [shown(row.label, 32) for row in chart.rows[:MAX_LINES]]
    width = max(map(len, labels), default=0)
    for label, row in zip(labels, chart.rows, strict=False):
        value = "unknown" if row.value is None else f"{row.value:+.4g}"
        low, high = ("open" if bound is None else f"{bound:+.4g}" for bound in (row.lower, row.upper))
        detail = f"  {shown(row.detail, NAME)}" if row.detail else ""
        yield f"{label:<{width}}  {value:>9}  [{low}, {high}]{detail}"
    if len(chart.rows) > MAX_LINES:
        yield f"and {len(chart.rows) - MAX_LINES} more"
    if chart.line is not None:
        yield f"line at {chart.line:g}" + (f": {shown(chart.line_label, NAME)}" if chart.line_label else "")


def _curves(chart: Curves) -> Iterator[str]:
    width = max((len(shown(curve.label, 24)) for curve in chart.curves), default=0)
    for curve in chart.curves:
        line = bars(curve.y, width=WIDTH)
        yield f"{shown(curve.label, 24):<{width}}  {line}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
