"""Convert times: the store has microseconds since 1970-01-01 UTC in a BIGINT, the code has aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR = 3_600_000_000


def to_micros(moment: datetime) -> int:
    """Return microseconds since the epoch, exactly; ValueError for a naive datetime.

    >>> to_micros(datetime(1970, 1, 1, 1, tzinfo=UTC))
    3600000000
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no time zone; pass an aware datetime, such as datetime.now(UTC)")
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of ``micros``. The inverse of `to_micros`."""
    return EPOCH + micros * MICROSECOND


def hour_micros(hour: datetime) -> int:
    """Return the microseconds of a full hour; ValueError for a naive datetime or one that is no full hour."""
    micros = to_micros(hour)
    if micros % HOUR:
        raise ValueError(f"{hour.isoformat()} is not the start of an hour in UTC")
    return micros
