"""The time of the rows of a frame: its span, and its days or weeks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.errors import ConfigError, suggestion
from keel.values.columns import decoded, is_text
from keel.values.scalars import shown

if TYPE_CHECKING:
    from keel.monitoring.frames.tables import Frame

MAX_PERIODS = 40
"""Points that a trend has space for."""
MIN_ROWS = 20
"""Rows of a period below which its numbers are noise."""
LENGTHS = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "30 days": 30 * 86_400, "365 days": 365 * 86_400}
"""Lengths of periods in seconds; the shortest that gives at most `MAX_PERIODS` is taken, an hour only within a day."""
FIRST, LAST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")
"""Python knows no time beyond them."""
TRIMMED = 100
"""Of so many rows, one at each end does not decide how long the periods are: it may be a slip, or an "open" end."""


@dataclass(frozen=True)
class Period:
    """A stretch of time and its rows."""

    start: datetime
    end: datetime
    rows: Any
    """Positions in the frame, ascending."""


def times_of(frame: Frame, name: str) -> Any:
    """Return the times of a frame's rows, shape (rows,), datetime64[us] in UTC, NaT where there is none
    or it lies outside the years 1 to 9999.

    Timestamps, dates, and texts in ISO 8601; without a zone they are taken as UTC.

    Raises
    ------
    ConfigError
        The frame lacks the column, or it holds something else.

    """
    if name not in frame.names:
        raise ConfigError(f"time: {frame.label} has no column {name!r}{suggestion(name, frame.names)}")
    column = decoded(frame.column(name))
    kind = column.type
    if pa.types.is_date(kind) or is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind):
        for zone in (None, "UTC"):  # Arrow reads texts with a zone as the latter only
            try:
                times = column.cast(pa.timestamp("us", zone if not getattr(kind, "tz", None) else "UTC"), safe=False)
            except pa.ArrowException:
                continue
            found = times.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).astype("datetime64[us]")
            return np.where((found >= FIRST) & (found <= LAST), found, np.datetime64("NaT", "us"))
    values = column.drop_null()
    example = shown(values[0].as_py()) if len(values) else "no value"
    raise ConfigError(
        f"time: {frame.label}: column {name!r} holds {example}, which is no time; it needs timestamps, dates, or texts "
        "such as 2013-06-24T18:00:00Z"
    )


def span_of(times: Any) -> tuple[datetime, datetime] | None:
    """Return the first and the last time; None without any."""
    known = times[~np.isnat(times)]
    return (_moment(known.min()), _moment(known.max())) if len(known) else None


def _moment(time: Any) -> datetime:
    moment: datetime = time.astype("datetime64[us]").astype(datetime)
    return moment.replace(tzinfo=UTC)


def split_periods(times: Any) -> tuple[str, list[Period]]:
    """Return the length of the periods in a word, and the periods that have rows, the oldest first.

    Days and weeks are those of the calendar in UTC; weeks begin on Monday. A row far from nearly all others (see
    `TRIMMED`) is in no period.
    """
    known = np.flatnonzero(~np.isnat(times))
    if not len(known):
        return "day", []
    seconds = times[known].astype("datetime64[s]").astype(np.int64)
    first, last = _usual_span(seconds)
    word = _length(first, last)
    length = LENGTHS[word]
    if word != _length(int(seconds.min()), int(seconds.max())):
        near = (seconds >= first - length) & (seconds <= last + length)
        known, seconds = known[near], seconds[near]
    offset = 4 * 86_400 if word == "week" else 0  # the epoch was a Thursday
    number = (seconds - offset) // length
    order = np.argsort(number, kind="stable")
    numbers, starts = np.unique(number[order], return_index=True)
    periods = []
    for value, rows in zip(numbers.tolist(), np.split(known[order], starts[1:]), strict=True):
        start = value * length + offset
        periods.append(Period(_moment_of(start), _moment_of(start + length), rows))
    return word, periods


def _usual_span(seconds: Any) -> tuple[int, int]:
    """Return the first and the last time without the outermost rows of many."""
    ordered, trimmed = np.sort(seconds), len(seconds) // TRIMMED
    return int(ordered[trimmed]), int(ordered[len(ordered) - 1 - trimmed])


def _moment_of(seconds: int) -> datetime:
    """Return seconds since 1970 as a time; the first or last time that there is, where they lie beyond it."""
    return _moment(np.clip(np.datetime64(seconds, "s").astype("datetime64[us]"), FIRST, LAST))


def _length(first: int, last: int) -> str:
    if last - first < LENGTHS["day"] and first // LENGTHS["day"] == last // LENGTHS["day"]:
        return "hour"
    fits = (word for word, length in LENGTHS.items() if word != "hour" and (last - first) / length <= MAX_PERIODS - 1)
    return next(fits, "365 days")
