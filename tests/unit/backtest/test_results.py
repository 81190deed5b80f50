"""What policies are worth: metrics and differences on the same rows, by the same functions as the gate's."""

from __future__ import annotations

import numpy as np
import pytest

from keel.backtest.results import difference, estimated
from keel.stats.metrics.losses import Scored

HOURS = np.arange("2026-01-01", "2026-01-31", dtype="datetime64[h]").astype("datetime64[us]")
RNG = np.random.default_rng(1)
LABEL = (RNG.random(len(HOURS)) < 0.5).astype(float)
GOOD = Scored(LABEL, np.where(LABEL > 0, 0.8, 0.2), LABEL)
POOR = Scored(LABEL, np.where(LABEL > 0, 0.6, 0.4), LABEL)


def test_estimated_returns_the_mean_loss_with_an_interval_around_it():
    noisy = Scored(LABEL, RNG.random(len(LABEL)), LABEL)
    found = estimated("brier", noisy, HOURS)
    assert found.value == pytest.approx(((noisy.score - LABEL) ** 2).mean())
    assert found.lower < found.value < found.upper
    assert found.n == len(HOURS)


@pytest.mark.parametrize(("metric", "value"), [("brier", 0.12), ("accuracy", 0.0), ("log_loss", np.log(0.8 / 0.6))])
def test_difference_is_positive_for_the_better_policy_and_changes_sign_with_the_order(metric, value):
    assert difference(metric, "never", POOR, GOOD, HOURS).value == pytest.approx(value)
    assert difference(metric, "never", GOOD, POOR, HOURS).value == pytest.approx(-value)


def test_difference_uses_only_rows_with_a_label_and_both_scores():
    unlabelled, unscored = LABEL.copy(), GOOD.score.copy()
    unlabelled[:100], unscored[100:150] = np.nan, np.nan
    found = difference(
        "brier", "never", Scored(unlabelled, POOR.score, LABEL), Scored(unlabelled, unscored, LABEL), HOURS
    )
    assert found.n == len(HOURS) - 150
    assert found.clusters == {"unit": "day", "count": 24}


def test_difference_of_equal_policies_is_zero_without_a_sign():
    found = difference("brier", "never", GOOD, GOOD, HOURS)
    assert [str(each) for each in (found.value, found.lower, found.upper)] == ["0.0", "0.0", "0.0"]


@pytest.mark.parametrize("n", [0, 1])
def test_estimates_of_too_few_rows_are_not_known(n):
    few = slice(0, n)
    rows = Scored(LABEL[few], GOOD.score[few], LABEL[few])
    assert estimated("brier", rows, HOURS[few]).value is None
    found = difference("brier", "never", rows, rows, HOURS[few])
    assert (found.value, found.lower, found.upper, found.n) == (None, None, None, n)


def test_estimated_area_under_the_curve_of_one_class_is_not_known():
    ones = Scored(np.ones(len(HOURS)), GOOD.score, LABEL)
    found = estimated("roc_auc", ones, HOURS)
    assert (found.value, found.lower, found.n) == (None, None, len(HOURS))
