"""Sums of labelled predictions are exact for any split, and give scikit-learn's metrics of the rows."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from keel.stats.metrics.exact_sums import exact_sums, from_texts, to_text
from keel.stats.metrics.hourly_sums import BINS, Sums, bins_of
from keel.stats.metrics.hourly_table import HourlyTable
from keel.stats.metrics.intervals import NORMAL, holdout_interval, interval_estimate
from keel.stats.metrics.losses import Scored, estimate

BINARY = ("accuracy", "brier", "log_loss", "roc_auc")
REGRESSION = ("mae", "rmse")
HOUR = np.timedelta64(1, "h")
START = np.datetime64("2026-01-01T00:00:00", "s")


def binary_rows(n: int, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, n)
    score = 1 / (1 + np.exp(-logit))
    return Scored((rng.random(n) < score).astype(float), score, (score > 0.4).astype(float))


def regression_rows(n: int, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    label = rng.normal(1e6, 3, n)
    return Scored(label, np.full(n, np.nan), label + rng.normal(0.5, 2, n))


def hours_of(rows: Scored, sizes: list[int], names: tuple[str, ...]) -> tuple[HourlyTable, np.ndarray]:
    ends = np.cumsum(sizes)
    parts = [Sums.measure(rows.take(slice(end - size, end)), names) for end, size in zip(ends, sizes, strict=True)]
    return stored(*parts), START + HOUR * np.arange(len(sizes))


def stored(*parts: Sums) -> HourlyTable:
    return HourlyTable.read([part.to_json() for part in parts])


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, max_size=30))
@settings(derandomize=True)
def test_exact_sums_of_floats_equal_sums_of_fractions(values: list[float]) -> None:
    exact = [Fraction(value) for value in values]
    assert exact_sums(np.array(values, dtype=float)) == (sum(exact), sum(value * value for value in exact))
    total = sum(exact, Fraction(0))
    [number, _], power = from_texts([to_text(total), to_text(Fraction(1, 8))])
    assert Fraction(number, 2**power) == total


odd = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 1e-300, 1e200, 0.1]) | finite
labels = st.sampled_from([0.0, 1.0, 0.0, 1.0, math.nan]) | odd


@given(st.lists(st.tuples(labels, odd, odd), max_size=40), st.lists(st.integers(0, 9), max_size=12), st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_hourly_sums_of_any_split_add_up_to_the_whole(
    rows: list[tuple[float, ...]], cuts: list[int], seed: int
) -> None:
    table = np.array(rows, dtype=float).reshape(-1, 3)
    names = BINARY + REGRESSION
    whole = Sums.measure(Scored(*table.T), names)
    shuffled = random.Random(seed).sample(range(len(table)), len(table))
    edges = sorted({0, len(table), *(cut for cut in cuts if cut < len(table))})
    parts = [
        Sums.measure(Scored(*table[shuffled[a:b]].T), names) for a, b in zip(edges, edges[1:] or edges, strict=False)
    ]
    added = stored(*parts)
    assert sum(added.rows) == whole.n == len(table)
    assert {name: added.moments(name) for name in added.columns} == whole.moments
    cells = np.zeros((2, BINS), np.int64)
    cells[:, whole.histogram.bins] = whole.histogram.positive, whole.histogram.negative
    assert np.array_equal([added.by_bin(added.positive), added.by_bin(added.negative)], cells)


def test_hourly_table_between_two_hours_equals_the_table_of_these_hours() -> None:
    rows = binary_rows(300)
    sizes = [60, 0, 40, 100, 100]
    stretch, times = hours_of(rows, sizes, BINARY)
    part, alone = stretch.between(1, 4), hours_of(rows.take(slice(60, 200)), sizes[1:4], BINARY)[0]
    assert (len(part), part.rows, len(stretch.between(2, 2))) == (3, [0, 40, 100], 0)
    for metric in BINARY:
        assert interval_estimate(metric, part, times[1:4]) == interval_estimate(metric, alone, times[1:4])


@pytest.mark.parametrize("sizes", [[500], [1] * 500, [0, 499, 1], [7, 93, 400]])
def test_interval_estimate_value_agrees_with_scikit_learn_on_the_rows(sizes: list[int]) -> None:
    rows = binary_rows(500)
    parts, times = hours_of(rows, sizes, BINARY)
    expected = {
        "accuracy": metrics.accuracy_score(rows.label, rows.prediction),
        "brier": metrics.brier_score_loss(rows.label, rows.score),
        "log_loss": metrics.log_loss(rows.label, rows.score),
    }
    for metric, value in expected.items():
        assert interval_estimate(metric, parts, times).value == pytest.approx(value, rel=1e-12)
    auc = interval_estimate("roc_auc", parts, times)
    assert abs(auc.value - metrics.roc_auc_score(rows.label, rows.score)) <= auc.bin_error < 0.002
    assert auc.value == interval_estimate("roc_auc", *hours_of(rows, [500], BINARY)).value


def test_interval_estimate_value_of_a_regression_agrees_with_scikit_learn() -> None:
    rows = regression_rows(500)
    parts, times = hours_of(rows, [100] * 5, REGRESSION)
    expected = metrics.mean_absolute_error(rows.label, rows.prediction)
    assert interval_estimate("mae", parts, times).value == pytest.approx(expected, rel=1e-12)
    expected = metrics.root_mean_squared_error(rows.label, rows.prediction)
    assert interval_estimate("rmse", parts, times).value == pytest.approx(expected, rel=1e-12)
    assert not len(parts.bins)


@pytest.mark.parametrize("spread", [1e-6, 0.01, 1.0])
def test_auc_differs_by_at_most_the_bin_error_at_any_spread_of_scores(spread: float) -> None:
    rng = np.random.default_rng(3)
    score = np.clip(rng.beta(0.5, 3, 4000) * spread, 0, 1)
    label = (rng.random(4000) < 0.05 + 0.9 * score / spread).astype(float)
    rows = Scored(label, score, score)
    found = interval_estimate("roc_auc", *hours_of(rows, [400] * 10, ("roc_auc",)))
    assert abs(found.value - metrics.roc_auc_score(label, score)) <= found.bin_error < 0.003


def test_auc_of_scores_in_one_bin_has_the_largest_bin_error() -> None:
    rows = Scored(np.array([0.0, 1.0] * 50), np.array([7.0, 9.0] * 50), np.zeros(100))
    found = interval_estimate("roc_auc", *hours_of(rows, [10] * 10, ("roc_auc",)))
    assert (found.value, found.bin_error) == (0.5, 0.5)
    assert metrics.roc_auc_score(rows.label, rows.score) == 1.0


def test_bins_of_scores_ascend_with_the_stated_width() -> None:
    score = np.sort(np.concatenate([np.linspace(0, 1, 100_001), np.logspace(-30, -1, 1000), [-1.0, 2.0]]))
    bins = bins_of(score)
    assert (np.diff(bins) >= 0).all()
    assert (bins.min(), bins.max()) == (0, BINS - 1)
    widest = max(np.ptp(score[bins == b]) for b in np.unique(bins)[1:-1])
    assert widest <= 1 / 256


@pytest.mark.parametrize("metric", BINARY + REGRESSION)
def test_interval_estimate_below_five_hours_has_the_error_of_independent_rows(metric: str) -> None:
    rows = regression_rows(400) if metric in REGRESSION else binary_rows(400)
    found = interval_estimate(metric, *hours_of(rows, [100] * 4, (metric,)))
    assert (found.unit, found.clusters, found.n) == ("row", 400, 400)
    assert found.standard_error == pytest.approx(estimate(metric, rows).standard_error, rel=1e-3)
    assert found.upper - found.lower == pytest.approx(2 * (1.966 * found.standard_error + found.bin_error), rel=1e-3)


def test_interval_estimate_bounds_stay_within_the_range_of_the_metric() -> None:
    right, n = np.array([1.0] * 5 + [0.0] * 5), 100
    rows = Scored(np.ones(10 * n), np.repeat(right, n), np.repeat(right, n))
    for metric in ("brier", "accuracy"):
        found = interval_estimate(metric, *hours_of(rows, [n] * 10, (metric,)))
        assert (found.lower, found.value, found.upper) == (0.0, 0.5, 1.0), metric
    beyond = Scored(np.ones(100), np.linspace(2.5, 3.5, 100), np.ones(100))
    found = interval_estimate("brier", *hours_of(beyond, [10] * 10, ("brier",)))
    assert found.upper > found.value > 1, "scores that are no probabilities"


def test_interval_estimate_is_wider_where_hours_differ() -> None:
    rng = np.random.default_rng(0)
    hourly = rng.random(24)
    label = (rng.random((24, 100)) < hourly[:, None]).astype(float).ravel()
    rows = Scored(label, np.full(2400, 0.5), np.zeros(2400))
    found = interval_estimate("accuracy", *hours_of(rows, [100] * 24, ("accuracy",)))
    assert (found.unit, found.clusters) == ("hour", 24)
    means = label.reshape(24, 100).mean(axis=1)
    assert found.standard_error >= means.std(ddof=1) / math.sqrt(24) * (1 - 1e-9)
    assert found.standard_error > 4 * estimate("accuracy", rows).standard_error


@pytest.mark.parametrize(("hours", "unit"), [(4, "row"), (5, "hour"), (54, "hour"), (55, "6 h"), (240, "day")])
def test_interval_estimate_uses_the_longest_unit_with_enough_clusters(hours: int, unit: str) -> None:
    found = interval_estimate("brier", *hours_of(binary_rows(10 * hours), [10] * hours, ("brier",)))
    assert found.unit == unit


@pytest.mark.parametrize("metric", BINARY + REGRESSION)
def test_interval_estimate_without_a_value_is_none(metric: str) -> None:
    nothing = interval_estimate(metric, stored(), np.array([], "datetime64[s]"))
    assert nothing.to_dict() == {
        "value": None, "lower": None, "upper": None, "standard_error": None, "n": 0,
        "clusters": {"unit": "row", "count": 0}, "bin_error": 0.0,
    }  # fmt: skip
    one = Sums.measure(Scored(np.ones(1), np.array([0.5]), np.ones(1)), (metric,))
    found = interval_estimate(
        metric, stored(one, Sums.measure(Scored(*np.zeros((3, 0))), ())), START + HOUR * np.arange(2)
    ).to_dict()
    assert (found["lower"], found["upper"], found["n"]) == (None, None, 1)
    assert (found["value"] is None) == (metric == "roc_auc")


def test_interval_estimate_of_constant_losses_has_a_value_and_no_bounds() -> None:
    rows = Scored(np.ones(100), np.full(100, 0.1), np.ones(100))
    for metric, value in (("accuracy", 1.0), ("brier", 0.81)):
        found = interval_estimate(metric, *hours_of(rows, [10] * 10, BINARY))
        assert (found.value, found.standard_error) == (pytest.approx(value), 0.0)
        assert math.isnan(found.lower)


def test_sums_of_a_row_without_a_score_skip_only_the_metrics_that_need_it() -> None:
    nan = math.nan
    rows = Scored(np.array([1.0, 0.0, nan, 1.0]), np.array([0.9, nan, 0.5, math.inf]), np.array([1.0, 0.0, 1.0, nan]))
    sums = Sums.measure(rows, BINARY)
    assert sums.n == 4
    assert {name: m.n for name, m in sums.moments.items()} == {
        "label": 3, "score": 2, "prediction": 3, "brier": 1, "log_loss": 1, "accuracy": 2,
    }  # fmt: skip
    histogram = sums.histogram
    assert [column.tolist() for column in (histogram.bins, histogram.positive, histogram.negative)] == [
        bins_of(np.array([0.9])).tolist(), [1], [0],
    ]  # fmt: skip


def test_hourly_table_of_a_later_format_is_rejected() -> None:
    with pytest.raises(ValueError, match="format 2.*reads 1; upgrade"):
        HourlyTable.read(['{"format": 2}'])


def test_holdout_interval_follows_from_the_registered_error() -> None:
    kept = {
        "brier": {"value": 0.2, "standard_error": 0.01, "n": 50},
        "roc_auc": {"value": math.nan, "standard_error": math.nan, "n": 3},
    }
    found = holdout_interval(kept, "brier")
    assert found is not None
    assert (found["lower"], found["upper"]) == (pytest.approx(0.2 - 0.01 * NORMAL), pytest.approx(0.2 + 0.01 * NORMAL))
    assert holdout_interval(kept, "mae") is None
    undefined = holdout_interval(kept, "roc_auc")
    assert undefined is not None
    assert (undefined["value"], undefined["lower"]) == (None, None)
