"""Ticks of a time axis: full hours, days, months or years in UTC, whichever of them fit."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from keel.reports.charts.canvas import width_of

_HOUR, _DAY = 3600, 86400
_FIXED_STEPS = tuple(hours * _HOUR for hours in (1, 2, 3, 6, 12)) + tuple(days * _DAY for days in (1, 2, 7, 14))
_MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200)
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC).timestamp()
_FIRST, _LAST = (datetime(year, 6, 1, tzinfo=UTC).timestamp() for year in (1, 9999))
"""Times that the calendar holds in every zone, with space around them."""
_GAP = 10.0


def seconds(time: datetime) -> float:
    """Return a time as seconds since 1970; one without a zone is UTC."""
    return min(max((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp(), _FIRST), _LAST)


def time_ticks(start: float, end: float, length: float) -> list[tuple[float, str]]:
    """Return times in [start, end] with labels that fit beside each other on ``length`` units of a drawing.

    start, end: seconds since 1970. Days and months are named, and a year where it is the first or a new one.
    """
    if not end > start:
        return [(start, _day_label(_utc(start), year=True))]
    for step in _FIXED_STEPS:
        if (end - start) / step <= length / 20:
            ticks = _labelled([_utc(tick) for tick in _multiples(start, end, step)], step)
            if len(ticks) > 1 and _fits(ticks, start, end, length):
                return ticks
    for months in _MONTH_STEPS:
        if (end - start) / (months * 30 * _DAY) <= length / 20:
            ticks = _labelled(list(_months(start, end, months)), months * 30 * _DAY)
            if len(ticks) > 1 and _fits(ticks, start, end, length):
                return ticks
    return [(start, _day_label(_utc(start), year=True))]


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(min(max(at, _FIRST), _LAST), UTC)


def _multiples(start: float, end: float, step: int) -> Iterator[float]:
    offset = _MONDAY if step >= 7 * _DAY else 0.0
    tick = offset - ((offset - start) // step) * step
    while tick <= end:
        yield tick
        tick += step


def _months(start: float, end: float, step: int) -> Iterator[datetime]:
    first, last = _utc(start), _utc(end)
    index = first.year * 12 + first.month - 1
    index -= index % step
    while (year := index // 12) <= last.year and year < 9999:
        tick = datetime(max(year, 1), index % 12 + 1, 1, tzinfo=UTC)
        if first <= tick <= last:
            yield tick
        index += step


def _labelled(times: list[datetime], step: int) -> list[tuple[float, str]]:
    labels = []
    for i, time in enumerate(times):
        new_year = i == 0 or time.year != times[i - 1].year
        if step >= 360 * _DAY:
            label = str(time.year)
        elif step >= 28 * _DAY:
            label = calendar.month_abbr[time.month] + f" {time.year}" * new_year
        elif step >= _DAY or (time.hour, time.minute) == (0, 0):
            label = _day_label(time, year=new_year and step >= _DAY)
        else:
            label = f"{_day_label(time, year=False)} " * (i == 0) + f"{time:%H:%M}"
        labels.append((time.timestamp(), label))
    return labels


def _day_label(time: datetime, *, year: bool) -> str:
    return f"{time.day} {calendar.month_abbr[time.month]}" + f" {time.year}" * year


def _fits(ticks: list[tuple[float, str]], start: float, end: float, length: float) -> bool:
    places = [(at - start) / (end - start) * length for at, _ in ticks]
    widths = [width_of(label) for _, label in ticks]
    return all(
        b - a >= (left + right) / 2 + _GAP
        for a, b, left, right in zip(places, places[1:], widths, widths[1:], strict=False)
    )


def pad_times(start: float, end: float) -> tuple[float, float]:
    """Return a range a little wider than [start, end], so that no point lies on an edge."""
    around = 0.03 * (end - start) or timedelta(days=1).total_seconds()
    return max(start - around, _FIRST), min(end + around, _LAST)


def times_named(times: Sequence[datetime]) -> list[str]:
    """Return a short name of each time in order: its day, with the year where it is the last, or the last of its year.

    The time of day is there where a neighbour is of the same day.

    >>> times_named([datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, 6, tzinfo=UTC)])
    ['1 Jan', '2 Jan 2013']
    """
    days = [_utc(seconds(time)) for time in times]
    names = []
    for i, day in enumerate(days):
        name = _day_label(day, year=i == len(days) - 1 or day.year != days[i + 1].year)
        neighbours = [days[j].date() for j in (i - 1, i + 1) if 0 <= j < len(days)]
        names.append(f"{name} {day:%H:%M}" if day.date() in neighbours else name)
    return names
