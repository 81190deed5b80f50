"""How pages and charts write numbers, shares, times and durations: in one place, in one way.

- A negative number has a real minus sign (U+2212), which is as wide as a plus sign and never breaks a line. Machines
  read the ``--json`` of each command instead.
- A number has three significant digits, and a whole number all of its digits, with commas between thousands.
- What is not known (None, NaN, infinity) is `UNKNOWN`, never a number.
- Times are in UTC.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from keel.ledger.wording import format_interval, format_time

UNKNOWN = "unknown"
"""What is written for a number that is not known."""
MINUS = "\N{MINUS SIGN}"
DIGITS = 3
"""Significant digits, unless a caller needs more."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEAST_PLAIN, _GREATEST_PLAIN = 1e-4, 1e9
"""Numbers beyond these are written as powers of ten."""
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def number(value: float | None, digits: int = DIGITS) -> str:
    """Return a number with ``digits`` significant digits, without zeros at its end.

    >>> number(0.15678), number(-0.0211), number(1034.2), number(1234567), number(0), number(float("nan"))
    ('0.157', '−0.0211', '1,034', '1,234,567', '0', 'unknown')
    >>> number(1.5e-7), number(2e15), number(12.0), number(99.96)
    ('1.5 × 10⁻⁷', '2 × 10¹⁵', '12', '100')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    if size == 0:
        return "0"
    rounded = float(f"{size:.{digits - 1}e}")
    if not _LEAST_PLAIN <= rounded < _GREATEST_PLAIN:
        text = _power_of_ten(size, digits)
    elif size >= 10 ** (digits - 1) or size == int(size):
        text = f"{size:,.0f}"
    else:
        decimals = digits - 1 - math.floor(math.log10(rounded))
        text = f"{size:,.{max(decimals, 0)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return MINUS * (value < 0) + text


def _power_of_ten(size: float, digits: int) -> str:
    mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa} × {power}"


def signed(value: float | None, digits: int = DIGITS) -> str:
    """Return a number with its sign, such as a change.

    >>> signed(0.0205), signed(-0.021), signed(0.0), signed(None)
    ('+0.0205', '−0.021', '0', 'unknown')
    """
    text = number(value, digits)
    return f"+{text}" if value is not None and math.isfinite(value) and value > 0 else text


def alike(*values: float | None, digits: int = DIGITS) -> tuple[str, ...]:
    """Return numbers that are read beside each other, with equal decimals, as many as tell them apart.

    They have the decimals of ``digits`` significant digits of the greatest, and more, up to six, until the smallest
    difference has two digits.

    >>> alike(0.157, 0.2491), alike(0.99871, 0.99914), alike(1200.0, 1350.25), alike(0.5, None)
    (('0.157', '0.249'), ('0.99871', '0.99914'), ('1,200', '1,350'), ('0.500', 'unknown'))
    """
    known = sorted({value for value in values if value is not None and math.isfinite(value)})
    greatest = max(map(abs, known), default=0.0)
    if greatest and not _LEAST_PLAIN <= greatest < _GREATEST_PLAIN:
        return tuple(number(value, digits) for value in values)
    gaps = [b - a for a, b in zip(known, known[1:], strict=False)]
    decimals = digits - 1 - math.floor(math.log10(greatest)) if greatest else 0
    if gaps:
        decimals = max(decimals, min(1 - math.floor(math.log10(min(gaps))), 6) if min(gaps) < 1 else 0)
    if all(value == int(value) for value in known):
        decimals = 0
    return tuple(_fixed(value, max(decimals, 0)) for value in values)


def _fixed(value: float | None, decimals: int) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{abs(value):,.{decimals}f}"
    return MINUS * (value < 0 and text.strip("0.,") != "") + text


def signs(*values: float | None) -> tuple[str, ...]:
    """Return differences that are read beside each other: with their signs and equal decimals.

    >>> signs(0.0205, 0.000624), signs(0.0004, 0.00004), signs(-1.5, None)
    (('+0.0205', '+0.0006'), ('+0.000400', '+0.000040'), ('−1.50', 'unknown'))
    """
    texts = alike(*values)
    return tuple(
        f"+{text}" if (value or 0) > 0 and text.strip("0.") else text for value, text in zip(values, texts, strict=True)
    )


def interval(lower: float | None, upper: float | None) -> str:
    """Return an interval; a bound that is not known is open.

    >>> interval(0.2214, 0.277), interval(0.02, None), interval(None, -1.5), interval(None, None)
    ('0.221 to 0.277', 'at least 0.02', 'at most −1.5', 'unknown')
    """
    low, high = (value is not None and math.isfinite(value) for value in (lower, upper))
    if low and high:
        return " to ".join(alike(lower, upper))
    if low:
        return f"at least {number(lower)}"
    return f"at most {number(upper)}" if high else UNKNOWN


def share(value: float | None, digits: int = DIGITS) -> str:
    """Return a share in [0, 1] in percent. Only nothing is 0%, and only all is 100%.

    >>> share(0.14), share(0.1234), share(1), share(0), share(0.00001), share(0.99999), share(None)
    ('14%', '12.3%', '100%', '0%', '< 0.01%', '> 99.9%', 'unknown')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.0001:
        return "< 0.01%"
    text = number(100 * value, digits)
    return "> 99.9%" if text == "100" and value < 1 else f"{text}%"


def count(value: float | None, noun: str = "", nouns: str = "") -> str:
    """Return a number of things, with the noun in the right form; ``nouns`` where it is not the noun and an s.

    >>> count(6702), count(1, "column"), count(8, "column"), count(0, "category", "categories"), count(None, "row")
    ('6,702', '1 column', '8 columns', '0 categories', 'unknown rows')
    """
    plural = nouns or f"{noun}s"
    if value is None or not math.isfinite(value):
        return f"{UNKNOWN} {plural}" if noun else UNKNOWN
    text = f"{round(value):,}".replace("-", MINUS)
    return f"{text} {noun if round(value) == 1 else plural}" if noun else text


def time(value: datetime | str | None) -> str:
    """Return a time in UTC: its day, and the time of day unless that is midnight.

    >>> time("2013-05-01T00:00:00Z"), time(datetime(2013, 5, 1, 16, 30)), time(None)
    ('1 May 2013', '1 May 2013 16:30', 'unknown')
    """
    return format_time(_iso(value)) or UNKNOWN


def span(start: datetime | str | None, end: datetime | str | None) -> str:
    """Return the time from start to end, without repeating what both have in common.

    >>> span("2013-04-09T00:00:00Z", "2013-04-30T00:00:00Z"), span("2013-05-01T03:00:00Z", "2013-05-01T06:00:00Z")
    ('9 to 30 April 2013', '1 May 2013 03:00 to 06:00')
    """
    return format_interval(_iso(start), _iso(end)) or UNKNOWN


def _iso(value: datetime | str | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value


def duration(value: timedelta | float | None) -> str:
    """Return a duration, given as such or in seconds: its greatest unit, and the next one unless that is zero.

    >>> duration(timedelta(days=7)), duration(5400), duration(1), duration(0.0123), duration(90061), duration(None)
    ('7 days', '1 hour 30 minutes', '1 second', '12.3 ms', '1 day 1 hour', 'unknown')
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0:
        return MINUS + duration(-seconds)
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 10:
        text = number(seconds)
        return f"{text} second{'s' * (text != '1')}"
    for i, (unit, size) in enumerate(_UNITS[:-1]):
        smaller, smaller_size = _UNITS[i + 1]
        parts = round(seconds / smaller_size)
        whole, rest = divmod(parts, size // smaller_size)
        if whole:
            return count(whole, unit) + (f" {count(rest, smaller)}" if rest else "")
    return count(seconds, "second")
