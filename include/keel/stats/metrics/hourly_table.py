"""Hourly sums side by side, as they are stored, so that those of any stretch of hours are added up at once.

A sum is a whole number over a power of two; those of one metric share the power, so that adding them is adding whole
numbers, without any rounding and much faster than fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from keel.stats.metrics.exact_sums import from_texts, ratio
from keel.stats.metrics.hourly_sums import BINS, FORMAT, Moments

if TYPE_CHECKING:
    from keel.stats.metrics.hourly_sums import Integers
    from keel.stats.metrics.losses import Floats

NOTHING = (0, "0/0", "0/0")
"""The moments of no value."""


@dataclass(frozen=True)
class Column:
    """One metric's moments, by hour: how many values, their sums in 2^-power, and the sums of their squares."""

    n: list[int]
    totals: list[int]
    power: int
    squares: list[int]
    power_of_squares: int

    def between(self, first: int, end: int) -> Column:
        """Return the hours first ≤ i < end."""
        return Column(
            self.n[first:end], self.totals[first:end], self.power, self.squares[first:end], self.power_of_squares
        )

    @property
    def whole(self) -> Moments:
        """The moments of all hours together."""
        squares = Fraction(sum(self.squares), 1 << self.power_of_squares)
        return Moments(sum(self.n), Fraction(sum(self.totals), 1 << self.power), squares)

    def deviations(self) -> Floats:
        """Return by how much each hour moves the mean of all: (S_h − n_h·mean)/n, rounded once. Some rows are there."""
        n, total = sum(self.n), sum(self.totals)
        below = n * n << self.power
        moved = [ratio(part * n - count * total, below) for part, count in zip(self.totals, self.n, strict=True)]
        return np.array(moved, dtype=np.float64)


@dataclass(frozen=True)
class HourlyTable:
    """Some hours' sums, each hour's place being its number from 0."""

    rows: list[int]
    """Labelled rows of each hour."""
    columns: Mapping[str, Column]
    starts: Integers
    """Where each hour's cells begin among those of all, and where the last hour's end; shape (hours + 1,)."""
    bins: Integers
    """The cells' bins, see `keel.stats.metrics.hourly_sums.bins_of`, with the positives and negatives in each."""
    positive: Integers
    negative: Integers

    @classmethod
    def read(cls, bodies: Sequence[str]) -> HourlyTable:
        """Read hours that `keel.stats.metrics.hourly_sums.Sums.to_json` wrote.

        ValueError for another format, which a later Keel may write.
        """
        reading = _Reading()
        for body in bodies:
            reading.add(msgspec.json.decode(body))
        return reading.done()

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, first: int, end: int) -> HourlyTable:
        """Return the hours first ≤ i < end."""
        cells = slice(self.starts[first], self.starts[end])
        columns = {name: column.between(first, end) for name, column in self.columns.items()}
        starts = self.starts[first : end + 1] - self.starts[first]
        return HourlyTable(
            self.rows[first:end], columns, starts, self.bins[cells], self.positive[cells], self.negative[cells]
        )

    def moments(self, name: str) -> Moments:
        """Return the moments of a metric's loss, or of a column, over all hours; an hour that lacks it adds nothing."""
        return self.columns[name].whole if name in self.columns else Moments()

    def mean(self, name: str) -> float:
        """Return the mean of a metric's loss or of a column, NaN without rows."""
        return self.moments(name).mean

    def by_bin(self, cells: Integers) -> Integers:
        """Return the sum of a number of each cell by bin, shape (`BINS`,)."""
        return np.bincount(self.bins, cells, BINS).astype(np.int64)  # floats hold whole numbers up to 2^53

    def by_hour(self, cells: Floats) -> Floats:
        """Return the sum of a number of each cell by hour, shape (hours,)."""
        hour = np.repeat(np.arange(len(self)), np.diff(self.starts))
        return np.bincount(hour, cells, len(self)).astype(np.float64)


class _Reading:
    """Hours as they are read, in long lists: many small ones would keep Python's garbage collector busy."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._moments: dict[str, list[Any]] = {}
        """By name and hour: how many, sum, sum of squares, one behind the other."""
        self._sizes = [0]
        self._cells: tuple[list[int], list[int], list[int]] = ([], [], [])

    def add(self, hour: dict[str, Any]) -> None:
        if hour.get("format") != FORMAT:
            raise ValueError(f"hourly sums of format {hour.get('format')!r}; this Keel reads {FORMAT}: upgrade it")
        for name, moments in hour["moments"].items():
            self._up_to_now(name).extend(moments)
        self._rows.append(hour["n"])
        self._sizes.append(len(hour["histogram"][0]))
        for cells, values in zip(self._cells, hour["histogram"], strict=True):
            cells.extend(values)

    def _up_to_now(self, name: str) -> list[Any]:
        """Return a metric's moments, with nothing in the hours that lack it."""
        moments = self._moments.setdefault(name, [])
        if lacking := len(self._rows) - len(moments) // len(NOTHING):
            moments.extend(NOTHING * lacking)
        return moments

    def done(self) -> HourlyTable:
        columns = {}
        for name in self._moments:
            n, totals, squares = (self._up_to_now(name)[i :: len(NOTHING)] for i in range(len(NOTHING)))
            columns[name] = Column(n, *from_texts(totals), *from_texts(squares))
        cells = (np.array(each, np.int64) for each in self._cells)
        return HourlyTable(self._rows, columns, np.cumsum(self._sizes), *cells)
