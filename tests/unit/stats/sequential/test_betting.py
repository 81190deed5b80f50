"""Tests by betting keep their level at any number of evaluations, and reject invalid input."""

import math

import numpy as np
import pytest
from scipy.stats import beta

from keel.stats.sequential.betting import clopper_pearson_upper, combine, empirical_bernstein_upper, log_e_value

ALPHA = 0.05
EVERY_FOURTH = ((np.arange(1_000) * 7_919) % 100 < 25).astype(float)


def binomial_bound(level, repetitions):
    """Return the bound that a share of ``level`` stays below with probability 0.999."""
    return level + 3.1 * math.sqrt(level * (1 - level) / repetitions)


@pytest.mark.parametrize(
    ("values", "null", "expected"),
    [
        (EVERY_FOURTH, 0.16, [1.561861, 3.839937, 6.262614, 8.757694, 11.292843]),
        (EVERY_FOURTH, 0.3, [-1.745305, -2.448606, -3.028317, -3.550087, -4.037425]),
        (np.sin(np.arange(500)) ** 2, 0.45, [0.351377, 0.97241, 1.659542, 2.466777, 3.416251]),
    ],
)
def test_log_e_value_agrees_with_an_implementation_by_batches(values, null, expected):
    path = log_e_value(values, null=null).path
    assert path[99:500:100] == pytest.approx(expected, abs=1e-6)


def test_log_e_value_in_portions_equals_that_of_the_whole_stream():
    whole = log_e_value(EVERY_FOURTH, null=0.2)
    state, pieces = None, []
    for portion in np.split(EVERY_FOURTH, [0, 1, 2, 500, 500, 999]):
        found = log_e_value(portion, null=0.2, start=state)
        state, _ = found.bets.tolist(), pieces.append(found.path)
    assert np.concatenate(pieces) == pytest.approx(whole.path, abs=1e-9)
    assert state == pytest.approx(whole.bets.tolist(), abs=1e-9)


def test_many_streams_at_once_equal_the_streams_one_by_one():
    streams = np.random.default_rng(0).random((3, 4, 50))
    together = log_e_value(streams, null=0.4, start=np.zeros((3, 4, 16)))
    assert together.path[2, 1] == pytest.approx(log_e_value(streams[2, 1], null=0.4).path)
    assert together.bets.shape == (3, 4, 16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.01, 1.01])
def test_log_e_value_rejects_values_outside_the_bounds(bad):
    with pytest.raises(ValueError, match="from 0"):
        log_e_value([0.5, bad, 0.5], null=0.3)


@pytest.mark.parametrize("null", [0.0, -0.1, np.nan])
def test_log_e_value_rejects_a_null_at_the_lowest_value(null):
    with pytest.raises(ValueError, match="must be above"):
        log_e_value([0.5], null=null)


def test_log_e_value_of_a_long_stream_is_finite():
    for value in (0.0, 1.0):
        found = log_e_value(np.full(100_000, value), null=1e-3)
        assert np.isfinite(found.path).all()
        assert np.isfinite(found.bets).all()


def test_log_e_value_of_values_at_the_null_is_zero():
    assert log_e_value(np.full(50, 0.3), null=0.3).path == pytest.approx(np.zeros(50), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "null", "low"),
    [
        (lambda rng, shape: (rng.random(shape) < 0.15).astype(float), 0.15, 0.0),
        (lambda rng, shape: (rng.random(shape) < 0.002).astype(float), 0.002, 0.0),
        (lambda rng, shape: rng.beta(0.2, 0.8, shape), 0.2, 0.0),
        (lambda rng, shape: np.clip(rng.standard_t(2, shape), -1, 1), 0.0, -1.0),
        # rare gains pay for common losses: the mean is 0, the median is not
        (lambda rng, shape: np.where(rng.random(shape) < 0.9, 0.1, -0.9), 0.0, -1.0),
    ],
    ids=["errors", "rare errors", "skewed", "differences", "lopsided"],
)
def test_log_e_value_at_the_null_keeps_its_level_at_any_time(draw, null, low):
    repetitions = 2_000
    path = log_e_value(draw(np.random.default_rng(1), (repetitions, 1_000)), null=null, low=low).path
    crossed = (path >= -math.log(ALPHA)).any(axis=1).mean()
    assert crossed <= binomial_bound(ALPHA, repetitions)
    assert crossed > 0


def test_log_e_value_finds_a_mean_above_the_null():
    errors = np.random.default_rng(2).random((200, 3_000)) < 0.25
    path = log_e_value(errors.astype(float), null=0.15).path
    crossed = path >= math.log(100)
    assert crossed.any(axis=1).all()
    assert np.median(crossed.argmax(axis=1)) < 300


@pytest.mark.slow
def test_combine_of_two_tests_keeps_one_level():
    rng, repetitions = np.random.default_rng(3), 1_000
    both = []
    for _ in range(repetitions):
        x = (rng.random(300) < 0.2).astype(float)
        single, blocks = log_e_value(x, null=0.2).path, log_e_value(x.reshape(-1, 3).mean(axis=1), null=0.2).path
        both.append(combine([(np.arange(1, 301), single), (np.arange(3, 301, 3), blocks)])[1].max())
    assert np.mean(np.array(both) >= -math.log(ALPHA)) <= binomial_bound(ALPHA, repetitions)


def test_combine_of_one_test_is_that_test_and_without_bets_is_one():
    path = log_e_value(EVERY_FOURTH, null=0.2).path
    ends, combined = combine([(np.arange(1, 1_001), path)])
    assert combined == pytest.approx(path)
    nothing = (np.empty(0, dtype=np.int64), np.empty(0))
    _, diluted = combine([(ends, path), nothing])
    assert np.exp(diluted) == pytest.approx((np.exp(path) + 1) / 2)
    assert combine([nothing])[1].tolist() == []


@pytest.mark.parametrize(("events", "n"), [(0, 10), (750, 5_000), (9, 10)])
def test_clopper_pearson_upper_agrees_with_scipy(events, n):
    assert clopper_pearson_upper(events, n, delta=0.01) == pytest.approx(beta.ppf(0.99, events + 1, n - events))


def test_upper_bounds_are_at_most_one():
    assert clopper_pearson_upper(10, 10, delta=0.01) == 1
    assert clopper_pearson_upper(0, 0, delta=0.01) == 1
    assert empirical_bernstein_upper(0.5, 0.5, 1, delta=0.01) == 1
    assert empirical_bernstein_upper(0.9, 0.3, 10, delta=0.01) == 1


@pytest.mark.parametrize(("a", "b", "n"), [(0.2, 0.8, 100), (2, 5, 500), (0.02, 0.98, 1_000)])
def test_empirical_bernstein_upper_covers_the_mean(a, b, n):
    draws = np.random.default_rng(4).beta(a, b, (5_000, n))
    bounds = [empirical_bernstein_upper(x.mean(), x.std(ddof=1), n, delta=0.05) for x in draws]
    assert np.mean(np.array(bounds) < a / (a + b)) <= 0.05
    assert np.mean(bounds) < a / (a + b) + 3 * beta.std(a, b) / math.sqrt(n) + 10 / n
