"""Axes: from numbers and times to places on a drawing, and ticks at round numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.reports.charts.canvas import LABEL_SIZE, width_of
from keel.reports.numbers import MINUS, number, share

if TYPE_CHECKING:
    from keel.reports.charts.specs import Scale

_TICK_GAP = 6.0
_STEPS = (1.0, 2.0, 5.0, 10.0)
_SUFFIXES = ((1e6, "M"), (1e3, "k"))
_GREATEST = sys.float_info.max
_LEAST_SHARE = 1e-5
"""Where an axis of shares ends at the least, and where a logarithmic one starts."""


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the numbers that can be drawn."""
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def known_shares(values: Iterable[float | None]) -> list[float]:
    """Return the shares that can be drawn, each within [0, 1]."""
    return [min(max(value, 0.0), 1.0) for value in finite(values)]


@dataclass(frozen=True)
class Axis:
    """Maps [low, high] to [start, end] of a drawing. Values beyond are drawn at its ends."""

    low: float
    high: float
    start: float
    end: float
    scale: Scale = "linear"

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = (self._position(each) for each in (self.low, self.high, value))
        part = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def _position(self, value: float) -> float:
        if self.scale == "log":
            return math.log10(value) if value > 0 else -400.0
        return value / 4  # no difference of two quarters overflows

    def ticks(self, most: int) -> list[float]:
        """Return at most about so many round numbers on the axis."""
        if self.scale == "log":
            return log_ticks(self.low, self.high, most)
        return linear_ticks(self.low, self.high, most)

    def labelled_ticks(self, most: int) -> list[tuple[float, str]]:
        """Return as many ticks as have room beside each other, at most ``most``, each with its label."""
        for n in range(most, 1, -1):
            ticks = self.ticks(n)
            labels = tick_labels(ticks)
            if len(ticks) <= most + 2 and self._has_room(ticks, labels):
                return list(zip(ticks, labels, strict=True))
        return []

    def _has_room(self, ticks: Sequence[float], labels: Sequence[str]) -> bool:
        """Whether labels beside each other, or under each other on an axis that goes up, do not touch."""
        upwards = self.end < self.start
        sizes = [LABEL_SIZE if upwards else width_of(label) for label in labels]
        places = [abs(self(tick) - self.start) for tick in ticks]
        return all(
            place - before >= (size + size_before) / 2 + _TICK_GAP
            for before, place, size_before, size in zip(places, places[1:], sizes, sizes[1:], strict=False)
        )


def padded(values: Sequence[float], share_of_range: float = 0.06) -> tuple[float, float]:
    """Return a range around finite values, which has a width even where they have none."""
    low, high = min(values), max(values)
    width = high - low
    if math.isfinite(width) and width > 1e-9 * max(abs(low), abs(high)):
        return max(low - share_of_range * width, -_GREATEST), min(high + share_of_range * width, _GREATEST)
    if not math.isfinite(width):
        return low, high
    around = abs(low) * 0.1 or 1.0
    low, high = low - around, high + around
    return (low, high) if high > low and math.isfinite(high - low) else (-1.0, 1.0)


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers in [low, high], at most ``most`` of them and two at least where two exist.

    >>> linear_ticks(992, 1034, 5), linear_ticks(0, 0.23, 3), linear_ticks(-1e308, 1e308, 4)
    ([1000.0, 1010.0, 1020.0, 1030.0], [0.0, 0.1, 0.2], [-1e+308, 0.0, 1e+308])
    """
    width = high - low
    if not width > 0:
        return [low]
    if not math.isfinite(width):
        return [low, 0.0, high]
    power = 10.0 ** math.floor(math.log10(width / max(most, 1))) if width > 1e-300 else 0.0
    for step in (factor * power for factor in (*_STEPS, 20.0, 50.0)):
        if step <= 0 or low + step == low or high + step == high:
            return [low, high]
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= max(most, 2):
            return [round(i * step, 12 - math.floor(math.log10(step))) + 0.0 for i in range(first, last + 1)]
    return [low, high]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return powers of ten in [low, high], with 2 and 5 times them where there are few, else every second and so on.

    >>> log_ticks(3, 4000, 4), log_ticks(2, 60, 6), log_ticks(1e-10, 1e10, 5)
    ([10.0, 100.0, 1000.0], [2.0, 5.0, 10.0, 20.0, 50.0], [1e-10, 1e-05, 1.0, 100000.0, 10000000000.0])
    """
    if not 0 < low < high:
        return [high]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in range(first, min(last, 307) + 1) for factor in factors]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) <= most:
            return inside if len(inside) > 1 else linear_ticks(low, high, most)
    stride = math.ceil(len(inside) / most)
    return inside[::stride]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return the numbers with equal decimals, thousands and millions short.

    >>> tick_labels([0, 0.5, 1]), tick_labels([1990.0, 2000.0]), tick_labels([0, 50000, 100000])
    (['0', '0.5', '1.0'], ['1990', '2000'], ['0', '50k', '100k'])
    >>> tick_labels([0.001, 1, 1e6]), tick_labels([-2e-9, 0.0]), tick_labels([10, 1000, 100000])
    (['0.001', '1', '1M'], ['−2 × 10⁻⁹', '0'], ['10', '1000', '100k'])
    """
    greatest = max(map(abs, ticks), default=0.0)
    steps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    even = steps and max(steps) - min(steps) <= 1e-6 * max(steps)
    if not 1e-4 <= greatest < 1e9 or not even:
        return [_short(tick) for tick in ticks]
    step = steps[0]
    for size, suffix in _SUFFIXES:
        if greatest >= 10 * size and step >= size / 1000:
            decimals = max(0, _decimals(step / size))
            return ["0" if tick == 0 else _signed(tick / size, decimals) + suffix for tick in ticks]
    decimals = max(0, _decimals(step))
    return ["0" if tick == 0 else _signed(tick, decimals) for tick in ticks]


def _decimals(step: float) -> int:
    decimals = -math.floor(math.log10(step) + 1e-9)
    return decimals + (not math.isclose(round(step, max(decimals, 0)), step, rel_tol=1e-6))


def _signed(value: float, decimals: int) -> str:
    return MINUS * (value < 0) + f"{abs(value):.{decimals}f}"


def _short(value: float) -> str:
    for size, suffix in _SUFFIXES:
        if 10 * size <= abs(value) < 1e9 or abs(value) == size == 1e6:
            return number(value / size) + suffix
    return number(value).replace(",", "")


@dataclass(frozen=True)
class ShareAxis:
    """The vertical axis of shares, from ``bottom`` up to ``top`` of a drawing; logarithmic where one towers."""

    most: float
    bottom: float
    top: float
    log: bool = False
    least: float = 0.0

    @classmethod
    def of(cls, shares: Iterable[float | None], bottom: float, top: float, *, log: bool = False) -> ShareAxis:
        """Return the axis for shares up to the greatest, and for the least above zero if it is logarithmic."""
        known = [value for value in known_shares(shares) if value > 0]
        most = min(max(max(known, default=1.0), _LEAST_SHARE), 1.0)
        if not log:
            return cls(most, bottom, top)
        least = 10.0 ** math.floor(math.log10(max(min(known, default=0.01), _LEAST_SHARE)))
        return cls(most, bottom, top, log=True, least=min(least, most / 10))

    def __call__(self, value: float | None) -> float:
        """Return the height of a share."""
        value = value if value is not None and math.isfinite(value) else 0.0
        if self.log:
            base = math.log10(self.least)
            part = (math.log10(value) - base) / (math.log10(self.most) - base) if value > self.least else 0.0
        else:
            part = value / self.most
        return self.bottom - min(max(part, 0.0), 1.0) * (self.bottom - self.top)

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """Return two to four round shares with their labels."""
        if self.log:
            ticks = [tick for tick in log_ticks(self.least, self.most, 4) if tick >= self.least]
        else:
            ticks = [tick for tick in linear_ticks(0.0, self.most, 4) if tick > 0]
        return [(tick, share(tick)) for tick in ticks]
