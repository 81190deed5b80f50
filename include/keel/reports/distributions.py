"""The distribution of each column as a chart: the window's counts beside the reference's, on the grid's cells.

Every share is one of all rows of its side. The shares of a chart, with those beside the bins or categories, sum to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from keel.reports.binning import Bins, Cells, choose_bins
from keel.reports.charts.axes import tick_labels
from keel.reports.charts.specs import Bar, Categories, Histogram
from keel.reports.numbers import count, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keel.grid.column_grid import ColumnGrid
    from keel.grid.counts import ColumnCounts, Counts, Floats
    from keel.grid.reference import ReferenceGrid

MOST_VALUES = 12
"""Distinct numbers of the reference that get a bin of their own each, where they repeat."""
MOST_CATEGORIES = 12
"""Categories drawn by name."""
LONGEST_NAME = 200
"""Characters of a category's name that are kept: a text of a megabyte can be one."""
TOWER = 20.0
"""The shares' axis is logarithmic where the third greatest bin is so many times smaller than the greatest: two values
may tower, and the rest would not be seen."""
WORTH_SEEING = 0.005
"""Share of the rest together, from which it is worth a logarithmic axis."""
_FEW_BINS = 6
"""With fewer bins, each is wide enough to be seen on a linear axis."""
_REPEATS = 3
"""Rows of each value on average where few values are codes, and not the values of few rows."""
_ROUNDING = 1e-12

Distribution: TypeAlias = Histogram | Categories


def distributions(
    grid: ReferenceGrid,
    current: Counts,
    *,
    names: Iterable[str] | None = None,
) -> dict[str, Distribution]:
    """Return the chart of each column.

    Parameters
    ----------
    grid
        Whose cells both were counted on.
    current
        Counts of the window.
    names
        Columns to draw; all by default. An unknown one is a KeyError.

    """
    columns = {column.name: column for column in grid.columns}
    return {
        name: distribution(columns[name], grid.reference_columns[name], current.column(name))
        for name in (columns if names is None else names)
    }


def distribution(grid: ColumnGrid, reference: ColumnCounts | None, current: ColumnCounts) -> Distribution:
    """Return the chart of one column; without a reference, or with one that has no rows, of the window alone."""
    before = None if reference is None or not reference.n else reference
    if grid.kind == "categorical":
        return _categories(grid, before, current)
    if not len(grid.knots):
        return _without_knots(grid, before, current)
    if _is_few_values(grid, before or current):
        return _values(grid, before, current)
    return _histogram(grid, before, current)


def _share_of(rows: float, counts: ColumnCounts | None) -> float | None:
    """Return the share of all rows; 0 in a window without rows."""
    return None if counts is None else float(rows) / max(counts.n, 1)


def _tails(reference: ColumnCounts | None, current: ColumnCounts) -> tuple[Bar, ...]:
    """Return the rows that have no usable value, as far as a side has any."""
    bars = []
    for label, tail in (("missing", "missing"), ("infinite", "infinite"), ("invalid", "invalid"), ("absent", "absent")):
        before = _share_of(getattr(reference, tail, 0), reference)
        now = _share_of(getattr(current, tail), current)
        if before or now:
            bars.append(Bar(label, before, now))
    return tuple(bars)


def _histogram(grid: ColumnGrid, reference: ColumnCounts | None, current: ColumnCounts) -> Histogram:
    now = Cells.of(grid.knots, current)
    before = now if reference is None else Cells.of(grid.knots, reference)
    bins = choose_bins(before, now)
    shares, under, over = _binned(now, bins, current)
    shares_before, under_before, over_before = None, None, None
    if reference is not None:
        shares_before, under_before, over_before = _binned(before, bins, reference)
    low, high = _names_of_ends(bins, before, now)
    outside = _outside(current, reference)
    return Histogram(
        grid.name,
        tuple(bins.edges.tolist()),
        shares_before,
        shares,
        scale=bins.scale,
        tails=_tails(reference, current),
        log_shares=_has_tower(shares_before or (), shares),
        below=Bar(low, under_before, under) if under or under_before else None,
        above=Bar(high, over_before, over) if over or over_before else None,
        medians=(None if reference is None else before.median(), now.median()),
        outside=outside,
        shape=(float(grid.knots[0]), float(grid.knots[-1])) if any(outside) else None,
    )


def _binned(cells: Cells, bins: Bins, counts: ColumnCounts) -> tuple[tuple[float, ...], float, float]:
    """Return the shares in the bins, below and above them."""
    running = np.maximum.accumulate(cells.up_to(bins))
    n = max(counts.n, 1)
    above = counts.n_counted - float(running[-1])
    return (
        tuple((np.diff(running) / n).tolist()),
        float(running[0]) / n,
        above / n if above > _ROUNDING * n else 0.0,
    )


def _outside(counts: ColumnCounts, reference: ColumnCounts | None) -> tuple[float, float]:
    """Return the shares below and above the grid's range; 0 where the reference, an accepted window, has some too."""
    n = max(counts.n, 1)
    below, above = (
        0.0 if reference is not None and reference.cells[end] else int(counts.cells[end]) / n for end in (0, -1)
    )
    return below, above


def _names_of_ends(bins: Bins, *sides: Cells) -> tuple[str, str]:
    """Return the names of the rows below and above the bins, with how far these reach."""
    first, last = float(bins.edges[0]) + bins.inset, float(bins.edges[-1]) - bins.inset
    least, most = min(side.low for side in sides), max(side.high for side in sides)
    if bins.scale == "log" and least == 0:
        only_zero = not any(side.counts[2] for side in sides)
        return "0" if only_zero else f"0 to {_name(first)}", f"> {_name(last)} (to {_name(most)})"
    return f"< {_name(first)} (from {_name(least)})", f"> {_name(last)} (to {_name(most)})"


def _name(value: float) -> str:
    return tick_labels([value])[0]


def _has_tower(*sides: Sequence[float]) -> bool:
    """Whether one or two bins are so tall that the rest would not be seen, and the rest is worth seeing."""
    heights = sorted((max(pair) for pair in zip(*(side for side in sides if side), strict=True)), reverse=True)
    if len(heights) < _FEW_BINS or not 0 < heights[2] * TOWER < heights[0]:
        return False
    return sum(heights[2:]) >= WORTH_SEEING


def _is_few_values(grid: ColumnGrid, counts: ColumnCounts) -> bool:
    """Whether the column has so few values that each gets a bin: codes, small numbers, 0 and 1, a constant."""
    values = len(grid.knots)
    return values <= 2 or (values <= MOST_VALUES and int(counts.cells[1::2].sum()) >= _REPEATS * values)


def _values(grid: ColumnGrid, reference: ColumnCounts | None, current: ColumnCounts) -> Histogram:
    """Return a bin for each value, and one for the rows between two values where a side has such."""
    names = _names_of_values(grid.knots)
    sides = [counts for counts in (reference, current) if counts is not None]
    cells, labels = [], []
    for cell in range(1, 2 * len(names)):
        if cell % 2 or any(counts.cells[cell] for counts in sides):
            cells.append(cell)
            labels.append(names[cell // 2] if cell % 2 else f"{names[cell // 2 - 1]} to {names[cell // 2]}")

    def end(label: str, cell: int) -> Bar | None:
        if not any(counts.cells[cell] for counts in sides):
            return None
        before = None if reference is None else _share_of(int(reference.cells[cell]), reference)
        return Bar(label, before, _share_of(int(current.cells[cell]), current))

    now = Cells.of(grid.knots, current)
    least = min((counts.minimum for counts in sides if counts.minimum is not None), default=0.0)
    most = max((counts.maximum for counts in sides if counts.maximum is not None), default=0.0)
    shares = tuple((current.cells[cells] / max(current.n, 1)).tolist())
    before = None if reference is None else tuple((reference.cells[cells] / max(reference.n, 1)).tolist())
    return Histogram(
        grid.name,
        tuple(i - 0.5 for i in range(len(cells) + 1)),
        before,
        shares,
        tails=_tails(reference, current),
        log_shares=_has_tower(before or (), shares),
        below=end(f"< {names[0]} (from {_name(least)})", 0),
        above=end(f"> {names[-1]} (to {_name(most)})", -1),
        medians=(None if reference is None else Cells.of(grid.knots, reference).median(), now.median()),
        outside=_outside(current, reference),
        labels=tuple(labels),
    )


def _names_of_values(values: Floats) -> list[str]:
    """Return the values with as few digits as tell them apart."""
    names: list[str] = []
    for digits in (3, 6, 9, 17):
        names = [number(value, digits).replace(",", "") for value in values.tolist()]
        if len(set(names)) == len(names):
            break
    return names


def _without_knots(grid: ColumnGrid, reference: ColumnCounts | None, current: ColumnCounts) -> Histogram:
    """Return the chart of a column of which the reference has no number: of the window's only their range is known."""
    tails = _tails(reference, current)
    share = _share_of(current.n_counted, current) or 0.0
    before = None if reference is None else (_share_of(reference.n_counted, reference) or 0.0,)
    low, high = current.minimum, current.maximum
    if low is None or high is None:
        return Histogram(grid.name, (), None if before is None else (), (), tails=tails)
    if low == high:
        return Histogram(grid.name, (-0.5, 0.5), before, (share,), tails=tails, labels=(_name(low),))
    return Histogram(grid.name, (low, high), before, (share,), tails=tails, shape=(low, low))


def _categories(grid: ColumnGrid, reference: ColumnCounts | None, current: ColumnCounts) -> Categories:
    size = len(grid.vocabulary)
    now = current.cells[:size] / max(current.n, 1)
    before = now if reference is None else reference.cells[:size] / max(reference.n, 1)
    named = size if size <= MOST_CATEGORIES + 1 else MOST_CATEGORIES  # one other has the place of its name
    order = np.lexsort((np.arange(size), -np.maximum(before, now)))
    shown = np.sort(order[:named])
    shown = shown[np.lexsort((shown, -before[shown]))]
    bars = [
        Bar(_category(grid.vocabulary[i]), None if reference is None else float(before[i]), float(now[i]))
        for i in shown
    ]
    if size > named:
        rest = order[named:]
        others = None if reference is None else float(before[rest].sum())
        bars.append(Bar(count(len(rest), "other"), others, float(now[rest].sum())))
    tails = _tails(reference, current)
    unseen = Bar(
        "unseen" if not grid.cut else "rare or unseen",
        None if reference is None else _share_of(reference.other, reference),
        _share_of(current.other, current),
    )
    return Categories(grid.name, tuple(bars), (unseen, *tails) if unseen.reference or unseen.current else tails)


def _category(name: str) -> str:
    if not name.strip():
        return "(empty)" if not name else "(spaces)"
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
