"""The gate promotes what is shown to be better, and an equal challenger at most as often as stated."""

import json

import numpy as np
import pytest

from benchmarks.simulations import HOLDOUT_END, independent_times, promotions, versions
from keel.config import PromotionConfig
from keel.lifecycle.comparison import Verdict, compare_versions
from keel.measures.losses import Scored


def verdict(champion, challenger, metric="brier", **changes):
    return compare_versions(
        champion, challenger, metric=metric, policy=PromotionConfig(**changes), times=independent_times(len(champion)),
        segments={}, earlier_looks=0, holdout_end=HOLDOUT_END, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "accuracy", "mae"])
def test_an_equal_challenger_is_promoted_at_most_as_often_as_stated(metric):
    repetitions = 1_000
    promoted = promotions(metric, 600, repetitions)
    assert promoted <= 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / repetitions)
    assert promoted > 0


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc"])
def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(metric):
    better = [verdict(*versions(4_000, seed=s, quality=2.0), metric).verdict for s in range(30)]
    worse = [verdict(*versions(4_000, seed=s, quality=1.0), metric).verdict for s in range(30)]
    assert set(better) == {Verdict.PASS}
    assert set(worse) == {Verdict.FAIL}


def test_rmse_by_bootstrap_finds_a_better_regressor():
    champion, challenger = versions(2_000, seed=1, quality=2.0, binary=False)
    found = verdict(champion, challenger, "rmse")
    assert found.verdict is Verdict.PASS
    assert found.lower_bound < found.improvement
    assert verdict(champion, challenger, "rmse") == found  # the seed decides, nothing global


def test_the_margin_is_what_must_be_exceeded():
    champion, challenger = versions(4_000, seed=1, quality=2.0)
    bound = verdict(champion, challenger).lower_bound
    assert verdict(champion, challenger, margin=bound - 1e-9).verdict is Verdict.PASS
    assert verdict(champion, challenger, margin=bound).verdict is Verdict.FAIL


@pytest.mark.parametrize("n", [0, 1, 199])
def test_too_few_rows_are_inconclusive(n):
    found = verdict(*versions(n, seed=1, quality=9.0))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith("inconclusive")
    json.loads(json.dumps(found.to_dict(), allow_nan=False))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_never_promote(bad):
    champion, challenger = versions(500, seed=1, quality=9.0)
    broken = Scored(challenger.label, np.full(500, bad), challenger.prediction)
    assert verdict(champion, broken).verdict is Verdict.INCONCLUSIVE
    assert verdict(champion, broken).n == 0


def test_one_class_has_no_auc_and_never_promotes():
    champion, challenger = versions(2_000, seed=1, quality=9.0)
    ones = champion.label > 0
    found = verdict(champion.take(ones), challenger.take(ones), "roc_auc")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not defined" in found.reason


def test_identical_versions_keep_the_champion():
    champion, _ = versions(2_000, seed=1)
    assert verdict(champion, champion).verdict is Verdict.FAIL
