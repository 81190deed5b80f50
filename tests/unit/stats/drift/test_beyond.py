"""The test of values beyond a range holds its level, and finds what the cells hide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keel.stats.drift.beyond import NORMAL_IQR, Beyond, measure_beyond

NOTHING = Beyond(500, 0, 0.0, 0.0, 0.0)


def beyond(values: np.ndarray) -> Beyond:
    """Return the values above 0 of a sample."""
    above = values[values > 0]
    rows = len(above)
    least = float(above.min()) if rows == len(values) else 0.0
    return Beyond(len(values), rows, float(above.sum()), least, float(above.max(initial=0.0)))


@pytest.mark.parametrize("mean", [-1.0, 0.0, 2.0, 10.0])
def test_the_variance_is_never_below_that_of_the_sample(mean: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.normal(mean, 1, 200)
        assert beyond(values).variance >= np.var(np.maximum(values, 0.0)) * (1 - 1e-9)


@pytest.mark.parametrize("mean", [-2.0, 0.0, 3.0])
def test_the_same_level_is_found_as_seldom_as_the_level_says(mean: float) -> None:
    rng = np.random.default_rng(2)
    draw = [measure_beyond([NOTHING, _normal(rng, mean)], [NOTHING, _normal(rng, mean)]) for _ in range(400)]
    wrong = sum((each["p_value"] or 0.0) <= 0.05 for each in draw)
    assert wrong / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def _normal(rng: np.random.Generator, mean: float) -> Beyond:
    return beyond(rng.normal(mean, 1, 500))


def test_a_further_move_is_measured_in_the_size_of_a_psi() -> None:
    rng = np.random.default_rng(3)
    sd = 1 / NORMAL_IQR  # in units of the interquartile range
    then, now = beyond(rng.normal(10, sd, 2000)), beyond(rng.normal(10 + sd, sd, 2000))
    found = measure_beyond([Beyond(2000, 0, 0.0, 0.0, 0.0), then], [Beyond(2000, 0, 0.0, 0.0, 0.0), now])
    assert found["psi"] == pytest.approx(1.0, rel=0.1)
    assert (found["p_value"] or 0.0) < 1e-10


def test_values_that_do_not_vary_are_equal_or_moved() -> None:
    same = Beyond(500, 500, 1000.0, 2.0, 2.0)
    assert measure_beyond([NOTHING, same], [NOTHING, same])["p_value"] == 1.0
    assert measure_beyond([NOTHING, same], [NOTHING, Beyond(500, 500, 1500.0, 3.0, 3.0)])["p_value"] == 0.0


def test_one_huge_value_raises_no_alarm() -> None:
    usual = Beyond(500, 250, 250.0, 0.0, 4.0)
    with_outlier = Beyond(500, 251, 250.0 + 1e6, 0.0, 1e6)
    assert (measure_beyond([NOTHING, usual], [NOTHING, with_outlier])["p_value"] or 0.0) > 0.05
