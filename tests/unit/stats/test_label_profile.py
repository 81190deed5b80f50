"""The baseline of labels: what it measures, and how often labels like it are called different."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keel.stats.label_profile import LabelBaseline, log_deviations

START = np.datetime64("2026-01-01", "us")


def days_of(labels):
    """Return times of labels, shape (days, per day), spread over their days, and the labels, both flat."""
    days, each = labels.shape
    at = np.arange(days)[:, None] * 86_400 + np.arange(each) * 86_400 // each
    return (START + at.astype("timedelta64[s]")).ravel(), labels.ravel()


def binary_days(rng, days, each, sd, mean=-1.0):
    """Draw binary labels whose log-odds differ from day to day by a standard deviation."""
    p = 1 / (1 + np.exp(-(mean + sd * rng.normal(size=(days, 1)))))
    return (rng.random((days, each)) < p).astype(float)


def test_baseline_measures_how_days_differ():
    rng = np.random.default_rng(0)
    alike = LabelBaseline.measure(*days_of(binary_days(rng, 100, 400, 0.0)))
    apart = LabelBaseline.measure(*days_of(binary_days(rng, 100, 400, 0.7)))
    assert alike.day_deviation < 0.01 < 0.1 < apart.day_deviation < 0.2
    assert apart.log_odds_deviation == pytest.approx(0.7, abs=0.12)
    assert apart.error > 3 * apart.deviation / math.sqrt(apart.n)
    assert alike.mode_share == pytest.approx(1 - alike.mean)
    assert LabelBaseline.from_dict(alike.to_dict()) == alike


@pytest.mark.parametrize("labels", [np.zeros(19), np.full(100, np.nan), np.array([])])
def test_baseline_of_too_few_labels_is_none(labels):
    assert LabelBaseline.measure(START + np.arange(len(labels)).astype("timedelta64[h]"), labels) is None


def test_baseline_of_one_day_and_of_one_value_is_defined():
    one_day = LabelBaseline.measure(*days_of(np.tile([[0.0, 1.0]], 50)))
    assert one_day.p_of_mean(np.array([100.0]), 0.5) == 1.0
    constant = LabelBaseline.measure(*days_of(np.full((5, 40), 3.0)))
    assert constant.chance_of_one_value(1_000) == 1.0
    assert constant.p_of_mean(np.array([100.0]), 3.0) == 1.0
    assert constant.p_of_mean(np.array([100.0]), 3.1) == 0.0
    back = LabelBaseline.from_dict(constant.to_dict())
    assert math.isnan(back.spread)
    assert back.p_of_spread(np.array([1.0])) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.0, 0.7])
@pytest.mark.parametrize("days", [1, 7])
def test_means_of_days_like_the_baseline_are_called_different_at_most_as_often_as_stated(sd, days):
    rng, level, trials = np.random.default_rng(1), 0.01, 400
    found = 0
    for _ in range(trials):
        base = LabelBaseline.measure(*days_of(binary_days(rng, 40, 200, sd)))
        found += base.p_of_mean(np.full(days, 200.0), binary_days(rng, days, 200, sd).mean()) <= level
    assert found <= level * trials + 3 * math.sqrt(level * (1 - level) * trials)


def test_one_value_is_improbable_unless_the_reference_had_little_else():
    rng = np.random.default_rng(2)
    half = LabelBaseline.measure(*days_of(binary_days(rng, 40, 400, 0.0, mean=0.0)))
    assert half.chance_of_one_value(20) == pytest.approx(0.5**20, rel=1)
    rare = LabelBaseline.measure(*days_of(binary_days(rng, 40, 400, 0.3, mean=-4.5)))
    assert rare.chance_of_one_value(100) > 0.1
    apart = LabelBaseline.measure(*days_of(binary_days(rng, 100, 400, 0.7)))
    assert half.chance_of_one_value(200) < 1e-30 < apart.chance_of_one_value(200) < 1e-3
    amounts = LabelBaseline.measure(*days_of(rng.normal(size=(20, 50))))
    assert amounts.chance_of_one_value(20) < 1e-9
    zeros = LabelBaseline.measure(*days_of(np.where(rng.random((20, 50)) < 0.95, 0.0, rng.normal(size=(20, 50)))))
    assert zeros.chance_of_one_value(20) == pytest.approx(0.95**20, rel=0.3)


def test_longest_run_is_that_of_hours_with_one_value():
    labels = np.tile([0.0, 1.0], (3, 24 * 10))  # twenty labels an hour
    assert LabelBaseline.measure(*days_of(labels)).longest_run == 0
    labels[1, 40:100] = 1.0
    times, flat = days_of(labels)
    assert LabelBaseline.measure(times[::-1], flat[::-1]).longest_run == 60


def test_log_deviations_are_those_of_the_blocks():
    rng = np.random.default_rng(3)
    blocks = [rng.normal(5, sd, 50) - 4 for sd in (1, 3)]
    sums = (np.array([each.sum() for each in blocks]), np.array([(each**2).sum() for each in blocks]))
    expected = [math.log(each.std(ddof=1)) for each in blocks]
    assert log_deviations(np.array([50.0, 50.0]), *sums) == pytest.approx(expected)
    assert len(log_deviations(np.array([19.0, 30.0]), np.zeros(2), np.zeros(2))) == 0
