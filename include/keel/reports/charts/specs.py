"""The charts of a page as plain data. `keel.reports.charts.svg` draws them.

Every chart compares at most two things: grey is the reference or the champion, blue is now or the challenger. Shares
are in [0, 1]. A number that is not known is None and leaves a gap. No text is markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Bar:
    """One labelled pair of shares: a category, or the rows that no cell holds (missing, unseen, of another type)."""

    label: str
    reference: float | None
    current: float | None


@dataclass(frozen=True)
class Histogram:
    """The distribution of a numeric column, reference against window."""

    name: str
    edges: tuple[float, ...]
    """Ascending, one more than the shares. The first and the last may lie beyond the reference's range."""
    reference: tuple[float, ...] | None
    """Share of the rows in each bin; None without a reference."""
    current: tuple[float, ...]
    scale: Scale = "linear"
    """Of the values' axis."""
    tails: tuple[Bar, ...] = ()
    """Rows without a usable value, beside the histogram."""
    log_shares: bool = False
    """Whether the shares' axis is logarithmic, because one bin towers above the others."""
    below: Bar | None = None
    """Rows below the first edge, beside the bins, where a few far values would squeeze them."""
    above: Bar | None = None
    """Rows above the last edge."""
    labels: tuple[str, ...] = ()
    """The name of each bin where bins are single values; they are then equally wide, and the edges only count them."""
    medians: tuple[float | None, float | None] = (None, None)
    """Of the reference's and the window's numbers. None without any, and where it lies beyond the reference's range, of
    which only the extreme is known."""
    outside: tuple[float, float] = (0.0, 0.0)
    """Shares of the window's rows below and above all numbers of the reference."""
    shape: tuple[float, float] | None = None
    """Between which values the window's shape is known. Beyond, it is known only how many rows there are, and how far
    they reach: their share is spread evenly."""


@dataclass(frozen=True)
class Categories:
    """The shares of a categorical column's categories, the most frequent of the reference first."""

    name: str
    bars: tuple[Bar, ...]
    """Categories, then one for the rest of them together."""
    tails: tuple[Bar, ...] = ()
    """Unseen categories, missing and unusable values."""


@dataclass(frozen=True)
class Point:
    """A value at a time, with its interval."""

    time: datetime
    value: float | None
    lower: float | None = None
    upper: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Level:
    """A horizontal line for a part of the time: a baseline or a limit. Without times it is as long as the chart."""

    value: float
    label: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Mark:
    """Something that happened at a time, such as a promotion."""

    time: datetime
    label: str


@dataclass(frozen=True)
class Trend:
    """A number over time with its interval, baselines, limits and marks."""

    name: str
    points: tuple[Point, ...]
    levels: tuple[Level, ...] = ()
    marks: tuple[Mark, ...] = ()
    unit: str = ""
    label: str = ""
    """What ``points`` are, where ``others`` are drawn too."""
    others: tuple[tuple[str, tuple[Point, ...]], ...] = ()
    """Further series by label, such as other policies of a backtest. At most four."""


@dataclass(frozen=True)
class Sparkline:
    """The history of a number in the space of a word, the newest last."""

    values: tuple[float | None, ...]
    threshold: float | None = None
    from_zero: bool = False
    """Whether it is drawn from zero to the threshold, rather than between its smallest and largest value."""


@dataclass(frozen=True)
class Interval:
    """A labelled estimate with its interval; a bound that is None is open."""

    label: str
    value: float | None
    lower: float | None = None
    upper: float | None = None
    detail: str = ""
    """Beside it, such as the number of rows."""


@dataclass(frozen=True)
class Intervals:
    """Estimates under each other, such as the improvement by segment, beside a line that a bound must exceed."""

    name: str
    rows: tuple[Interval, ...]
    line: float | None = None
    line_label: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Curve:
    """A line through points in order."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """Lines over a numeric axis: calibration, ROC, distributions of residuals. The first is grey, the second blue."""

    name: str
    curves: tuple[Curve, ...]
    x_label: str
    y_label: str
    diagonal: bool = False
    """Whether both axes are [0, 1] and the diagonal is drawn."""


@dataclass(frozen=True)
class HeatCell:
    """What one check said of one column."""

    value: float | None
    """How much has changed, in [0, 1]; None where it was not measured."""
    title: str
    """Shown where the pointer rests, and read to who does not see it."""
    path: str = ""
    """Of the page of Keel's that it opens, as of `keel.reports.page.Local`."""
    marked: bool = False
    """Whether the column has drifted."""


@dataclass(frozen=True)
class Heatmap:
    """How much each column has changed at each time: a row a column, the oldest time first."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[datetime, ...]
    """The time of each check. They stand beside each other at the same distance, whatever lies between them."""
    cells: tuple[tuple[HeatCell | None, ...], ...]
    """By row and column; None where the check did not have the column."""
    legend: str
    """What the darkest shade stands for."""
    marks: tuple[Mark, ...] = ()
    """Such as another version, from which on the columns are compared with its own training rows."""


Chart: TypeAlias = Histogram | Categories | Trend | Sparkline | Intervals | Curves | Heatmap
