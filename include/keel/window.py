"""The span of time a check judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from keel.errors import ConfigError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """A half-open span [start, end) on full hours in UTC, because counts are kept by the hour."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ConfigError(f"window: start {self.start.isoformat()} is not before end {self.end.isoformat()}")

    def earlier(self, by: timedelta) -> Window:
        """Return the window moved into the past by ``by`` or up to an hour more, so that it lies on full hours.

        What is in it is at least ``by`` before what was in this one: no row whose label is not due yet.
        """
        return Window(floor_hour(self.start - by), floor_hour(self.end - by))

    def to_dict(self) -> dict[str, str]:
        """Return ISO strings."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Window:
        """Return the window that `to_dict` described."""
        return cls(datetime.fromisoformat(values["start"]), datetime.fromisoformat(values["end"]))


def outside(
    start: datetime, end: datetime, taken: Iterable[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """Return what of [start, end) lies in none of the spans that are taken, in order.

    >>> first, *_, last = days = [datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 6)]
    >>> [(a.day, b.day) for a, b in outside(first, last, [(days[3], days[4]), (days[1], days[2])])]
    [(1, 2), (3, 4)]
    """
    left = []
    for begin, finish in sorted(taken):
        if begin >= end:
            break
        if begin > start:
            left.append((start, begin))
        start = max(start, finish)
    return [*left, (start, end)] if start < end else left


def parse_time(value: str | datetime | None) -> datetime | None:
    """Return an aware UTC time from an ISO text or a datetime; naive ones are read as UTC.

    Empty and ``"None"``, what a template renders for a missing value, give None.

    >>> parse_time("2013-05-01T00:00:00Z").isoformat()
    '2013-05-01T00:00:00+00:00'
    """
    if value is None or value in ("", "None", "null"):
        return None
    try:
        # A plain datetime whatever came in: pendulum's, which Airflow hands out, loses a foreign zone when subtracted.
        time = datetime.fromisoformat(value.isoformat() if isinstance(value, datetime) else str(value))
    except ValueError as error:
        raise ConfigError(f"{value!r} is not an ISO 8601 time such as 2013-05-01T00:00:00Z") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def floor_hour(time: datetime) -> datetime:
    """Return the full hour at or before a time."""
    return time.replace(minute=0, second=0, microsecond=0)


def ceil_hour(time: datetime) -> datetime:
    """Return the full hour at or after a time."""
    floor = floor_hour(time)
    return floor if floor == time else floor + HOUR


def times_of(window: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return the start and end of a window's plain form."""
    return datetime.fromisoformat(window["start"]), datetime.fromisoformat(window["end"])


def now_utc() -> datetime:
    """When a row is written; no decision depends on it."""
    return datetime.now(UTC)
