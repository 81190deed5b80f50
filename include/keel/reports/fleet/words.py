"""Times, counts and shares in the words of the overview."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from keel.reports import numbers
from keel.window import DAY

_WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def in_words(number: int) -> str:
    """Return a number up to twelve as a word, a greater one in digits.

    >>> in_words(2), in_words(13), in_words(1200)
    ('two', '13', '1,200')
    """
    return _WORDS[number] if number < len(_WORDS) else numbers.count(number)


def since(moment: datetime, now: datetime) -> str:
    """Return since when: the day of the week within the last six days, else the date.

    >>> from datetime import UTC
    >>> now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    >>> [since(now - timedelta(days=days), now) for days in (0, 1, 5, 6, 400)]
    ['since today', 'since yesterday', 'since Wednesday', 'since 24 November', 'since 26 October 2025']
    """
    days = (now.date() - moment.date()).days
    if days in (0, 1):
        return "since today" if days == 0 else "since yesterday"
    if 0 < days < 6:
        return f"since {moment:%A}"
    return f"since {day(moment, now)}"


def day(moment: datetime, now: datetime) -> str:
    """Return a day, with the year where it is another one than now."""
    return f"{moment.day} {moment:%B}" + ("" if moment.year == now.year else f" {moment.year}")


def clock(moment: datetime, now: datetime) -> str:
    """Return a time in UTC, with its day where that is not today.

    >>> from datetime import UTC
    >>> now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    >>> clock(now, now), clock(now + timedelta(days=1), now)
    ('12:00', '1 December 12:00')
    """
    time = f"{moment:%H:%M}"
    return time if moment.date() == now.date() else f"{day(moment, now)} {time}"


def about(span: timedelta) -> str:
    """Return a duration in its greatest unit.

    >>> about(timedelta(hours=2, minutes=13)), about(timedelta(seconds=-5)), about(timedelta(days=1, hours=23))
    ('2 hours', '5 seconds', '47 hours')
    """
    span = abs(span)
    if DAY <= span < 2 * DAY:
        return numbers.count(span // timedelta(hours=1), "hour")
    whole = timedelta(seconds=span // timedelta(seconds=1))
    return " ".join(numbers.duration(whole).split()[:2]) if whole else "a moment"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
