"""The mean loss from a random sample of labels, and its estimate from scores."""

from __future__ import annotations

import numpy as np
import pytest

from keel.stats.metrics.losses import Scored, row_loss
from keel.stats.sequential.prediction_powered import (
    estimated_losses,
    largest_estimate,
    lowest,
    prediction_powered_losses,
)


@pytest.mark.parametrize("worth", [0.0, 1.0, -1.0])
def test_prediction_powered_losses_have_the_mean_loss_whatever_the_estimate_is_worth(worth: float) -> None:
    rng = np.random.default_rng(1)
    n, share = 400_000, 0.1
    loss = rng.beta(1, 4, n)
    estimate = np.clip(0.2 + worth * (loss - 0.2), 0, 1)
    z = prediction_powered_losses(estimate, loss, rng.random(n) < share, share=share)
    assert abs(z.mean() - loss.mean()) < 4 * z.std() / np.sqrt(n)


def test_a_good_estimate_reduces_the_variance() -> None:
    rng = np.random.default_rng(2)
    loss, audited = rng.beta(1, 4, 50_000), rng.random(50_000) < 0.1
    good, none = (
        prediction_powered_losses(each, loss, audited, share=0.1).var() for each in (loss, np.zeros_like(loss))
    )
    assert good < none / 10


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "accuracy"])
def test_estimates_of_calibrated_scores_have_the_mean_loss_and_stay_below_the_largest(metric: str) -> None:
    rng = np.random.default_rng(3)
    score = rng.beta(1.2, 4, 200_000)
    rows = Scored((rng.random(len(score)) < score).astype(float), score, (score > 0.5).astype(float))
    estimate = estimated_losses(metric, score, mean=0.9)
    assert estimate.max() <= largest_estimate(metric, mean=0.9)
    assert abs(estimate.mean() - row_loss("brier" if metric != "accuracy" else metric, rows).mean()) < 0.003


def test_estimates_without_a_probability_are_the_mean_of_the_holdout() -> None:
    score = np.array([np.nan, -1.0, 2.0, 0.5])
    assert estimated_losses("brier", score, mean=0.1).tolist() == [0.1, 0.1, 0.1, 0.25]
    assert estimated_losses("accuracy", score, mean=0.7).tolist() == [0.5, 0.5, 0.5, 0.5]
    assert estimated_losses("mae", score, mean=0.1).tolist() == [0.1] * 4
    assert largest_estimate("mae", mean=0.1) == 0.1


@pytest.mark.parametrize("share", [i / 100 for i in range(1, 101)])
def test_no_value_is_below_the_lowest_by_a_single_bit(share: float) -> None:
    """The bets raise an error for a value below the lowest, and the monitor would stop for good."""
    rng = np.random.default_rng(4)
    for largest in (0.25, 0.5, *rng.random(10) * 0.3):
        estimates = [largest]
        for _ in range(20):  # the floats next below it, whose rounding could be another
            estimates.append(np.nextafter(estimates[-1], 0))
        low = lowest(largest, share=share)
        for loss in (0.0, 1e-300, 1e-17):
            z = prediction_powered_losses(estimates, np.full(21, loss), np.full(21, True), share=share)
            assert z.min() >= low
        assert prediction_powered_losses([largest], [0.0], [True], share=share)[0] == low
        assert prediction_powered_losses([largest], [1.0], [True], share=share)[0] <= 1 / share


def test_an_audited_row_without_a_loss_and_a_share_of_none_are_refused() -> None:
    with pytest.raises(ValueError, match="has no loss"):
        prediction_powered_losses([0.2], [np.nan], [True], share=0.1)
    with pytest.raises(ValueError, match="share"):
        prediction_powered_losses([0.2], [0.2], [True], share=0.0)
