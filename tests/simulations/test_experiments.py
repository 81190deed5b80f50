"""Experiments in worlds with a known truth, and on real flights: how often they end in a wrong verdict."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import experiments
from benchmarks import experiments_flights as flights
from keel.evaluation.experiment.analysis import ExperimentVerdict
from keel.evaluation.experiment.evidence import MISMATCH_EVIDENCE

FULL = bool(os.environ.get("KEEL_FULL_SIZE"))
TRIALS = 500 if FULL else 50
SALTS = 20 if FULL else 4
ROWS = experiments.ROWS if FULL else 5_000
CONFIDENCE = 0.999
"""Of each test: an experiment that keeps its level fails one in a thousand of them, with other seeds than these."""
WRONG = (ExperimentVerdict.PROMOTE, ExperimentVerdict.ROLL_BACK)


def at_most(level, trials):
    """The largest share that chance explains where the level is kept."""
    return binom.ppf(CONFIDENCE, trials, level) / trials


def share(found, verdict):
    return np.mean([each.verdict is verdict for each in found])


@pytest.mark.parametrize("metric", experiments.METRICS)
@pytest.mark.parametrize("allocation", experiments.ALLOCATIONS)
def test_equal_versions_are_told_apart_at_most_as_often_as_stated_on_days_that_share_their_weather(allocation, metric):
    found = experiments.simulated(allocation, metric, experiments.QUALITY, range(TRIALS), n=ROWS)
    for verdict in WRONG:
        assert share(found, verdict) <= at_most(experiments.ALPHA, TRIALS)
    assert not any(each.verdict is ExperimentVerdict.MISMATCH for each in found)
    assert np.mean([each.early for each in found]) <= at_most(0.01, TRIALS), "equal versions are far from gross harm"
    naive = np.mean([each.naive is not ExperimentVerdict.RUNNING for each in found])
    assert naive > at_most(2 * experiments.ALPHA, TRIALS), (
        "a test that must not be looked at often shows its error here"
    )


@pytest.mark.parametrize("metric", experiments.METRICS)
@pytest.mark.parametrize("allocation", experiments.ALLOCATIONS)
def test_equal_versions_that_are_off_on_other_days_are_told_apart_at_most_as_often_as_stated(allocation, metric):
    """What no assignment of rows protects against: by the rows alone, half of these experiments ended wrongly."""
    found = experiments.simulated(
        allocation, metric, experiments.QUALITY, range(TRIALS), n=ROWS, own_days=experiments.OWN_DAYS
    )
    for verdict in WRONG:
        assert share(found, verdict) <= at_most(experiments.ALPHA, TRIALS)


@pytest.mark.parametrize(
    ("quality", "right"),
    [(0.6, ExperimentVerdict.ROLL_BACK), (2.4, ExperimentVerdict.PROMOTE)],
    ids=["worse", "better"],
)
@pytest.mark.parametrize("metric", experiments.METRICS)
@pytest.mark.parametrize("allocation", experiments.ALLOCATIONS)
def test_a_known_difference_is_found(allocation, metric, quality, right):
    trials = max(8, TRIALS // 20)
    found = experiments.simulated(allocation, metric, quality, range(trials))
    assert share(found, right) >= 0.75
    assert {each.verdict for each in found} <= {right, ExperimentVerdict.RUNNING}


@pytest.mark.parametrize("metric", experiments.METRICS)
@pytest.mark.parametrize("allocation", [name for name, stages in experiments.ALLOCATIONS.items() if stages])
def test_a_challenger_whose_scores_are_turned_round_is_mostly_not_borne_for_the_least_time(allocation, metric):
    trials = max(8, TRIALS // 20)
    [world] = [quality for quality in experiments.USELESS if quality < 0]
    found = experiments.simulated(allocation, metric, world, range(trials))
    assert share(found, ExperimentVerdict.ROLL_BACK) == 1
    assert np.mean([each.early for each in found]) >= 0.5
    assert np.median([each.hours for each in found]) < 8 * 24, "a week of rows, and a day for their labels"


def test_a_skewed_assignment_is_caught_and_a_right_one_is_not():
    n = 100_000 if FULL else 30_000
    caught = {truth: experiments.skewed(truth, TRIALS, n) for truth in experiments.SKEWS}
    found = {truth: np.isfinite(rows).mean() for truth, rows in caught.items()}
    assert found[0.5] <= at_most(1 / MISMATCH_EVIDENCE, TRIALS)
    assert found[0.55] == 1
    assert np.median(caught[0.55]) < 3_000
    assert found[0.52] > 0.9
    assert np.median(caught[0.52]) < 20_000
    if FULL:
        assert found[0.51] > 0.9


@pytest.mark.parametrize("date", flights.starts(3 if FULL else 2), ids=lambda date: f"{date:%b-%d}")
def test_on_flights_the_verdict_agrees_with_a_difference_that_is_known(date):
    kinds = [(pair, "accuracy") for pair in (flights.SHUFFLED, flights.MIRRORED)]
    for one in flights.serve(date, SALTS, kinds):
        said = [one.judged(each.verdict) for each in one.found]
        assert said == [flights.RIGHT] * len(said), one


def test_on_flights_the_same_version_twice_differs_from_itself_no_more_often_than_stated():
    served = flights.serve(flights.starts()[0], SALTS, [(flights.TWICE, "brier")])
    found = [each for one in served for each in one.found]
    for verdict in WRONG:
        assert share(found, verdict) <= at_most(experiments.ALPHA, len(found))
