"""The verdict of an experiment is that of what was shown first, and none where something else differs between arms."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.experiments import ALLOCATIONS, DELAY, START, tables, weathered
from keel.evaluation.experiment.analysis import ExperimentVerdict, evaluate
from keel.evaluation.experiment.evidence import MIN_SPAN_FOR_HARM, evaluate_rows, label_evidence
from keel.evaluation.experiment.outcomes import Assigned, read_rows
from keel.evaluation.experiment.plan import Plan, Stage
from keel.stats.metrics.losses import Estimate, Scored

N = 6_000
END = START + timedelta(days=22)
HALF = (Stage(0.5),)
WORSE = 0.6
"""Quality of a challenger that is worse, and not grossly."""


def plan(**changes):
    settings = {
        "experiment_id": "e", "model": "m", "champion": 1, "challenger": 2, "mode": "ab", "stages": HALF, "salt": "s",
        "metric": "brier", "margin": 0.0, "alpha": 0.05, "max_outcomes": 100_000, "started_at": START,
        "baseline": Estimate(0.2, 0.002, 5_000), "label_delay": DELAY, **changes,
    }  # fmt: skip
    return Plan(**settings)


SHADOW = {"mode": "shadow", "stages": ()}
PLANS = {
    "confidence sequence": {},
    "canary": {"stages": ALLOCATIONS["canary of 10%"]},
    "ramp": {"stages": ALLOCATIONS["ramp 5→20→50%"]},
    "shadow": SHADOW,
}


def served(made, quality=1.5, seed=0, n=N):
    times, champion, challenger = weathered(n, seed, quality)
    return tables(made, times, champion, challenger)


def look(made, outcomes, assigned, now=END):
    found = evaluate(made, outcomes, assigned, now=now)
    kept = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert kept["verdict"] == found.verdict
    assert Plan.from_dict(kept["plan"]) == made
    return found


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize(
    ("quality", "verdict"),
    [(4.0, ExperimentVerdict.PROMOTE), (1.5, ExperimentVerdict.RUNNING), (-1.5, ExperimentVerdict.ROLL_BACK)],
)
def test_a_better_challenger_is_promoted_an_equal_one_runs_on_and_a_worse_one_is_rolled_back(changes, quality, verdict):
    made = plan(**changes)
    found = look(made, *served(made, quality))
    assert found.verdict is verdict, found.sentence
    assert found.lower_bound <= found.improvement <= found.upper_bound
    if verdict is ExperimentVerdict.PROMOTE:
        assert found.lower_bound > 0
        assert found.challenger.mean_loss < found.champion.mean_loss
        assert "version 2 is better" in found.sentence
    if verdict is ExperimentVerdict.ROLL_BACK:
        assert found.upper_bound < 0
        assert "version 2 is worse" in found.sentence
    if verdict is ExperimentVerdict.RUNNING:
        assert found.decided_at is None
        assert "no result yet" in found.sentence
    else:
        least = MIN_SPAN_FOR_HARM if found.cause == "harm" else made.min_duration
        assert START + least + DELAY <= found.decided_at <= END
        assert found.cause == ("harm" if verdict is ExperimentVerdict.ROLL_BACK and made.mode == "ab" else None)
        bets = (found.evidence_better, found.evidence_worse)
        assert bets == (None, None) if made.method == "confidence_sequence" else max(bets) >= 20


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("quality", [4.0, 1.5, -1.5])
def test_more_or_later_evaluations_change_neither_the_verdict_nor_its_report(changes, quality):
    made = plan(**changes)
    outcomes, assigned = served(made, quality, seed=1)
    last = look(made, outcomes, assigned)
    rng, seen = np.random.default_rng(0), []
    for hours in sorted(rng.uniform(1, 22 * 24, 5)):
        now = START + timedelta(hours=hours)
        until = np.datetime64(now.replace(tzinfo=None), "us")
        known = pc.less_equal(outcomes["observed_at"], pa.scalar(until))
        past = pc.less_equal(assigned["time"], pa.scalar(until))
        early = look(made, outcomes.filter(known), assigned.filter(past), now=now)
        # what is not known yet must not count, though it lies in the store already
        assert look(made, outcomes, assigned, now=now).to_dict() == early.to_dict()
        if early.verdict is not ExperimentVerdict.RUNNING:
            seen.append(early.to_dict())
    assert all(each == last.to_dict() for each in seen)
    if quality in (4.0, -1.5):
        assert seen


def test_only_the_order_of_rows_of_one_time_may_matter():
    made = plan()
    outcomes, assigned = served(made, 3.0)
    shuffled = [table.take(np.random.default_rng(0).permutation(table.num_rows)) for table in (outcomes, assigned)]
    assert look(made, *shuffled).to_dict() == look(made, outcomes, assigned).to_dict()


def test_there_is_no_verdict_before_the_minimum_duration():
    early = plan(min_duration=timedelta(0), max_outcomes=2_000)
    outcomes, assigned = served(early, -1.5)
    soon = look(early, outcomes, assigned)
    assert soon.verdict is ExperimentVerdict.ROLL_BACK
    assert soon.decided_at < START + timedelta(days=7)
    outcomes, assigned = served(early, WORSE)
    late = look(plan(min_duration=timedelta(days=14)), outcomes, assigned)
    assert late.verdict is ExperimentVerdict.ROLL_BACK
    assert late.decided_at >= START + timedelta(days=14)
    equal = plan(min_duration=timedelta(days=14), max_outcomes=2_000)
    found = look(equal, *served(equal))
    assert found.verdict is ExperimentVerdict.NO_DIFFERENCE
    assert found.decided_at >= START + timedelta(days=14)
    assert found.n > 4_000


def test_a_start_before_the_data_does_not_shorten_the_minimum_duration():
    made = plan(started_at=START - timedelta(days=30), max_outcomes=2_000)
    found = look(made, *served(made, WORSE))
    assert found.verdict is ExperimentVerdict.ROLL_BACK
    assert found.decided_at >= START + made.min_duration
    ended = look(made, *served(made))
    assert ended.verdict is ExperimentVerdict.NO_DIFFERENCE
    assert ended.decided_at >= START + made.min_duration


def test_without_a_difference_it_ends_at_the_maximum_of_outcomes():
    made = plan(max_outcomes=3_000)
    outcomes, assigned = served(made)
    found = look(made, outcomes, assigned)
    assert (found.verdict, found.n) == (ExperimentVerdict.NO_DIFFERENCE, 3_000)
    assert found.champion.n + found.challenger.n == 3_000
    assert "no difference is shown" in found.sentence
    better = plan(max_outcomes=3_000, stages=HALF)
    assert look(better, *served(better, 4.0)).verdict is ExperimentVerdict.PROMOTE


HARMFUL = -1.5
"""Of a challenger whose scores are turned round."""


@pytest.mark.parametrize("changes", [PLANS["confidence sequence"], PLANS["canary"], PLANS["ramp"]])
def test_a_clearly_harmful_challenger_is_stopped_before_the_minimum_duration(changes):
    made = plan(**changes)
    found = look(made, *served(made, HARMFUL))
    assert (found.verdict, found.cause) == (ExperimentVerdict.ROLL_BACK, "harm")
    assert START + MIN_SPAN_FOR_HARM + DELAY <= found.decided_at < START + made.min_duration
    assert found.upper_bound < made.early_harm_bound < 0
    assert "is worse by more than 0.0500, the limit during the first 7d" in found.sentence


def test_smaller_harm_and_improvements_wait_for_the_minimum_duration():
    made = plan(min_duration=timedelta(days=12))
    for quality, verdict in ((WORSE, ExperimentVerdict.ROLL_BACK), (40.0, ExperimentVerdict.PROMOTE)):
        found = look(made, *served(made, quality))
        assert (found.verdict, found.cause) == (verdict, None)
        assert found.decided_at >= START + made.min_duration + DELAY
        known = look(replace(made, min_duration=timedelta(0)), *served(made, quality))
        assert known.verdict is verdict, "it was shown before"
        assert known.decided_at < START + made.min_duration


@pytest.mark.parametrize("changes", [PLANS["confidence sequence"], PLANS["canary"], PLANS["ramp"]])
@pytest.mark.parametrize("quality", [WORSE, HARMFUL])
def test_evidence_of_early_harm_is_evidence_of_harm(changes, quality):
    made = plan(**changes)
    rows, _ = read_rows(made, *served(made, quality), now=END)
    until = np.datetime64(END.replace(tzinfo=None), "us")
    durations = timedelta(days=30), MIN_SPAN_FOR_HARM
    gross, any_harm = (evaluate_rows(replace(made, min_duration=least), rows, until) for least in durations)
    assert (gross.moments == any_harm.moments).all()
    assert gross.early.all()
    assert not any_harm.early.any()
    assert not (gross.worse & ~any_harm.worse).any()
    assert quality == HARMFUL or any_harm.worse.sum() > gross.worse.sum()
    assert not gross.better.any()


def test_a_shadow_experiment_is_not_stopped_early():
    made = plan(**SHADOW)
    found = look(made, *served(made, HARMFUL))
    assert (found.verdict, found.cause) == (ExperimentVerdict.ROLL_BACK, None)
    assert found.decided_at >= START + made.min_duration + DELAY


def test_early_harm_allows_for_a_negative_margin():
    made = plan(margin=-0.9)
    assert made.early_harm_bound == pytest.approx(-0.95)
    assert look(made, *served(made, HARMFUL)).cause is None


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
def test_without_a_difference_it_ends_at_the_maximum_duration(changes):
    made = plan(max_duration=timedelta(days=10, minutes=20), **changes)
    outcomes, assigned = served(made)
    found = look(made, outcomes, assigned)
    assert (found.verdict, found.cause) == (ExperimentVerdict.NO_DIFFERENCE, "time")
    assert found.decided_at == made.ends_at
    assert found.n == sum(at <= made.ends_at.replace(tzinfo=None) for at in outcomes["observed_at"].to_pylist())
    assert "no difference is shown in the maximum duration" in found.sentence
    before, at, after = (made.ends_at + timedelta(seconds=seconds) for seconds in (-1, 0, 1))
    assert look(made, outcomes, assigned, now=before).verdict is ExperimentVerdict.RUNNING
    for now in (at, after, END + timedelta(days=1_000)):
        assert look(made, outcomes, assigned, now=now).to_dict() == found.to_dict()


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("quality", [4.0, -1.5])
def test_a_result_counts_before_the_maximum_duration_and_not_after_it(changes, quality):
    made = plan(**changes)
    outcomes, assigned = served(made, quality)
    shown = look(made, outcomes, assigned)
    lasted = shown.decided_at - START
    if lasted > made.min_duration:
        soon = look(replace(made, max_duration=lasted - timedelta(hours=1)), outcomes, assigned)
        assert (soon.verdict, soon.cause) == (ExperimentVerdict.NO_DIFFERENCE, "time")
    same = look(replace(made, max_duration=max(lasted, timedelta(days=7.1))), outcomes, assigned)
    assert (same.verdict, same.decided_at, same.n) == (shown.verdict, shown.decided_at, shown.n)


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
def test_an_experiment_without_labels_ends_and_says_what_to_check(changes):
    made = plan(max_duration=timedelta(days=10), **changes)
    outcomes, assigned = served(made)
    found = look(made, outcomes.slice(0, 0), assigned)
    assert (found.verdict, found.cause, found.n) == (ExperimentVerdict.NO_DIFFERENCE, "time", 0)
    assert "check that labels are submitted" in found.sentence
    if made.mode == "ab":
        assert "none of 3,001 answered rows, 2,701 of them matured, has a usable label" in found.sentence
        empty = look(made, outcomes.slice(0, 0), assigned.slice(0, 0))
        assert "no request was answered" in empty.sentence


def test_an_improvement_below_the_margin_is_not_promoted():
    made = plan(margin=0.15)
    found = look(made, *served(made, 4.0))
    assert found.verdict is ExperimentVerdict.RUNNING
    assert 0 < found.lower_bound < 0.15
    assert "more than 0.1500 is required" in found.sentence


def test_a_negative_margin_tolerates_harm_up_to_it():
    made = plan(margin=-0.1)
    outcomes, assigned = served(made, 1.3)
    found = look(made, outcomes, assigned)
    assert found.verdict is ExperimentVerdict.PROMOTE
    assert found.lower_bound > -0.1
    assert look(made, *served(made, -1.5)).verdict is ExperimentVerdict.ROLL_BACK


@pytest.mark.parametrize(
    ("metric", "promised"), [("accuracy", Estimate(0.3, 0.005, 5_000)), ("log_loss", None), ("roc_auc", None)]
)
def test_other_losses_of_a_binary_target(metric, promised):
    made = plan(metric=metric, baseline=promised)
    assert look(made, *served(made, 4.0)).verdict is ExperimentVerdict.PROMOTE
    assert look(made, *served(made, -1.5)).verdict is ExperimentVerdict.ROLL_BACK


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
def test_a_regressions_losses_are_reported_in_their_own_unit(metric, changes):
    rng = np.random.default_rng(0)
    times, _, _ = weathered(N, 0, 1.5)
    label = 100 * rng.standard_normal(N)
    wild = np.where(np.arange(N) == 17, 1e12, 0.0)
    champion, challenger = (
        Scored(label, np.full(N, math.nan), label + spread * rng.standard_normal(N) + wild) for spread in (40, 20)
    )
    mean = 32.0 if metric == "mae" else 1_600.0
    made = plan(metric=metric, baseline=Estimate(mean, mean / 70, 5_000), **changes)
    found = look(made, *tables(made, times, champion, challenger))
    assert found.verdict is ExperimentVerdict.PROMOTE
    assert found.champion.mean_loss == pytest.approx(mean, rel=0.15)
    assert found.challenger.mean_loss == pytest.approx(mean / 2 if metric == "mae" else mean / 4, rel=0.2)


def skewed(made, truth):
    times, champion, challenger = weathered(N, 0, 1.5)
    return tables(replace(made, stages=(Stage(truth),)), times, champion, challenger)


def test_a_skewed_assignment_is_a_mismatch():
    made = plan()
    outcomes, assigned = skewed(made, 0.6)
    stated = pa.array(np.full(N, 0.5))
    outcomes, assigned = (
        table.set_column(table.schema.get_field_index("allocation"), "allocation", stated)
        for table in (outcomes, assigned)
    )
    found = look(made, outcomes, assigned)
    assert (found.verdict, found.cause) == (ExperimentVerdict.MISMATCH, "assignment")
    assert found.assignment_evidence >= 1_000
    assert found.decided_at < START + timedelta(days=7), "a broken assignment need not be waited for"
    assert "not split as planned" in found.sentence
    # one whose stored probabilities are what was done is right, whatever the plan says
    assert look(made, *skewed(made, 0.6)).verdict is ExperimentVerdict.RUNNING


@pytest.mark.parametrize("kept", [0.98, 0.3])
def test_an_arm_with_fewer_labels_is_a_mismatch(kept):
    made = plan()
    outcomes, assigned = served(made, 4.0)
    is_challenger = outcomes["arm"].to_numpy() == "challenger"
    draws = np.random.default_rng(0).random(N)
    rarer = outcomes.filter(draws < np.where(is_challenger, kept * 0.9, kept))
    found = look(made, rarer, assigned)
    assert (found.verdict, found.cause) == (ExperimentVerdict.MISMATCH, "labels") if kept > 0.5 else True
    assert found.challenger.coverage < found.champion.coverage
    both = outcomes.filter(draws < kept)
    assert look(made, both, assigned).verdict is ExperimentVerdict.PROMOTE


def test_late_labels_of_one_arm_count_as_missing_when_they_mature():
    made = plan()
    outcomes, assigned = served(made)
    is_challenger = outcomes["arm"].to_numpy() == "challenger"
    late = outcomes["observed_at"].to_numpy() + np.where(is_challenger, 1, 0) * np.timedelta64(12, "h")
    outcomes = outcomes.set_column(outcomes.schema.get_field_index("observed_at"), "observed_at", pa.array(late))
    found = look(made, outcomes, assigned)
    assert (found.verdict, found.cause) == (ExperimentVerdict.MISMATCH, "labels")
    early = outcomes["time"].to_numpy() + np.where(is_challenger, 1, 20) * np.timedelta64(1, "h")
    outcomes = outcomes.set_column(outcomes.schema.get_field_index("observed_at"), "observed_at", pa.array(early))
    assert look(made, outcomes, assigned).verdict is ExperimentVerdict.RUNNING, "none counts before it is due"


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.5, math.inf])
@pytest.mark.parametrize("changes", [{}, SHADOW], ids=["ab", "shadow"])
def test_unusable_outputs_of_an_arm_are_a_mismatch(bad, changes):
    made = plan(**changes)
    column = "shadow_score" if changes else "score"
    outcomes, assigned = served(made, 4.0)
    spoilt = np.arange(N) % 30 == 0
    own = spoilt if changes else spoilt & (outcomes["arm"].to_numpy() == "challenger")
    score = np.where(own, bad, outcomes[column].to_numpy())
    outcomes = outcomes.set_column(outcomes.schema.get_field_index(column), column, pa.array(score))
    found = look(made, outcomes, assigned)
    assert (found.verdict, found.cause) == (ExperimentVerdict.MISMATCH, "outputs")
    assert found.challenger.unusable > 0
    assert "have no usable output" in found.sentence


def test_a_row_of_another_version_than_its_arms_is_unusable():
    made = plan()
    outcomes, assigned = served(made)
    version = np.where(np.arange(N) % 300 == 0, 7, outcomes["version"].to_numpy())
    outcomes = outcomes.set_column(outcomes.schema.get_field_index("version"), "version", pa.array(version))
    found = look(made, outcomes, assigned)
    assert found.champion.unusable + found.challenger.unusable == N / 300
    assert found.n == N - N / 300


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
def test_an_experiment_without_rows_or_labels_runs(changes):
    made = plan(**changes)
    outcomes, assigned = served(made)
    for some, rows in (
        (outcomes.slice(0, 0), assigned.slice(0, 0)),
        (outcomes.slice(0, 0), assigned),
        (outcomes.slice(0, 1), assigned),
    ):
        found = look(made, some, rows, now=START + timedelta(days=2))
        assert found.verdict is ExperimentVerdict.RUNNING
        assert found.to_dict()["lower_bound"] in (None, -1.0)
        assert found.sentence
    assert look(made, outcomes, assigned, now=START - timedelta(days=1)).n == 0


def test_a_missing_probability_is_taken_from_the_plan():
    made = plan(stages=ALLOCATIONS["canary of 10%"])
    outcomes, assigned = served(made, 4.0)
    nothing = pa.nulls(N, pa.float64())
    bare = [
        table.set_column(table.schema.get_field_index("allocation"), "allocation", nothing)
        for table in (outcomes, assigned)
    ]
    assert look(made, *bare).n == look(made, outcomes, assigned).n
    assert look(made, *bare).improvement == pytest.approx(look(made, outcomes, assigned).improvement)


@pytest.mark.slow
def test_label_evidence_keeps_its_level_and_combines_both_splits():
    rng = np.random.default_rng(0)
    doubted = []
    for _ in range(300):
        challenger, labelled = rng.random(2_000) < 0.5, rng.random(2_000) < 0.9
        time = np.datetime64("2026-01-01", "us") + np.arange(2_000)
        path = label_evidence(Assigned(time, challenger, np.full(2_000, 0.5), labelled))
        assert len(path) == 2_000
        doubted.append(path.max() >= math.log(20))
    assert np.mean(doubted) <= 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / 300)


def test_single_days_on_which_one_version_is_worse_do_not_decide():
    """On three bad days of twenty the challenger is hopeless: the rows alone show it to be worse."""
    made = plan(min_duration=timedelta(0), metric="brier")
    times, champion, challenger = weathered(N, 0, 1.5)
    off = np.isin((times - times[0]) // np.timedelta64(1, "D"), (7, 12, 16))
    challenger = replace(challenger, score=np.where(off, 1 - challenger.score, challenger.score))
    outcomes, assigned = tables(made, times, champion, challenger)
    rows, _ = read_rows(made, outcomes, assigned, now=END)
    shown = evaluate_rows(made, rows, np.datetime64(END.replace(tzinfo=None), "us"))
    assert shown.worse.any()
    assert look(made, outcomes, assigned).verdict is ExperimentVerdict.RUNNING


def test_now_may_be_in_any_zone():
    from datetime import timezone

    made = plan()
    outcomes, assigned = served(made, 4.0)
    at = datetime(2026, 1, 12, tzinfo=UTC)
    far = at.astimezone(timezone(timedelta(hours=9)))
    assert look(made, outcomes, assigned, now=at).to_dict() == look(made, outcomes, assigned, now=far).to_dict()
