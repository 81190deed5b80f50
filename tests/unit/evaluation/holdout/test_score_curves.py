"""Calibration, ROC and residuals are those of the textbook, and small."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, roc_auc_score

from keel.evaluation.holdout.score_curves import ROC_POINTS, calibration, describe_scores, residuals, roc
from keel.stats.metrics.losses import Scored

N = 5_000


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(3)
    score = rng.uniform(size=N) ** 2
    return (rng.uniform(size=N) < score).astype(float), score


def test_calibration_of_equal_counts_is_that_of_scikit_learn(scores):
    label, score = scores
    found = calibration(label, score)
    rate, mean = calibration_curve(label, score, n_bins=10, strategy="quantile")
    assert found["rate"] == pytest.approx(rate, abs=1e-5)
    assert found["score"] == pytest.approx(mean, abs=1e-5)
    assert found["n"] == [N // 10] * 10


def test_calibration_with_few_distinct_scores_puts_equal_scores_into_one_bin():
    score = np.repeat([0.2, 0.8], [90, 10])
    assert calibration(np.repeat([0.0, 1.0], [90, 10]), score) == {
        "score": [0.2, 0.8], "rate": [0.0, 1.0], "n": [90, 10],
    }  # fmt: skip


def test_calibration_of_scores_that_are_no_probabilities_is_none():
    assert calibration(np.array([0.0, 1.0]), np.array([-1.0, 3.0])) is None


def test_roc_of_many_rows_keeps_its_ends_and_its_area(scores):
    label, score = scores
    found = roc(label, score)
    x, y = found["false_positive_rate"], found["true_positive_rate"]
    assert len(x) <= ROC_POINTS
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert auc(x, y) == pytest.approx(roc_auc_score(label, score), abs=0.002)


def test_roc_of_one_class_is_none():
    assert roc(np.ones(5), np.linspace(0, 1, 5)) is None


def test_residuals_are_shares_of_all_rows_with_those_beyond_the_edges_in_the_last_bins():
    rng = np.random.default_rng(0)
    champion = np.append(rng.normal(0, 2, N), 1e6)
    found = residuals(champion, np.append(rng.normal(1, 1, N), 0))
    assert sum(found["champion"]) == pytest.approx(1, abs=1e-4)
    assert sum(found["challenger"]) == pytest.approx(1, abs=1e-4)
    assert found["edges"][-1] < 10
    assert found["quantiles"]["champion"] == pytest.approx(np.quantile(champion, [0.05, 0.25, 0.5, 0.75, 0.95]), 1e-4)


def test_residuals_that_are_all_equal_have_edges_around_them():
    found = residuals(np.zeros(3), np.zeros(3))
    assert (found["edges"][0], found["edges"][-1], sum(found["champion"])) == (-0.5, 0.5, 1)


@pytest.mark.parametrize("metric", ["brier", "roc_auc", "accuracy", "mae"])
def test_describe_scores_is_plain_and_small(scores, metric):
    label, score = scores
    rows = Scored(label, score, (score > 0.5).astype(float))
    text = json.dumps(describe_scores(metric, rows, rows), allow_nan=False)
    assert len(text) < 6_000


def test_describe_scores_without_rows_is_empty():
    empty = Scored(np.empty(0), np.empty(0), np.empty(0))
    assert describe_scores("brier", empty, empty) == {}
