"""Ticks are round, within the axis, and apart from each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.reports.charts.axes import Axis, ShareAxis, linear_ticks, log_ticks, padded, tick_labels
from keel.reports.charts.canvas import width_of
from keel.reports.charts.time_axis import seconds, time_ticks

MANY = settings(deadline=None, max_examples=80, derandomize=True)
finite = st.floats(allow_nan=False, allow_infinity=False)


@MANY
@given(finite, finite, st.integers(2, 8))
def test_linear_ticks_of_any_range_lie_in_it_and_ascend(a: float, b: float, most: int) -> None:
    low, high = min(a, b), max(a, b)
    ticks = linear_ticks(low, high, most)
    assert 1 <= len(ticks) <= max(most, 3)
    slack = 1e-9 * max(abs(low), abs(high), 1e-300)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert ticks == sorted(ticks)


@MANY
@given(st.floats(5e-324, 1e308), st.floats(5e-324, 1e308), st.integers(2, 8))
def test_log_ticks_of_any_range_lie_in_it(a: float, b: float, most: int) -> None:
    ticks = log_ticks(min(a, b), max(a, b), most)
    assert all(min(a, b) * (1 - 1e-9) <= tick <= max(a, b) * (1 + 1e-9) for tick in ticks)


@MANY
@given(finite, finite)
def test_labelled_ticks_of_any_range_have_different_labels_with_room(a: float, b: float) -> None:
    axis = Axis(*padded([a, b]), 0, 300)
    ticks = axis.labelled_ticks(6)
    labels = [label for _, label in ticks]
    places = [axis(tick) for tick, _ in ticks]
    assert all(y - x >= (width_of(p) + width_of(q)) / 2 for x, y, p, q in zip(places, places[1:], labels, labels[1:]))  # noqa: B905


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (992.0, 1034.0), (-0.06, 0.04), (1e-9, 3e-9), (1e6, 9e6)])
def test_labelled_ticks_of_a_common_range_are_several_and_different(low: float, high: float) -> None:
    labels = [label for _, label in Axis(low, high, 0, 300).labelled_ticks(6)]
    assert 3 <= len(set(labels)) == len(labels)


def test_labelled_ticks_upwards_need_the_height_of_a_line_only() -> None:
    assert len(Axis(1_000_000.123, 1_000_000.456, 150, 0).labelled_ticks(5)) >= 3


@pytest.mark.parametrize(
    ("length", "first_labels"),
    [
        (timedelta(hours=6), ["1 Apr 01:00", "03:00"]),
        (timedelta(days=3), ["1 Apr 12:00", "2 Apr"]),
        (timedelta(days=14), ["3 Apr 2013", "5 Apr"]),
        (timedelta(days=60), ["8 Apr 2013", "22 Apr"]),
        (timedelta(days=365), ["May 2013", "Jul"]),
        (timedelta(days=9000), ["2014", "2016"]),
    ],
)
def test_time_ticks_are_full_units_that_fit(length: timedelta, first_labels: list[str]) -> None:
    start = datetime(2013, 4, 1, 0, 30, tzinfo=UTC)
    ticks = time_ticks(seconds(start), seconds(start + length), 600)
    labels = [label for _, label in ticks]
    assert all(seconds(start) <= at <= seconds(start + length) for at, _ in ticks)
    assert len(labels) >= 3
    assert set(first_labels) <= set(labels)


def test_time_ticks_new_year_is_named() -> None:
    start = datetime(2013, 9, 15, tzinfo=UTC)
    labels = [label for _, label in time_ticks(seconds(start), seconds(start + timedelta(days=200)), 600)]
    assert "Jan 2014" in labels
    assert "Oct 2013" in labels
    assert "Nov" in labels


def test_share_axis_has_ticks_in_percent() -> None:
    assert [label for _, label in ShareAxis.of([0.23, None], 100, 0).labelled_ticks()] == ["10%", "20%"]
    axis = ShareAxis.of([0.9, 0.001], 100, 0, log=True)
    assert [label for _, label in axis.labelled_ticks()] == ["0.1%", "1%", "10%"]
    assert axis(0.0) == axis(None) == axis(float("nan")) == 100


def test_tick_labels_never_repeat_a_label_for_even_steps() -> None:
    for ticks in ([0.00012, 0.00014, 0.00016], [100000.0, 100500.0, 101000.0], [12_500_000.0, 12_750_000.0]):
        assert len(set(tick_labels(ticks))) == len(ticks)
