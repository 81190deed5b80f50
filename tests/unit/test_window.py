"""Windows lie on full hours, and one function resolves them for every kind of run."""

from datetime import UTC, datetime, timedelta

import pytest

from keel.errors import ConfigError
from keel.loop import resolve_window
from keel.window import Window, outside, parse_time
from tests.support.toy import toy_config

NOW = datetime(2026, 3, 10, 14, 20, tzinfo=UTC)
SIX = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ({}, datetime(2026, 3, 10, 15, tzinfo=UTC)),
        ({"interval_end": SIX}, SIX),
        ({"interval_end": "None", "end": ""}, datetime(2026, 3, 10, 15, tzinfo=UTC)),
        ({"end": "2026-03-01T00:00:00Z", "interval_end": SIX}, datetime(2026, 3, 1, tzinfo=UTC)),
        ({"end": "2026-03-01T02:00:00+02:00"}, datetime(2026, 3, 1, tzinfo=UTC)),
        ({"end": "2026-03-01"}, datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_resolve_window_ends_at_the_given_end_else_the_interval_else_now(given, end):
    window = resolve_window(toy_config(), now=NOW, **given)
    assert window.end == end
    assert window.start <= end - timedelta(days=7)
    assert window.end - window.start <= timedelta(days=7, hours=1)


def test_a_given_start_wins_over_the_lookback():
    window = resolve_window(toy_config(), start="2026-03-01T00:30:00Z", end="2026-03-02T00:00:00Z", now=NOW)
    assert window.start == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("start", ["2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"])
def test_a_window_without_length_is_an_error(start):
    with pytest.raises(ConfigError, match="not before end"):
        resolve_window(toy_config(), start=start, end="2026-03-02T00:00:00Z", now=NOW)


def test_parse_time_that_has_no_utc_time_names_it():
    with pytest.raises(ConfigError, match=r"'0001-01-01T00:00:00\+05:00' lies outside the years 1 to 9999 in UTC"):
        parse_time("0001-01-01T00:00:00+05:00")


def test_parse_time_of_an_invalid_time_names_it():
    with pytest.raises(ConfigError, match="'yesterday' is not an ISO 8601 time"):
        parse_time("yesterday")


def test_window_round_trips_through_json():
    window = resolve_window(toy_config(), now=NOW)
    assert Window.from_dict(window.to_dict()) == window


@pytest.mark.parametrize(("minutes", "hours"), [(0, 0), (30, 1), (60, 1), (90, 2)])
def test_earlier_window_holds_only_matured_rows(minutes, hours):
    earlier = Window(SIX - timedelta(hours=1), SIX).earlier(timedelta(minutes=minutes))
    assert earlier == Window(SIX - timedelta(hours=1 + hours), SIX - timedelta(hours=hours))


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ([], [(2, 8)]),
        ([(0, 2), (8, 9)], [(2, 8)]),
        ([(0, 9)], []),
        ([(2, 8)], []),
        ([(0, 3), (7, 9)], [(3, 7)]),
        ([(5, 6), (3, 4)], [(2, 3), (4, 5), (6, 8)]),
        ([(3, 7), (4, 5)], [(2, 3), (7, 8)]),
        ([(2, 4), (4, 8)], []),
    ],
)
def test_outside_returns_the_parts_in_no_taken_interval(taken, left):
    day = [datetime(2026, 3, n + 1, tzinfo=UTC) for n in range(10)]
    found = outside(day[2], day[8], [(day[a], day[b]) for a, b in taken])
    assert found == [(day[a], day[b]) for a, b in left]
