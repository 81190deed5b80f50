"""How numbers are written: one way, and never a NaN."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.ledger.wording import format_probability
from keel.reports import numbers

WRITERS = (
    numbers.number,
    numbers.signed,
    numbers.share,
    format_probability,
    numbers.count,
    numbers.duration,
)
MANY = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_writers_unknown_number_is_said_to_be_unknown(write: object, value: float | None) -> None:
    assert numbers.UNKNOWN in write(value)  # type: ignore[operator]


@MANY
@given(st.floats(-1e305, 1e305))
def test_number_any_float_is_within_half_of_its_last_digit(value: float) -> None:
    text = numbers.number(value).replace(",", "").replace(numbers.MINUS, "-")
    mantissa, _, power = text.partition("10" if text.lstrip("-").startswith("10") and "×" not in text else " × 10")
    superscripts = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    if "⁻" in text or any(digit in text for digit in "⁰¹²³⁴⁵⁶⁷⁸⁹"):
        sign = -1 if text.startswith("-") else 1
        size = float(mantissa.strip("-") or 1)
        read = sign * float(f"{size}e{power.translate(superscripts)}")
    else:
        read = float(text)
    assert math.isclose(read, value, rel_tol=0.0051, abs_tol=1e-320)


@MANY
@given(st.floats(0, 1))
def test_share_between_nothing_and_all_is_neither_0_nor_100_percent(value: float) -> None:
    text = numbers.share(value)
    assert (text == "0%") is (value == 0)
    assert (text == "100%") is (value == 1)


@pytest.mark.parametrize("value", [-0.0001, -1.0, -123456.0, -1e-9, -1e12])
def test_number_negative_has_a_real_minus_sign(value: float) -> None:
    assert numbers.number(value).startswith("\N{MINUS SIGN}")
    assert "-" not in numbers.number(value)
    assert numbers.signed(-value).startswith("+")


def test_alike_close_values_are_told_apart() -> None:
    assert numbers.alike(0.99871, 0.99872) == ("0.998710", "0.998720")
    assert numbers.alike(0.0, 0.0) == ("0", "0")
    assert numbers.alike(3, 4) == ("3", "4")
    assert numbers.alike(1e-7, 2e-7) == ("10⁻⁷", "2 × 10⁻⁷")
    assert numbers.alike(-0.0001, 12.5) == ("0.0", "12.5")


def test_time_with_a_datetime_is_its_day_in_utc() -> None:
    assert numbers.time(datetime(2013, 7, 1, tzinfo=UTC)) == "1 July 2013"
    assert numbers.span(datetime(2013, 6, 24, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)) == (
        "24 June to 1 July 2013"
    )
    assert numbers.time("not a time") == numbers.UNKNOWN


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(hours=36), "1 day 12 hours"),
        (timedelta(seconds=59.9), "1 minute"),
        (timedelta(hours=23, minutes=59, seconds=59), "1 day"),
        (timedelta(days=-2), "−2 days"),
        (9.5, "9.5 seconds"),
        (42, "42 seconds"),
        (0, "0 ms"),
    ],
)
def test_duration_is_rounded_to_two_units(value: timedelta | float, text: str) -> None:
    assert numbers.duration(value) == text
