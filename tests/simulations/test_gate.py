"""The gate in worlds with a known truth: how often it promotes what it should not, and what it should."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from benchmarks import gate
from keel.config import PromotionConfig

ALPHA = PromotionConfig().alpha
TRIALS = 400
CONFIDENCE = 0.999
"""Of each test: a gate that keeps its level fails one in a thousand of them, with other seeds than these."""


def at_most(level, trials=TRIALS):
    """The largest share that chance explains where the level is kept."""
    return binom.ppf(CONFIDENCE, trials, level) / trials


@pytest.mark.parametrize("world", gate.WORLDS, ids=lambda world: world.name)
@pytest.mark.parametrize("metric", ["brier", "roc_auc", "accuracy", "rmse"])
def test_an_equal_challenger_is_promoted_at_most_as_often_as_stated(metric, world):
    assert gate.promotions(metric, gate.ROWS, TRIALS, world=world) <= at_most(ALPHA)


@pytest.mark.parametrize("world", gate.WORLDS, ids=lambda world: world.name)
def test_one_exactly_as_much_worse_as_the_margin_allows_is_promoted_at_most_as_often_as_stated(world):
    """A non-inferiority margin at which the null hypothesis is just true."""
    margin = gate.true_difference("brier", world, gate.WORSE, 4_000)
    assert margin < 0
    promoted = gate.promotions("brier", gate.ROWS, TRIALS, quality=gate.WORSE, world=world, margin=margin)
    assert promoted <= at_most(ALPHA)


def test_ten_equal_challengers_on_one_holdout_share_one_level():
    by_looks, at_alpha = gate.ever_promoted("brier", gate.INDEPENDENT, 200)
    assert by_looks <= at_most(ALPHA, 200)
    assert at_alpha > at_most(ALPHA, 200)  # which judging each at alpha would not


def test_a_much_better_challenger_is_promoted():
    assert gate.promotions("brier", gate.ROWS, 100, quality=gate.MUCH_BETTER) > 0.9
