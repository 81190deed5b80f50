"""Bins for a reader: of equal width on a linear or logarithmic axis, from the cells of a grid.

A grid has up to 1,024 knots, which are quantiles of the reference. Rows between two knots are spread evenly over the
distance, on the axis that is drawn. Rows on a knot stay together. Of the rows beyond the outermost knots only their
number and their extreme are known: they are spread up to the extreme where that is near, and else counted beside the
bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keel.grid.column_grid import MAX_KNOTS

if TYPE_CHECKING:
    from keel.grid.counts import ColumnCounts, Floats
    from keel.reports.charts.specs import Scale

FEWEST_BINS, MOST_BINS = 16, 30
"""Twice the cube root of the smaller side's rows (Rice's rule) within these: with few rows, more bins show noise, and
more than thirty are narrower than a reader can tell apart in the width of a column."""
ROBUST = 0.005
"""The share of either side's rows, at each end, for which the axis is not made longer."""
STRETCH = 2.5
"""Where the full range is at most so many times the robust one, the axis shows all of it."""
MARGIN = 0.2
"""Where the full range is longer, the axis shows so much beyond the robust one, in multiples of that."""
SPREAD = 2.5
"""How far beyond the central 80% of the reference the axis goes at most, in multiples of that range, for its tails."""
REACH = 2.0
"""How far beyond the reference's robust range the axis may go for the window, in multiples of that range."""
LOG_REACH = 5.0
"""The same on a logarithmic axis that is chosen to show such rows: the reference keeps a sixth of the width."""
LOG_RATIO = 20.0
"""Least ratio of the 95% and the 5% quantile for a logarithmic axis: below, a linear one shows as much."""
LOG_SKEW = 4.0
"""How many times farther the 95% quantile is from the median than the 5% quantile, for a logarithmic axis."""

_LONGER = 40.0
"""Of the robust range, for each part of the window's rows: with 5% of them beyond, the axis may go as far as it may."""
_STEPS = (1.0, 2.0, 2.5, 4.0, 5.0, 10.0)
_LATTICE_TOLERANCE = 0.01
"""Part of a step by which values on a lattice may be off, because they were rounded when they were written."""
_MOST_LATTICE_STEPS = 5000


@dataclass(frozen=True)
class Bins:
    """Edges of bins on an axis."""

    edges: Floats
    scale: Scale
    inset: float = 0.0
    """Distance of an edge to the next value, for its name: half a step where all values lie on a lattice."""


@dataclass(frozen=True)
class Cells:
    """One side's rows on, between and beyond the knots.

    knots: shape (k,), ascending. counts: shape (2k + 1,), as in `keel.grid.counts`. low, high: the side's extremes,
    or the outermost knots where these lie farther out.
    """

    knots: Floats
    counts: Floats
    low: float
    high: float

    @classmethod
    def of(cls, knots: Floats, counts: ColumnCounts) -> Cells:
        """Return the cells of a column's counts; there must be a knot."""
        first, last = float(knots[0]), float(knots[-1])
        low = first if counts.minimum is None else min(counts.minimum, first)
        high = last if counts.maximum is None else max(counts.maximum, last)
        return cls(knots, counts.cells.astype(np.float64), low, high)

    def quantiles(self, low: float, high: float) -> tuple[float, float]:
        """Return knots that hold all but the shares ``low`` below and ``1 - high`` above; the outer knots if empty."""
        total = self.counts.sum()
        if not total:
            return float(self.knots[0]), float(self.knots[-1])
        running = np.cumsum(self.counts) / total
        first, last = np.searchsorted(running, [low * (1 + 1e-12) + 1e-15, high * (1 - 1e-12)])
        top = len(self.knots) - 1
        return float(self.knots[min(max((first - 1) // 2, 0), top)]), float(self.knots[min(last // 2, top)])

    def median(self) -> float | None:
        """Return the median, linear between two knots; None without rows, and where it is beyond the knots."""
        half = self.counts.sum() / 2
        running = np.cumsum(self.counts)
        cell = int(np.searchsorted(running, half))
        if not half or cell in {0, len(self.counts) - 1}:
            return None
        if cell % 2:
            return float(self.knots[cell // 2])
        low, high = float(self.knots[cell // 2 - 1]), float(self.knots[cell // 2])
        part = float((half - running[cell - 1]) / self.counts[cell])
        return low * (1 - part) + high * part

    def up_to(self, bins: Bins) -> Floats:
        """Return how many rows lie below each edge, shape (edges,), with rows between knots spread on the axis."""
        knots, counts = self.knots, self.counts
        # On a lattice, the values beyond the knots are whole steps away, and each has half a step on either side.
        outer = self.low - bins.inset, knots[0] - bins.inset, knots[-1] + bins.inset, self.high + bins.inset
        ends = np.r_[outer[:2], knots, outer[2:]]
        between = np.cumsum(np.r_[0.0, counts[0], 0.0, counts[2:-1:2], 0.0, counts[-1]])
        on_knots = np.r_[0.0, np.cumsum(counts[1::2])]
        edges = bins.edges
        below = on_knots[np.searchsorted(knots, edges, "left")]
        if bins.scale == "log":
            with np.errstate(divide="ignore"):
                ends, edges = (np.log(np.maximum(each, 0.0)) for each in (ends, edges))
        at = np.clip(np.searchsorted(ends, edges, "right") - 1, 0, len(ends) - 2)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            part = (edges - ends[at]) / (ends[at + 1] - ends[at])
        part = np.clip(np.nan_to_num(part, nan=1.0), 0.0, 1.0)
        spread = between[at] + part * (between[at + 1] - between[at])
        return below + np.where(edges <= ends[0], 0.0, np.where(edges > ends[-1], between[-1], spread))


def choose_bins(reference: Cells, current: Cells) -> Bins:
    """Return bins that show both sides to a reader. There must be two knots at least."""
    knots = reference.knots
    if not math.isfinite(float(knots[-1]) - float(knots[0])):
        middle = 0.0 if knots[0] < 0 < knots[-1] else float(knots[0] / 2 + knots[-1] / 2)
        return Bins(np.array([knots[0], middle, knots[-1]]), "linear")
    if min(reference.low, current.low) > 0 or _is_zero_and_more(reference, current):
        if _is_far_on_linear(reference, current):
            return _log_bins(reference, current, LOG_REACH)
        if _is_skewed(reference):
            return _log_bins(reference, current, REACH)
    return _linear_bins(reference, current)


def _is_zero_and_more(reference: Cells, current: Cells) -> bool:
    """Whether values are zero or greater, so that a logarithmic axis can have zero beside it."""
    return reference.knots[0] == 0 and min(reference.low, current.low) >= 0 and len(reference.knots) > 2


def _positive(side: Cells) -> Cells:
    if side.knots[0] > 0:
        return side
    return Cells(
        side.knots[1:], np.r_[0.0, side.counts[3:]], float(side.knots[1]), max(side.high, float(side.knots[1]))
    )


def _is_skewed(reference: Cells) -> bool:
    side = _positive(reference)
    low, high = side.quantiles(0.05, 0.95)
    middle, _ = side.quantiles(0.5, 0.95)
    if high / low < LOG_RATIO or not low < middle < high:
        return False
    skew = (high - middle) / (middle - low)
    log_skew = math.log(high / middle) / math.log(middle / low)
    return skew >= LOG_SKEW and max(log_skew, 1 / log_skew) < skew


def _is_far_on_linear(reference: Cells, current: Cells) -> bool:
    """Whether many of the window's rows lie so far above that only a logarithmic axis shows both sides."""
    low, high = reference.quantiles(ROBUST, 1 - ROBUST)
    total = current.counts.sum()
    if low <= 0 or high <= low or not total or current.counts[-1] < 0.05 * total:
        return False
    far = current.high - high > REACH * (high - low)
    return far and math.log(current.high / high) <= LOG_REACH * math.log(high / low)


def _number_of_bins(*sides: Cells) -> int:
    rows = min((side.counts.sum() for side in sides if side.counts.any()), default=0.0)
    return int(np.clip(round(2 * np.cbrt(rows)), FEWEST_BINS, MOST_BINS))


def _linear_bins(reference: Cells, current: Cells) -> Bins:
    low, high = _range(reference, current, REACH)
    most = _number_of_bins(reference, current)
    step = _lattice_step(reference.knots)
    if step:
        first = float(reference.knots[0]) + round((low - reference.knots[0]) / step) * step
        values = max(round((high - first) / step) + 1, 1)
        per_bin = math.ceil(values / most)
        edges = first - step / 2 + step * per_bin * np.arange(math.ceil(values / per_bin) + 1)
        return Bins(edges, "linear", inset=step / 2)
    width = _nice_width((high - low) / most)
    first_edge, last_edge = math.floor(low / width), math.ceil(high / width)
    if last_edge * width <= high and high == max(reference.high, current.high):
        last_edge += 1  # the greatest value is no edge, which would leave it beside the bins
    edges = np.arange(first_edge, last_edge + 1) * width
    if not (np.diff(edges) > 0).all():  # the width is lost in the size of the values
        edges = np.array([low, np.nextafter(high, np.inf)])
    return Bins(edges, "linear")


def _log_bins(reference: Cells, current: Cells, reach: float) -> Bins:
    sides = [_positive(side) for side in (reference, current)]
    logs = [Cells(np.log10(side.knots), side.counts, math.log10(side.low), math.log10(side.high)) for side in sides]
    low, high = _range(logs[0], logs[1], reach)
    edges = 10.0 ** np.linspace(low, high, _number_of_bins(reference, current) + 1)
    edges[-1] = np.nextafter(edges[-1] * (1 + 1e-12), np.inf)
    edges[0] *= 1 - 1e-12
    return Bins(edges, "log")


def _range(reference: Cells, current: Cells, reach: float) -> tuple[float, float]:
    """Return the values between which both sides are drawn; positions on the axis, so logarithms for a log one."""
    first, last = float(reference.knots[0]), float(reference.knots[-1])
    low, high = _robust_range(reference)
    if low == high:
        low, high = first, last
    width = high - low
    if last - first <= STRETCH * width:
        low, high = first, last
    else:
        low, high = max(first, low - MARGIN * width), min(last, high + MARGIN * width)
    now = _robust_range(current) if current.counts.any() else (low, high)
    low, high = max(min(low, now[0]), low - reach * width), min(max(high, now[1]), high + reach * width)
    # Few rows beyond the reference may make the axis a little longer, many rows much.
    total = current.counts.sum() or 1.0
    below, above = (np.clip(_LONGER * current.counts[cell] / total, MARGIN, reach) * width for cell in (0, -1))
    if low == first and first - current.low <= below:
        low = current.low
    if high == last and current.high - last <= above:
        high = current.high
    return low, high


def _robust_range(side: Cells) -> tuple[float, float]:
    """Return knots between which nearly all of a side lies, without tails that would squeeze it."""
    found = [side.quantiles(cut, 1 - cut) for cut in (ROBUST, ROBUST / 5, 0.0)]
    low, high = next((pair for pair in found if pair[1] > pair[0]), found[0])
    inner_low, inner_high = side.quantiles(0.1, 0.9)
    if inner_high > inner_low:
        beyond = SPREAD * (inner_high - inner_low)
        low, high = max(low, inner_low - beyond), min(high, inner_high + beyond)
    return low, high


def _nice_width(width: float) -> float:
    """Return a round number that is at least ``width``."""
    power = 10.0 ** max(math.floor(math.log10(width)), -307) if width > 0 else 1.0
    return next((factor * power for factor in _STEPS if factor * power >= width * (1 - 1e-9)), 10 * power)


def _lattice_step(knots: Floats) -> float:
    """Return the step of a lattice that all values lie on, such as 1 for whole numbers; 0 without one."""
    if not 2 <= len(knots) < MAX_KNOTS:  # with as many, the knots are quantiles, and not all values
        return 0.0
    gaps = np.diff(knots)
    step = float(gaps.min())
    with np.errstate(over="ignore"):
        steps = gaps / step
    if not np.isfinite(steps).all() or steps.sum() > _MOST_LATTICE_STEPS:
        return 0.0
    if np.abs(steps - np.rint(steps)).max() > _LATTICE_TOLERANCE:
        return 0.0
    return float((knots[-1] - knots[0]) / np.rint(steps).sum())
