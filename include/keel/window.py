"""The window of a check, and helpers for times and intervals."""

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
    """A half-open interval [start, end). Windows of a check lie on full hours in UTC, because counts are hourly."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ConfigError(f"window: start {self.start.isoformat()} is not before end {self.end.isoformat()}")

    def earlier(self, by: timedelta) -> Window:
        """Return the window moved into the past by ``by``, and by up to an hour more, to full hours.

        Its rows are at least ``by`` older than this window's, so that every label has matured.
        """
        return Window(floor_hour(self.start - by), floor_hour(self.end - by))

    def to_dict(self) -> dict[str, str]:
        """Return ISO strings."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Window:
        """Return the window that `to_dict` wrote."""
        return cls(datetime.fromisoformat(values["start"]), datetime.fromisoformat(values["end"]))


def outside(
    start: datetime, end: datetime, taken: Iterable[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """Return the parts of [start, end) outside the intervals that are taken, in order.

    >>> first, *_, last = days = [datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 6)]
    >>> [(a.day, b.day) for a, b in outside(first, last, [(days[3], days[4]), (days[1], days[2])])]
    [(1, 2), (3, 4)]
    """
    parts = []
    for begin, finish in sorted(taken):
        if begin >= end:
            break
        if begin > start:
            parts.append((start, begin))
        start = max(start, finish)
    return [*parts, (start, end)] if start < end else parts


def parse_time(value: str | datetime | None) -> datetime | None:
    """Return an aware UTC time from an ISO text or a datetime; a naive one is in UTC.

    None for empty text, ``"None"`` and ``"null"``, which templates render for a missing value.

    >>> parse_time("2013-05-01T00:00:00Z").isoformat()
    '2013-05-01T00:00:00+00:00'
    """
    if value is None or value in ("", "None", "null"):
        return None
    try:
        # A plain datetime: Airflow's are pendulum's, which lose a foreign time zone in a subtraction.
        time = datetime.fromisoformat(value.isoformat() if isinstance(value, datetime) else str(value))
    except ValueError as error:
        raise ConfigError(f"{value!r} is not an ISO 8601 time such as 2013-05-01T00:00:00Z") from error
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"{value!r} lies outside the years 1 to 9999 in UTC") from None


def floor_hour(time: datetime) -> datetime:
    """Return the full hour at or before a time."""
    return time.replace(minute=0, second=0, microsecond=0)


def ceil_hour(time: datetime) -> datetime:
    """Return the full hour at or after a time."""
    floor = floor_hour(time)
    return floor if floor == time else floor + HOUR


def times_of(window: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return the start and end of a window that `Window.to_dict` wrote."""
    return datetime.fromisoformat(window["start"]), datetime.fromisoformat(window["end"])


def now_utc() -> datetime:
    """Return the current time, for the time of writing of a row. No decision depends on it."""
    return datetime.now(UTC)
