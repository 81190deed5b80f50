"""The gate passes what is shown to be better, what is equal at most as often as stated, and nothing on doubt."""

from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks import gate
from benchmarks.simulations import versions
from keel.config import PromotionConfig
from keel.evaluation.holdout.comparison import Verdict, compare_versions, comparison_level
from keel.stats.metrics.losses import Scored

BINARY = ["brier", "log_loss", "roc_auc", "accuracy"]
REGRESSION = ["mae", "rmse"]
METRICS = [*BINARY, *REGRESSION]


def compare(champion, challenger, metric="brier", *, times=None, columns=None, looks=0, speed=None, **policy):
    return compare_versions(
        champion, challenger, metric=metric, policy=PromotionConfig(**policy),
        times=gate.spread(len(champion)) if times is None else times,
        segments=columns or {}, prior_comparisons=looks, holdout_end=gate.HOLDOUT_END, speed=speed,
    )  # fmt: skip


def pair(metric="brier", n=2_000, seed=1, quality=2.0):
    """A champion, and a challenger that is much better."""
    return versions(n, seed=seed, quality=quality, binary=metric in BINARY)


def spoilt(rows, share, **values):
    """The same rows, the first of them with other values."""
    first = np.arange(len(rows)) < share * len(rows)
    kept = {name: np.where(first, value, getattr(rows, name)) for name, value in values.items()}
    return Scored(**{"label": rows.label, "score": rows.score, "prediction": rows.prediction} | kept)


@pytest.mark.parametrize("metric", METRICS)
def test_a_better_challenger_passes_a_worse_one_fails_and_the_record_is_json(metric):
    found = compare(*pair(metric, n=4_000), metric)
    assert found.verdict is Verdict.PASS
    assert found.lower_bound < found.improvement
    worse = compare(*reversed(pair(metric, n=4_000)), metric)
    assert worse.verdict is Verdict.FAIL
    assert worse.improvement == -found.improvement
    for record in (found.to_dict(), worse.to_dict()):
        assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_an_equal_challenger_passes_at_most_as_often_as_stated(metric):
    repetitions, level = 500, gate.LEVEL
    allowed = level + 3.1 * math.sqrt(level * (1 - level) / repetitions)
    assert gate.promotions(metric, 630, repetitions) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("world", [gate.CLUSTERED, gate.WEATHER], ids=lambda world: world.name)
@pytest.mark.parametrize("metric", ["brier", "roc_auc", "rmse"])
def test_correlated_days_do_not_let_equal_challengers_pass_more_often(metric, world):
    """And the error of independent rows would."""
    repetitions, level = 300, gate.LEVEL
    allowed = level + 3.1 * math.sqrt(level * (1 - level) / repetitions)
    # Neighbours' correlation is estimated from 20 pairs of days: what is left of its error is in docs/statistics.md.
    remainder = 0.015 if world.neighbours else 0.0
    assert gate.promotions(metric, gate.ROWS, repetitions, world=world) <= allowed + remainder
    assert gate.naive_promotions(metric, repetitions, world=world, days=False) > allowed


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["brier", "mae"])
def test_a_challenger_at_a_negative_margin_passes_at_most_as_often_as_stated(metric):
    repetitions, level = 300, gate.LEVEL
    margin = gate.true_difference(metric, gate.CLUSTERED, gate.AT_MARGIN, 1_200)
    assert margin < 0
    passed = gate.promotions(
        metric, gate.ROWS, repetitions, quality=gate.AT_MARGIN, world=gate.CLUSTERED, margin=margin
    )
    assert passed <= level + 3.1 * math.sqrt(level * (1 - level) / repetitions)


@pytest.mark.slow
def test_any_of_ten_equal_challengers_on_one_holdout_passes_at_most_as_often_as_stated():
    trials = 100
    as_judged, each_at_alpha = gate.ever_promoted("mae", gate.CLUSTERED, trials)
    error = math.sqrt(gate.ALPHA * (1 - gate.ALPHA) / trials)
    assert as_judged <= gate.ALPHA + 3.1 * error
    assert each_at_alpha > gate.ALPHA + 3.1 * error


def test_the_lower_bound_must_exceed_the_margin():
    bound = compare(*pair()).lower_bound
    assert compare(*pair(), margin=bound - 1e-9).verdict is Verdict.PASS
    assert compare(*pair(), margin=bound).verdict is Verdict.FAIL


def test_a_negative_margin_requires_the_challenger_to_be_no_worse_than_it():
    equal = versions(2_000, seed=3, quality=1.5)
    assert compare(*equal).verdict is Verdict.FAIL
    assert compare(*equal, margin=-0.05).verdict is Verdict.PASS


# what the rows lack


@pytest.mark.parametrize("n", [0, 1, 199])
@pytest.mark.parametrize("metric", METRICS)
def test_too_few_rows_are_inconclusive(metric, n):
    found = compare(*pair(metric, n=n, quality=9.0), metric)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith("inconclusive: the ")
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.001])
@pytest.mark.parametrize("metric", METRICS)
def test_a_challenger_with_unusable_scores_never_passes(metric, share, bad):
    """Also not by accuracy, whose decision for a score that is no number would be a number."""
    champion, challenger = pair(metric)
    values = {"score": bad} if metric in BINARY else {"prediction": bad}
    found = compare(champion, spoilt(challenger, share, **values), metric)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the challenger gives no usable score" in found.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_a_champion_with_many_unusable_scores_is_inconclusive(metric, bad):
    champion, challenger = pair(metric)
    few, many = (spoilt(champion, share, score=bad, prediction=bad) for share in (0.01, 0.5))
    assert compare(many, challenger, metric).verdict is Verdict.INCONCLUSIVE
    found = compare(few, challenger, metric)
    assert found.verdict is Verdict.PASS
    assert found.to_dict()["n_excluded"] == {"total": 20, "no usable score of the champion": 20}


@pytest.mark.parametrize("metric", METRICS)
def test_missing_or_infinite_labels_are_inconclusive(metric):
    champion, challenger = pair(metric)
    for bad in (np.nan, np.inf):
        both = [spoilt(rows, 1.0, label=bad) for rows in (champion, challenger)]
        assert compare(*both, metric).reason.startswith("inconclusive: the holdout has no labelled rows")
        both = [spoilt(rows, 0.5, label=bad) for rows in (champion, challenger)]
        assert compare(*both, metric).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("metric", ["brier", "log_loss"])
def test_a_score_outside_zero_and_one_is_unusable(metric):
    champion, challenger = pair()
    assert compare(champion, spoilt(challenger, 0.01, score=1.5), metric).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("metric", METRICS)
def test_a_stale_holdout_is_inconclusive(metric):
    champion, challenger = pair(metric)
    old = gate.spread(2_000) - np.timedelta64(8, "D")
    found = compare(champion, challenger, metric, times=old)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "before the holdout's end" in found.reason
    assert compare(champion, challenger, metric, times=old, max_label_age=timedelta(days=9)).verdict is Verdict.PASS


def test_rows_without_a_time_or_after_the_end_do_not_count_as_the_newest():
    old = gate.spread(2_000) - np.timedelta64(8, "D")
    for late in (np.datetime64("NaT"), np.datetime64("2099-01-01")):
        times = np.where(np.arange(2_000) < 20, late, old).astype("datetime64[us]")
        found = compare(*pair(), times=times)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.rows.n == 1_980


@pytest.mark.parametrize("cls", [0.0, 1.0])
def test_one_class_alone_is_inconclusive_by_roc_auc(cls):
    champion, challenger = pair(quality=9.0)
    only = champion.label == cls
    found = compare(champion.take(only), challenger.take(only), "roc_auc")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not defined" in found.reason


@pytest.mark.parametrize("metric", REGRESSION)
def test_losses_that_overflow_are_inconclusive(metric):
    champion, challenger = pair(metric)
    for who in (champion, challenger):
        far = spoilt(who, 0.01, prediction=1.7e308)
        both = (far, challenger) if who is champion else (champion, far)
        assert compare(*both, metric).verdict is not Verdict.PASS


@pytest.mark.parametrize("metric", METRICS)
def test_identical_versions_never_pass(metric):
    champion, _ = pair(metric)
    assert compare(champion, champion, metric).verdict is Verdict.FAIL
    assert compare(champion, champion, metric, margin=-0.1).verdict is Verdict.INCONCLUSIVE


def test_a_difference_of_a_few_rows_is_inconclusive_and_one_of_a_single_day_is_not_shown():
    champion, _ = pair()
    better = spoilt(champion, 0, prediction=0.0)
    wrong = np.random.default_rng(0).permutation(np.flatnonzero(champion.prediction != champion.label))
    better.prediction[wrong[:9]] = champion.label[wrong[:9]]
    found = compare(champion, better, "accuracy")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "depends on 9 of 2,000 rows" in found.reason
    better.prediction[wrong[:30]] = champion.label[wrong[:30]]
    assert compare(champion, better, "accuracy").verdict is Verdict.PASS
    better = spoilt(champion, 0, prediction=0.0)
    better.prediction[:100] = champion.label[:100]
    found = compare(champion, better, "accuracy")
    assert found.verdict is Verdict.FAIL
    assert found.uncertainty.clustered_error > 2 * found.uncertainty.row_error


def test_strongly_correlated_days_are_inconclusive():
    """A difference that drifts through the weeks: neighbouring days are as good as one."""
    n = 2_100
    rng = np.random.default_rng(0)
    label = rng.normal(size=n)
    drift = np.repeat(np.linspace(0.0, 4.0, 21), n // 21)
    champion = Scored(label, np.full(n, np.nan), label + drift)
    challenger = Scored(label, np.full(n, np.nan), label + 0.1 * rng.normal(size=n))
    found = compare(champion, challenger, "mae")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "so correlated" in found.reason


@pytest.mark.parametrize("margin", [math.nan, -math.inf])
def test_a_margin_that_is_not_finite_never_passes(margin):
    policy = PromotionConfig().model_copy(update={"margin": margin})
    found = compare_versions(
        *pair(), metric="brier", policy=policy, times=gate.spread(2_000), segments={}, prior_comparisons=0,
        holdout_end=gate.HOLDOUT_END,
    )  # fmt: skip
    assert found.verdict is Verdict.INCONCLUSIVE


def test_arrays_of_different_rows_raise():
    champion, challenger = pair()
    with pytest.raises(ValueError, match="same labelled rows"):
        compare(champion, challenger.take(np.arange(1_999)))
    with pytest.raises(ValueError, match="same labelled rows"):
        compare(champion, spoilt(challenger, 0.01, label=1 - champion.label))


# looks


def test_the_levels_of_all_comparisons_add_up_to_alpha():
    levels = [comparison_level(0.05, earlier) for earlier in range(100_000)]
    assert sum(levels) == pytest.approx(0.05, rel=1e-4)
    assert sum(levels) < 0.05
    with pytest.raises(ValueError, match="must not be negative"):
        comparison_level(0.05, -1)


def test_a_later_comparison_has_a_lower_level():
    first, later = (compare(*pair(), looks=looks).to_dict() for looks in (0, 9))
    assert later["lower_bound"] < first["lower_bound"]
    assert (later["prior_comparisons"], later["level"]) == (9, comparison_level(0.05, 9))
    assert later["alpha"] == 0.05


# speed


def speeds(champion=(1.0, 2.0, 1.0), challenger=(1.0, 2.0, 1.0)):
    """As plain values and as an object, of which a comparison takes either."""
    names = ("p50_ms", "p95_ms", "size_mb")
    return {
        "champion": dict(zip(names, champion, strict=True)),
        "challenger": SimpleNamespace(**dict(zip(names, challenger, strict=True))),
    }


@pytest.mark.parametrize(
    ("policy", "slow"),
    [
        ({"max_slowdown": 2.0}, (2.01, 2.0, 1.0)),
        ({"max_latency_ms": 5.0}, (1.0, 5.1, 1.0)),
        ({"max_size_mb": 3.0}, (1.0, 2.0, 3.1)),
    ],
)
def test_a_challenger_slower_or_larger_than_allowed_fails_and_an_unmeasured_one_is_inconclusive(policy, slow):
    assert compare(*pair(), speed=speeds(), **policy).verdict is Verdict.PASS
    found = compare(*pair(), speed=speeds(challenger=slow), **policy)
    assert found.verdict is Verdict.FAIL
    assert "allowed" in found.reason
    for bad in (None, math.nan, math.inf, -math.inf, 0.0, -1.0, "fast", True):
        for missing in (speeds(challenger=(bad, bad, bad)), None, {}, {"champion": None, "challenger": None}):
            found = compare(*pair(), speed=missing, **policy)
            assert found.verdict is Verdict.INCONCLUSIVE, (bad, found.reason)
            assert f"promotion.{next(iter(policy))}" in found.reason
            json.dumps(found.to_dict(), allow_nan=False)


def test_a_slowdown_needs_the_champions_latency_too():
    found = compare(*pair(), speed=speeds(champion=(math.nan, 1.0, 1.0)), max_slowdown=2.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert compare(*pair(), speed=speeds()).to_dict()["speed"]["slowdown"] == 1.0  # measured, and not limited


# the record


def test_the_lower_bound_can_be_recomputed_from_the_record():
    record = compare(*pair(), looks=2).to_dict()
    quantile = student.ppf(1 - record["level"], record["clusters"]["effective"] - 1)
    bound = record["improvement"] - quantile * record["standard_error"]
    assert record["lower_bound"] == pytest.approx(bound, rel=1e-9)
    assert record["standard_error"] >= record["row_standard_error"]
    assert record["improvement"] == pytest.approx(record["champion_value"] - record["challenger_value"])


def test_the_record_has_the_data_of_the_comparison():
    record = compare(*pair(), "accuracy").to_dict()
    assert record["clusters"]["unit"] == "day"
    assert record["clusters"]["count"] == 21
    assert set(record["extra_metrics"]) == {"brier", "log_loss", "roc_auc"}
    assert (
        record["extra_metrics"]["roc_auc"]["challenger"]["value"]
        > record["extra_metrics"]["roc_auc"]["champion"]["value"]
    )
    assert record["labels"]["newest"].startswith("2026-01-21T23:44:5")
    assert sum(record["labels"]["balance"].values()) == record["n"] == 2_000
    discordant = record["mcnemar"]["only_challenger_right"] - record["mcnemar"]["only_champion_right"]
    assert discordant / 2_000 == pytest.approx(record["improvement"])
    assert record["policy"]["alpha"] == 0.05
    assert compare(*pair("mae"), "mae").to_dict()["mcnemar"] is None


def test_twenty_thousand_rows_with_segments_take_well_under_a_second():
    champion, challenger = pair(n=20_000)
    carriers = np.random.default_rng(0).choice(list("abcdefghijklmn"), 20_000).astype(object)
    began = time.perf_counter()
    found = compare(champion, challenger, "roc_auc", columns={"carrier": carriers}, segments=("carrier",))
    assert time.perf_counter() - began < 1
    assert len(found.segments.evaluated) == 14
