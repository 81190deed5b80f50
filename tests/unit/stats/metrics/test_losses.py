"""Metrics and their standard errors agree with scikit-learn and with simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from keel.stats.metrics.losses import Scored, auc_placements, estimate, finite_rows, row_loss, worsening


def scored(n=400, seed=0, *, binary=True):
    rng = np.random.default_rng(seed)
    if not binary:
        label = rng.normal(size=n)
        return Scored(label, np.full(n, np.nan), label + rng.normal(size=n))
    label = (rng.random(n) < 0.3).astype(float)
    score = np.round(np.clip(0.3 + 0.2 * (label - 0.3) + rng.normal(0, 0.15, n), 0.02, 0.98), 2)
    return Scored(label, score, (score > 0.35).astype(float))


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        ("brier", lambda r: sk.brier_score_loss(r.label, r.score)),
        ("log_loss", lambda r: sk.log_loss(r.label, np.clip(r.score, 1e-15, 1 - 1e-15))),
        ("roc_auc", lambda r: sk.roc_auc_score(r.label, r.score)),
        ("accuracy", lambda r: sk.accuracy_score(r.label, r.prediction)),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_binary_metrics_agree_with_scikit_learn(metric, reference, seed):
    rows = scored(seed=seed)
    assert estimate(metric, rows).value == pytest.approx(reference(rows), abs=1e-12)


def test_regression_metrics_agree_with_scikit_learn():
    rows = scored(binary=False)
    assert estimate("mae", rows).value == pytest.approx(sk.mean_absolute_error(rows.label, rows.prediction))
    assert estimate("rmse", rows).value == pytest.approx(sk.root_mean_squared_error(rows.label, rows.prediction))


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "accuracy", "mae", "rmse"])
def test_estimate_standard_error_equals_the_spread_over_samples(metric):
    repetitions = 400
    estimates = [estimate(metric, scored(seed=s, binary=metric not in ("mae", "rmse"))) for s in range(repetitions)]
    spread = np.std([e.value for e in estimates], ddof=1)
    stated = np.mean([e.standard_error for e in estimates])
    # a standard deviation estimated from R samples has a relative standard error of 1/√(2R); four of them
    assert stated == pytest.approx(spread, rel=4 / np.sqrt(2 * repetitions))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
@settings(max_examples=200, deadline=None)
def test_auc_placements_of_ties_count_half(pairs):
    label = np.array([float(a) for a, _ in pairs])
    score = np.array([float(b) for _, b in pairs])
    positive, negative = auc_placements(label, score)
    if len(set(label)) < 2:
        assert len(positive) == len(negative) == 0
        return
    expected = np.mean([(p > q) + 0.5 * (p == q) for p in score[label > 0] for q in score[label == 0]])
    assert positive.mean() == pytest.approx(expected)
    assert negative.mean() == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["brier", "roc_auc", "rmse"])
def test_estimate_without_rows_is_undefined(metric):
    empty = Scored(*(np.empty(0) for _ in range(3)))
    assert np.isnan(estimate(metric, empty).value)
    assert estimate(metric, empty).n == 0


def test_estimate_of_auc_with_one_class_is_undefined():
    rows = scored()
    ones = rows.take(rows.label > 0)
    assert np.isnan(estimate("roc_auc", ones).value)
    assert np.isfinite(estimate("brier", ones).value)


def test_finite_rows_mask_rows_without_the_needed_columns():
    rows = Scored(np.array([1.0, 0.0, np.nan]), np.array([0.5, np.nan, 0.5]), np.array([np.inf, 0.0, 0.0]))
    assert finite_rows("brier", rows).tolist() == [True, False, False]
    assert finite_rows("accuracy", rows).tolist() == [False, True, False]


def test_log_loss_of_a_certain_wrong_score_is_finite():
    rows = Scored(np.array([1.0]), np.array([0.0]), np.array([0.0]))
    assert np.isfinite(row_loss("log_loss", rows)).all()


def test_worsening_is_positive_for_every_metric():
    assert worsening("brier", 0.1, 0.2) > 0
    assert worsening("roc_auc", 0.7, 0.6) > 0
    assert worsening("accuracy", 0.7, 0.8) < 0
