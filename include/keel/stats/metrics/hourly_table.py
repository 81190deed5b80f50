"""A table of hourly sums, which adds up any interval of hours at once.

A sum is a whole number over a power of two. The sums of one metric share the power, so that adding them is adding whole
numbers: exact, and much faster than adding fractions.
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
"""The moments of no values."""


@dataclass(frozen=True)
class Column:
    """One metric's moments by hour: number of values, their sums in units of 2^-power, sums of squares."""

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
        """Return each hour's contribution to the mean: (S_h − n_h·mean)/n, rounded once. There must be rows."""
        n, total = sum(self.n), sum(self.totals)
        below = n * n << self.power
        moved = [ratio(part * n - count * total, below) for part, count in zip(self.totals, self.n, strict=True)]
        return np.array(moved, dtype=np.float64)


@dataclass(frozen=True)
class HourlyTable:
    """The sums of several hours, which are numbered from 0."""

    rows: list[int]
    """Labelled rows of each hour."""
    columns: Mapping[str, Column]
    starts: Integers
    """Where each hour's cells start among those of all hours, and where the last hour's stop; shape (hours + 1,)."""
    bins: Integers
    """Bin of each cell (`keel.stats.metrics.hourly_sums.bins_of`); ``positive`` and ``negative`` are its counts."""
    positive: Integers
    negative: Integers

    @classmethod
    def read(cls, bodies: Sequence[str]) -> HourlyTable:
        """Read hours that `keel.stats.metrics.hourly_sums.Sums.to_json` wrote.

        ValueError for another format, which a later version of Keel writes.
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
        """Return the moments of a metric's loss, or of a column, over all hours that have it."""
        return self.columns[name].whole if name in self.columns else Moments()

    def mean(self, name: str) -> float:
        """Return the mean of a metric's loss, or of a column; NaN without rows."""
        return self.moments(name).mean

    def by_bin(self, cells: Integers) -> Integers:
        """Sum whole numbers of cells by bin, shape (`BINS`,)."""
        return np.bincount(self.bins, cells, BINS).astype(np.int64)  # floats hold whole numbers up to 2^53

    def by_hour(self, cells: Floats) -> Floats:
        """Sum numbers of cells by hour, shape (hours,)."""
        hour = np.repeat(np.arange(len(self)), np.diff(self.starts))
        return np.bincount(hour, cells, len(self)).astype(np.float64)


class _Reading:
    """Hours during reading, in long lists: many small lists would slow down Python's garbage collector."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._moments: dict[str, list[Any]] = {}
        """By name: number, sum and sum of squares of each hour, in one list."""
        self._sizes = [0]
        self._cells: tuple[list[int], list[int], list[int]] = ([], [], [])

    def add(self, hour: dict[str, Any]) -> None:
        if hour.get("format") != FORMAT:
            raise ValueError(
                f"hourly sums of format {hour.get('format')!r}: this version of Keel reads {FORMAT}; upgrade it"
            )
        for name, moments in hour["moments"].items():
            self._up_to_now(name).extend(moments)
        self._rows.append(hour["n"])
        self._sizes.append(len(hour["histogram"][0]))
        for cells, values in zip(self._cells, hour["histogram"], strict=True):
            cells.extend(values)

    def _up_to_now(self, name: str) -> list[Any]:
        """Return a metric's moments, with `NOTHING` for the hours so far that lack it."""
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
