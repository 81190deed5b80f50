"""A version on probation is taken back when it is shown to be worse, told of when it breaks its promise."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulations import versions
from keel.config import PromotionConfig
from keel.evaluation.probation.sequential_tests import fewest_blocks
from keel.evaluation.probation.verdict import ProbationVerdict, evaluate_probation
from keel.stats.metrics.losses import Estimate, Scored, auc_estimate, estimate
from keel.stats.sequential.blocks import block_ends, block_means, lost_pairs
from keel.stats.sequential.bounded_losses import baseline_loss, bounded_loss

WEEK = 6_000
POLICY = PromotionConfig()
METRICS = ["brier", "log_loss", "roc_auc", "accuracy", "mae", "rmse"]


def times(n, seconds=100):
    return np.datetime64("2026-01-01T00:00:00", "us") + np.arange(n) * np.timedelta64(seconds, "s")


def pair(metric="brier", n=WEEK, *, quality=1.5, seed=0):
    """Return (new, previous); the previous is of quality 1.5."""
    previous, new = versions(n, seed=seed, quality=quality, binary=metric not in {"mae", "rmse"})
    return new, previous


def promise(metric, quality=1.5):
    rows, _ = pair(metric, 5_000, quality=quality, seed=99)
    names = {metric, "brier"} if metric in {"log_loss", "roc_auc"} else {metric}
    return {"metrics": {name: estimate(name, rows).to_dict() for name in names}}


def watch(current, previous, metric="brier", **changes):
    settings = {
        "times": times(len(current)), "metric": metric, "reference": promise(metric), "policy": POLICY,
        "max_degradation": 0.01, "over": True, **changes,
    }  # fmt: skip
    report = evaluate_probation(current, previous, **settings)
    json.loads(json.dumps(report.to_dict(), allow_nan=False))
    return report


@pytest.mark.parametrize("metric", METRICS)
def test_an_uninformed_version_shows_harm_and_an_equal_one_passes(metric):
    bad = watch(*pair(metric, quality=0.0), metric)
    assert bad.verdict is ProbationVerdict.HARM
    assert bad.harm.evidence >= bad.harm.threshold == 100
    assert 0 < bad.harm.crossed_at < WEEK
    assert f"after {bad.harm.crossed_at:,} of them" in bad.sentence
    assert bad.current_loss > bad.previous_loss
    equal = watch(*pair(metric), metric)
    assert equal.verdict is ProbationVerdict.PASSED, equal.sentence
    assert equal.harm.crossed_at is None
    assert equal.missing == ()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["brier", "accuracy", "mae"])
def test_equal_versions_show_harm_at_most_as_often_as_stated(metric):
    repetitions = 200
    harmed = sum(
        watch(*pair(metric, 3_000, seed=seed), metric).verdict is ProbationVerdict.HARM for seed in range(repetitions)
    )
    assert harmed / repetitions <= 0.01 + 3.1 * np.sqrt(0.01 * 0.99 / repetitions)


@pytest.mark.slow
def test_versions_whose_days_differ_at_random_show_harm_at_most_as_often_as_stated():
    repetitions, harmed = 200, 0
    for seed in range(repetitions):
        new, previous = pair(seed=seed)
        rng = np.random.default_rng(seed)
        day = np.arange(WEEK) // (WEEK // 7)
        off = [rng.normal(0, 0.05, 8)[day] for _ in range(2)]  # either version is off for whole days, equally often
        new, previous = (
            replace(rows, score=np.clip(rows.score + by, 0, 1)) for rows, by in zip((new, previous), off, strict=True)
        )
        harmed += watch(new, previous).verdict is ProbationVerdict.HARM
    assert harmed / repetitions <= 0.01 + 3.1 * np.sqrt(0.01 * 0.99 / repetitions)


def test_the_same_version_twice_never_shows_harm():
    new, _ = pair(quality=0.0)
    report = watch(new, new, reference=promise("brier", 0.0))
    assert report.verdict is ProbationVerdict.PASSED
    assert report.harm.evidence == 1
    assert report.pairs_lost == 0


def test_more_evaluations_show_no_harm_that_one_at_the_end_does_not():
    fired = 0
    for seed, quality in itertools.product(range(3), (1.5, 1.0, 0.7)):
        new, previous = pair(seed=seed, quality=quality)
        full = watch(new, previous)
        rng = np.random.default_rng(seed)
        seen = []
        for until in sorted({*rng.integers(1, WEEK, 10).tolist(), WEEK}):
            look = slice(0, until)
            report = watch(new.take(look), previous.take(look), times=times(WEEK)[look], over=until == WEEK)
            seen.append(report.harm.crossed_at)
            assert report.harm.evidence <= full.harm.evidence
        crossed = {at for at in seen if at is not None}
        assert crossed <= {full.harm.crossed_at}
        assert seen == sorted(seen, key=lambda at: at is not None), "what was found is found by every later look"
        fired += bool(crossed)
    assert 0 < fired < 9


def test_the_same_rows_give_the_same_report():
    assert watch(*pair(quality=0.5)) == watch(*pair(quality=0.5))


def test_harm_in_the_loss_alone_is_found():
    new, previous = pair()
    inflated = replace(new, score=np.sqrt(new.score))
    report = watch(inflated, previous)
    assert report.verdict is ProbationVerdict.HARM
    assert report.harm.crossed_by == "loss"
    assert "by its mean Brier score" in report.sentence
    assert watch(inflated, previous, "roc_auc").verdict is not ProbationVerdict.HARM  # there only the order counts


def test_harm_in_the_ranking_alone_is_found():
    new, previous = pair()
    order = np.random.default_rng(0).permutation(WEEK)
    constant = replace(new, score=0.3 + 0.001 * new.score[order])
    off = replace(previous, score=previous.score**0.3)
    report = watch(constant, off)
    assert report.current_loss < report.previous_loss
    assert report.verdict is ProbationVerdict.HARM
    assert report.harm.crossed_by == "ranking"
    assert "by its ranking" in report.sentence


def test_a_tolerated_increase_is_no_harm():
    new, previous = pair()
    worse = replace(new, score=np.clip(new.score + 0.2, 0, 1))
    found = watch(worse, previous)
    assert 0.01 < found.current_loss - found.previous_loss < 0.1
    assert found.verdict is ProbationVerdict.HARM
    lenient = watch(worse, previous, policy=POLICY.model_copy(update={"margin": -0.1}))
    assert lenient.verdict is ProbationVerdict.BASELINE_NOT_MET
    assert watch(worse, previous, max_degradation=0.1).verdict is ProbationVerdict.PASSED


@pytest.mark.parametrize("metric", METRICS)
def test_a_baseline_is_not_met_without_harm_if_the_previous_version_is_no_better(metric):
    new, previous = pair(metric, quality=0.5)
    # both do as badly as the worse one: the world has changed
    report = watch(new, new, metric)
    assert report.verdict is ProbationVerdict.BASELINE_NOT_MET
    assert report.harm.crossed_at is None
    assert 0 < report.baseline.crossed_at <= WEEK
    assert "holdout baseline allows at most" in report.sentence
    assert watch(new, previous, metric).verdict is ProbationVerdict.HARM  # where it does, that comes first


@pytest.mark.slow
def test_a_met_baseline_is_seldom_reported_as_not_met():
    broken = sum(
        watch(*pair(n=3_000, seed=seed), max_degradation=0.0).verdict is ProbationVerdict.BASELINE_NOT_MET
        for seed in range(100)
    )
    assert broken <= 2


def test_a_first_version_is_evaluated_by_its_baseline_alone():
    new, _ = pair()
    kept = watch(new, None)
    assert kept.verdict is ProbationVerdict.PASSED
    assert kept.harm is None
    assert kept.previous_loss is None
    assert watch(pair(quality=0.0)[0], None).verdict is ProbationVerdict.BASELINE_NOT_MET


def test_a_probation_without_evidence_runs_until_it_is_over():
    assert watch(*pair(), over=False).verdict is ProbationVerdict.RUNNING
    empty = watch(*(rows.take(slice(0, 0)) for rows in pair()), over=False)
    assert empty.verdict is ProbationVerdict.RUNNING
    assert "no usable labelled predictions" in empty.sentence
    assert empty.current_loss is None


@pytest.mark.parametrize(
    ("rows", "changes", "says"),
    [
        (0, {}, "0 usable labelled predictions, and 200 are needed"),
        (199, {}, "199 usable labelled predictions, and 200 are needed"),
        (500, {}, "blocks to compare the loss in, and 11 are needed"),
        (WEEK, {"previous": None, "not_compared": "version 3 cannot be loaded"}, "version 3 cannot be loaded"),
        (WEEK, {"previous": None, "reference": {}}, "no version before it, and no mean Brier score"),
        (WEEK, {"metric": "mae", "reference": {"metrics": {}}}, "have no mae"),
    ],
)
def test_too_little_evidence_is_inconclusive_and_says_what_is_missing(rows, changes, says):
    new, previous = (version.take(slice(0, rows)) for version in pair())
    changes = dict(changes)
    report = watch(new, changes.pop("previous", previous), changes.pop("metric", "brier"), **changes)
    assert report.verdict is ProbationVerdict.INCONCLUSIVE
    assert says in report.sentence


def test_a_class_too_rare_for_the_ranking_is_inconclusive():
    new, previous = pair()
    rare = (np.arange(WEEK) % 1_500 == 0).astype(float)
    report = watch(replace(new, label=rare), replace(previous, label=rare), max_degradation=0.5)
    assert report.verdict is ProbationVerdict.INCONCLUSIVE
    assert "blocks to compare the ranking in" in report.sentence


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.5])
@pytest.mark.parametrize("whose", ["new", "previous"])
def test_unusable_scores_are_excluded_and_reported(bad, whose):
    new, previous = pair()
    broken = np.arange(WEEK) % 10 == 0
    spoil = {"new": new, "previous": previous}
    spoil[whose] = replace(spoil[whose], score=np.where(broken, bad, spoil[whose].score))
    report = watch(spoil["new"], spoil["previous"])
    assert report.n_unusable == broken.sum()
    assert report.n == WEEK - broken.sum()
    assert report.verdict is ProbationVerdict.INCONCLUSIVE
    assert "600 of 6,000 labelled predictions have no usable score" in report.sentence


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_version_without_usable_output_is_inconclusive(metric, bad):
    new, previous = pair(metric)
    broken = Scored(new.label, np.full(WEEK, bad), np.full(WEEK, bad))
    assert watch(broken, previous, metric).verdict is ProbationVerdict.INCONCLUSIVE
    assert watch(new, broken, metric).verdict is ProbationVerdict.INCONCLUSIVE
    assert watch(broken, previous, metric).n == 0


def test_harm_in_the_usable_rows_is_counted_in_all_rows():
    new, previous = pair(quality=0.0)
    clean = watch(new, previous)
    spoiled = replace(new, score=np.where(np.arange(WEEK) < 600, np.nan, new.score))
    report = watch(spoiled, previous)
    assert report.verdict is ProbationVerdict.HARM
    assert report.harm.crossed_at > 600
    assert report.harm.crossed_at > clean.harm.crossed_at


def test_a_single_error_of_any_size_does_not_decide():
    new, previous = pair("mae")
    wild = new.prediction.copy()
    wild[17] = 1e12
    assert watch(replace(new, prediction=wild), previous, "mae").verdict is ProbationVerdict.PASSED


def test_fewest_blocks_is_what_the_largest_harm_needs():
    new, previous = pair("accuracy", quality=1.5)
    hopeless = replace(new, prediction=1 - new.label)
    right = replace(previous, prediction=previous.label)
    crossed = watch(hopeless, right, "accuracy").harm.crossed_at
    ends = block_ends(times(WEEK), new.label, rows=50, span=np.timedelta64(2, "h"))
    assert ends[fewest_blocks(0.01) - 1] == crossed


def test_a_block_ends_with_enough_rows_time_and_classes():
    hourly = times(100, 3_600)
    label = np.zeros(100)
    two_hours = np.timedelta64(2, "h")
    assert block_ends(hourly, label, rows=10, span=two_hours).tolist() == list(range(10, 101, 10))
    assert block_ends(hourly, label, rows=1, span=two_hours)[:3].tolist() == [3, 6, 9]
    label[[20, 50, 51]] = 1
    assert block_ends(hourly, label, rows=10, span=two_hours, each_class=1).tolist() == [21, 51, 61]
    assert block_ends(hourly[:0], label[:0], rows=1, span=two_hours).tolist() == []


def test_a_late_label_does_not_end_or_move_a_block():
    hourly = times(40, 3_600)
    late = np.append(hourly, hourly[3])
    arguments = {"rows": 4, "span": np.timedelta64(6, "h")}
    before = block_ends(hourly, np.zeros(40), **arguments)
    assert block_ends(late, np.zeros(41), **arguments).tolist() == before.tolist()
    for n in range(41):
        assert block_ends(hourly[:n], np.zeros(n), **arguments).tolist() == [end for end in before if end <= n]


def test_pairs_lost_in_one_block_are_a_difference_of_two_aucs():
    new, previous = pair(n=500, quality=0.8)
    lost = lost_pairs(new.label, new.score, previous.score, np.array([500]), context=5)
    assert lost[0] == pytest.approx(auc_estimate(previous).value - auc_estimate(new).value)


def test_pairs_of_a_block_reach_into_its_context_and_no_further():
    new, previous = pair(n=60, quality=0.8)
    ends = np.array([20, 40, 60])

    def share(score, pairs):
        return np.mean([(score[i] > score[j]) + (score[i] == score[j]) / 2 for i, j in pairs])

    positive, negative = np.flatnonzero(new.label > 0), np.flatnonzero(new.label == 0)
    pairs = [(i, j) for i in positive for j in negative if max(i, j) >= 40 and min(i, j) >= 20]
    lost = lost_pairs(new.label, new.score, previous.score, ends, context=1)
    assert lost[2] == pytest.approx(share(previous.score, pairs) - share(new.score, pairs))
    assert lost_pairs(np.zeros(60), new.score, previous.score, ends, context=1).tolist() == [0, 0, 0]


def test_block_means_ignore_rows_outside_blocks():
    assert block_means(np.array([1.0, 3.0, 5.0, 9.0]), np.array([2, 3])).tolist() == [2.0, 5.0]
    assert block_means(np.array([1.0]), np.array([], dtype=np.int64)).tolist() == []


def test_the_baseline_is_read_from_a_versions_reference():
    kept = {"metrics": {"brier": {"value": 0.15, "standard_error": 0.002, "n": 5_000}}, "loss": 0.15}
    assert baseline_loss("brier", kept) == baseline_loss("log_loss", kept) == Estimate(0.15, 0.002, 5_000)
    assert baseline_loss("log_loss", {"metrics": {"log_loss": kept["metrics"]["brier"]}, "loss": 0.5}) is None
    area = {"metrics": {"roc_auc": {"value": 0.7, "standard_error": 0.004, "n": 5_000}}, "loss": 0.15}
    only_mean = baseline_loss("roc_auc", area)
    assert (only_mean.value, only_mean.n) == (0.15, 5_000)
    known, not_known = (
        bounded_loss("roc_auc", e).upper_bound(e, delta=0.01) for e in (Estimate(0.15, 0.002, 5_000), only_mean)
    )
    assert 0.15 < known < not_known < 0.2
    right = {"metrics": {"accuracy": {"value": 0.8, "standard_error": 0.01, "n": 1_000}}}
    assert baseline_loss("accuracy", right).value == pytest.approx(0.2)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_a_regressions_cap_and_bound_come_from_its_holdout(metric):
    rows, _ = pair(metric, 5_000)
    promised = baseline_loss(metric, {"metrics": {metric: estimate(metric, rows).to_dict()}})
    loss = bounded_loss(metric, promised)
    losses = loss.of(rows)
    assert 0 <= losses.min() <= losses.max() <= 1
    assert loss.cap == pytest.approx(promised.value + 5 * promised.standard_error * np.sqrt(5_000))
    assert losses.mean() < loss.upper_bound(promised, delta=0.01) < losses.mean() + 0.02
    assert loss.increase(0.1, promised) == pytest.approx(
        0.1 / loss.cap if metric == "mae" else ((np.sqrt(promised.value) + 0.1) ** 2 - promised.value) / loss.cap
    )
