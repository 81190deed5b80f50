"""Standard errors agree with the textbook's row by row, and with the truth where rows depend on each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import gate
from keel.stats.metrics.losses import Scored, auc_placements, estimate, row_loss
from keel.stats.metrics.paired import (
    MAX_CORRELATION,
    MIN_CLUSTERS,
    MIN_HOURS,
    Clusters,
    improvement,
    influence,
    mcnemar,
    uncertainty,
)


def versions(metric, n=600, seed=0, world=gate.INDEPENDENT, quality=1.5):
    return gate.versions_in(world, (1.5, quality), seed=seed, n=n, binary=metric in gate.BINARY)


def better(metric, champion, challenger):
    return improvement(metric, influence(metric, champion), influence(metric, challenger))


def row_error(found):
    return math.sqrt(float((found.contributions**2).sum()))


def spread_hours(*hours):
    return np.datetime64("2026-01-01", "us") + np.array(hours, dtype="timedelta64[h]")


@pytest.mark.parametrize("metric", gate.METRICS)
def test_influence_of_one_version_has_the_textbook_error(metric):
    champion, _ = versions(metric)
    found, textbook = influence(metric, champion), estimate(metric, champion)
    assert found.value == pytest.approx(textbook.value)
    assert row_error(found) == pytest.approx(textbook.standard_error)
    assert float(found.contributions.sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", ["brier", "log_loss", "mae", "accuracy"])
def test_improvement_of_means_has_the_error_of_paired_differences(metric):
    champion, challenger = versions(metric)
    paired = row_loss(metric, champion) - row_loss(metric, challenger)
    found = better(metric, champion, challenger)
    assert found.value == pytest.approx(paired.mean())
    assert row_error(found) == pytest.approx(paired.std(ddof=1) / math.sqrt(len(paired)))


def test_improvement_of_accuracies_has_mcnemars_variance():
    champion, challenger = versions("accuracy")
    counts, n = mcnemar(champion, challenger), len(champion)
    lost, won = counts["only_champion_right"], counts["only_challenger_right"]
    variance = (lost + won - (won - lost) ** 2 / n) / n**2
    found = better("accuracy", champion, challenger)
    assert found.value == pytest.approx((won - lost) / n)
    assert row_error(found) == pytest.approx(math.sqrt(variance * n / (n - 1)))


def test_improvement_of_aucs_has_delongs_variance():
    champion, challenger = versions("roc_auc")
    placed = [auc_placements(rows.label, rows.score) for rows in (champion, challenger)]
    m, n = map(len, placed[0])
    variance = np.cov([p for p, _ in placed]) / m + np.cov([q for _, q in placed]) / n
    found = better("roc_auc", champion, challenger)
    assert row_error(found) ** 2 == pytest.approx(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1])


def test_mcnemar_p_value_is_exact_and_one_without_a_difference():
    ones = np.ones(10)
    champion = Scored(ones, ones, np.r_[np.zeros(8), np.ones(2)])
    assert mcnemar(champion, Scored(ones, ones, ones))["p_value"] == pytest.approx(2 / 2**8)
    assert mcnemar(champion, champion) == {"only_champion_right": 0, "only_challenger_right": 0, "p_value": 1.0}


@pytest.mark.parametrize("metric", gate.METRICS)
@pytest.mark.parametrize("world", [gate.INDEPENDENT, gate.CLUSTERED], ids=lambda world: world.name)
def test_uncertainty_equals_the_spread_over_many_holdouts(metric, world):
    """The spread of the improvement over 300 holdouts is known to about 4%; of errors, the mean square is unbiased."""
    found, errors = [], []
    for seed in range(300):
        one = better(metric, *versions(metric, n=630, seed=seed, world=world))
        clusters = Clusters.of(gate.spread(630))
        errors.append(uncertainty(one.contributions, clusters, neighbours=0.0).clustered_error)
        found.append(one.value)
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.15)


@pytest.mark.parametrize("metric", ["brier", "rmse"])
def test_uncertainty_exceeds_the_error_of_independent_rows_on_days_with_shared_weather(metric):
    sure = [
        uncertainty(better(metric, *versions(metric, 2_100, seed, gate.CLUSTERED)).contributions,
                    Clusters.of(gate.spread(2_100)))
        for seed in range(20)
    ]  # fmt: skip
    assert np.median([one.clustered_error / one.row_error for one in sure]) > 1.5
    assert all(one.standard_error == max(one.row_error, one.clustered_error) for one in sure)


def test_uncertainty_of_clusters_of_one_row_is_the_row_error():
    rng = np.random.default_rng(0)
    contributions = rng.normal(size=50)
    alone = uncertainty(contributions, Clusters.rows(50))
    assert alone.row_error == alone.clustered_error == pytest.approx(np.linalg.norm(contributions))
    assert alone.effective_clusters == 50


def test_uncertainty_with_correlated_neighbours_has_a_larger_error_and_fewer_effective_clusters():
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(40), 10)
    day = np.cumsum(rng.normal(size=40))
    contributions = day[number] - day[number].mean()
    sure = uncertainty(contributions, Clusters("day", number, 40))
    plain = uncertainty(contributions, Clusters("day", number, 40), neighbours=0.0)
    assert 0.5 < sure.neighbours <= MAX_CORRELATION
    inflation = (1 + sure.neighbours) / (1 - sure.neighbours)
    assert sure.clustered_error == pytest.approx(plain.clustered_error * math.sqrt(inflation))
    assert sure.effective_clusters == pytest.approx(40 / inflation)
    assert sure.half_width(0.05) > plain.half_width(0.05)


def test_uncertainty_with_alternating_neighbours_is_not_smaller():
    number = np.arange(40)
    taking_turns = uncertainty((-1.0) ** number, Clusters("day", number, 40))
    assert taking_turns.neighbours == 0


def test_uncertainty_ignores_the_correlation_across_a_gap():
    rng = np.random.default_rng(0)
    day = np.repeat(rng.normal(size=20), 2)  # pairs of days that are the same
    near, far = np.arange(40), np.arange(40) * 2
    assert uncertainty(day - day.mean(), Clusters("day", near, 40)).neighbours > 0.3
    assert uncertainty(day - day.mean(), Clusters("day", far, 40)).neighbours == 0


@pytest.mark.parametrize(
    ("hours", "unit", "count"),
    [
        (np.arange(0, 24 * MIN_CLUSTERS, 12), "day", MIN_CLUSTERS),
        (np.arange(0, 24 * (MIN_CLUSTERS - 1), 2), "6 h", 4 * (MIN_CLUSTERS - 1)),
        (np.arange(0, 24, 2), "hour", 12),
        (np.arange(0, 24 * 7, 24), "hour", 7),
        (np.arange(MIN_HOURS), "hour", MIN_HOURS),
        ([*range(MIN_HOURS - 1)] * 3, "row", 3 * (MIN_HOURS - 1)),
        ([0], "row", 1),
        ([], "row", 0),
    ],
)
def test_clusters_are_days_where_there_are_enough(hours, unit, count):
    found = Clusters.of(spread_hours(*hours))
    assert (found.unit, found.count, len(found.number)) == (unit, count, len(hours))


def test_clusters_of_some_rows_stay_or_become_rows_where_too_few():
    clusters = Clusters.of(spread_hours(*np.repeat(np.arange(0, 24 * 20, 24), 5)))
    some = clusters.take(np.arange(40, 100))
    assert (some.unit, some.count) == ("day", 12)
    few = clusters.take(np.arange(5 * (MIN_HOURS - 1)))
    assert (few.unit, few.count) == ("row", 5 * (MIN_HOURS - 1))


@pytest.mark.parametrize("metric", gate.METRICS)
@pytest.mark.parametrize("n", [0, 1])
def test_influence_of_fewer_than_two_rows_has_no_error(metric, n):
    found = better(metric, *versions(metric, n=n))
    assert math.isnan(found.value)
    assert not uncertainty(found.contributions, Clusters.rows(n)).standard_error > 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=12, max_size=40),
    st.sampled_from(["brier", "log_loss", "roc_auc", "accuracy"]),
)
def test_improvement_of_swapped_versions_has_the_opposite_sign_and_the_same_error(rows, metric):
    label, first, second = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    a, b = (Scored(label, score, (score > 0.5).astype(float)) for score in (first, second))
    there, back = better(metric, a, b), better(metric, b, a)
    assert there.value == -back.value or (math.isnan(there.value) and math.isnan(back.value))
    clusters = Clusters("day", np.arange(len(rows)) // 2, (len(rows) + 1) // 2)
    errors = [uncertainty(one.contributions, clusters).standard_error for one in (there, back)]
    assert errors[0] == pytest.approx(errors[1], nan_ok=True)


@pytest.mark.parametrize(
    ("neighbours", "stated", "separate"), [(0.0, 0.042, 0.05), (0.3, 0.067, 0.11), (0.45, 0.079, 0.15)]
)
def test_level_on_days_with_correlated_neighbours_is_as_documented(neighbours, stated, separate):
    trials, days = 4_000, 21
    rng = np.random.default_rng(7)
    world = gate.World("", day=1.0, neighbours=neighbours)
    clusters = Clusters("day", np.arange(days), days)
    shown = {"as used": 0, "separate": 0}
    for _ in range(trials):
        effects = gate.day_effects(rng, world)
        contributions = (effects - effects.mean()) / days
        used = uncertainty(contributions, clusters).half_width(0.05)
        shown["as used"] += effects.mean() > used
        shown["separate"] += effects.mean() > uncertainty(contributions, clusters, neighbours=0.0).half_width(0.05)
    for name, share in (("as used", stated), ("separate", separate)):
        assert shown[name] / trials == pytest.approx(share, abs=3.1 * math.sqrt(share * (1 - share) / trials) + 0.003)
