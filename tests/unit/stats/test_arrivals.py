"""The probability of hours without a row."""

from __future__ import annotations

import numpy as np
import pytest

from keel.stats.arrivals import chance_of_silence

WEEK = 168
NIGHT = np.arange(4 * WEEK) % 24 < 8
BY_DAY = np.where(NIGHT, 0, 50)


@pytest.mark.parametrize(
    ("rows", "silent", "chance"),
    [
        (np.full(4 * WEEK, 3), 1, 0.8**12),  # twelve rows in four weeks, and none in the fifth
        (np.full(4 * WEEK, 3), 3, 0.8**36),
        (np.full(4 * WEEK, 1), 2 * WEEK, (4 / 6) ** (4 * WEEK)),  # twice the same hours
        (np.full(WEEK, 2), 24, (7 / 8) ** (7 * 24 * 2)),  # days, before there are two weeks
        (np.full(30, 1), 2, (30 / 32) ** 30),  # hours, before there are two days
        (BY_DAY, 8, 1.0),  # the night
        (BY_DAY, 9, 0.8**200),
        (np.zeros(4 * WEEK), 500, 1.0),  # nothing is usual
        ([5], 10, 1.0),
        ([], 10, 1.0),
        (np.full(4 * WEEK, 3), 0, 1.0),
    ],
)
def test_chance_is_that_of_all_rows_falling_into_the_weeks_before(rows, silent, chance):
    assert chance_of_silence(rows, silent) == pytest.approx(chance)


def test_hours_between_move_the_hours_that_are_compared():
    assert chance_of_silence(BY_DAY, 8, gap=1) == pytest.approx(0.8**200)
    assert chance_of_silence(BY_DAY, 7, gap=1) == 1.0


def test_batches_are_as_many_arrivals_as_they_are_batches():
    rng = np.random.default_rng(1)
    batches = rng.poisson(0.2, 4 * WEEK)
    single = chance_of_silence(batches, 24)
    for size in (10, 1_000):
        assert chance_of_silence(batches * size, 24) == pytest.approx(single, abs=0.02)


def test_traffic_of_every_hour_that_stops_is_no_chance_at_once_and_few_rows_are_one_soon():
    rng = np.random.default_rng(2)
    days = np.repeat(rng.lognormal(0, 0.3, 28), 24)
    assert chance_of_silence(rng.poisson(1_000 * days), 1) < 1e-4
    few = rng.poisson(3, 4 * WEEK)
    assert chance_of_silence(few, 1) > 0.01
    assert chance_of_silence(few, 8) < 1e-4
