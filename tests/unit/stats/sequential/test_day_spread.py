"""The spread of the mean loss between days, and what it makes of a test of rows."""

from __future__ import annotations

import numpy as np
import pytest

from keel.stats.metrics.losses import Scored
from keel.stats.sequential.day_spread import DayRows, DaySpread, day_spread, design_effect, measure_days

DAYS, ROWS = 40, 250
TIMES = np.datetime64("2026-01-01", "us") + np.repeat(np.arange(DAYS), ROWS) * np.timedelta64(1, "D")
MEAN = np.full(DAYS * ROWS, 0.2)


def losses(between: float, *, seed: int = 1) -> np.ndarray:
    """Return losses with a row variance of about .01 and days that differ by ``between``."""
    rng = np.random.default_rng(seed)
    return 0.2 + 0.1 * rng.standard_normal(DAYS * ROWS) + np.repeat(between * rng.standard_normal(DAYS), ROWS)


def test_spread_of_days_that_differ_is_their_variance() -> None:
    spread = DaySpread.measure(TIMES, losses(0.05), MEAN)
    assert (spread.days, spread.rows) == (DAYS, ROWS)
    assert spread.between == pytest.approx(0.05**2, rel=0.5)
    assert spread.correlation == pytest.approx(0.2, abs=0.1)
    assert spread.standard_error(DAYS * ROWS) == pytest.approx(0.05 / np.sqrt(DAYS), rel=0.3)


def test_spread_of_days_that_are_alike_is_rarely_above_zero() -> None:
    found = [DaySpread.measure(TIMES, losses(0.0, seed=seed), MEAN).between > 0 for seed in range(60)]
    assert sum(found) <= 15  # one in ten


def test_spread_of_few_days_and_of_constant_losses_is_zero() -> None:
    few = TIMES[0] + np.timedelta64(4, "D") > TIMES
    assert DaySpread.measure(TIMES[few], losses(0.5)[few], MEAN[few]).correlation == 0
    assert DaySpread.measure(TIMES, MEAN, MEAN).correlation == 0


def test_correlation_of_prediction_powered_losses_is_smaller_and_that_of_a_full_sample_the_same() -> None:
    spread = DaySpread.measure(TIMES, losses(0.05), MEAN)
    assert spread.correlation_powered(1.0) == pytest.approx(spread.correlation)
    assert spread.correlation_powered(0.1) < spread.correlation / 5


def test_stored_spread_is_read_for_its_own_loss_alone() -> None:
    rng = np.random.default_rng(2)
    score = rng.random(DAYS * ROWS)
    rows = Scored((rng.random(DAYS * ROWS) < score).astype(float), score, (score > 0.5).astype(float))
    reference = {"metrics": {}, "days": measure_days("brier", {}, TIMES, rows)}
    spread = day_spread("roc_auc", reference)
    assert spread is not None
    assert spread.within == pytest.approx(((score - rows.label) ** 2).var())
    assert spread.unexplained < spread.within
    assert day_spread("accuracy", reference) is None
    assert day_spread("brier", {"metrics": {}}) is None
    assert measure_days("mae", {}, TIMES, rows) is None


def test_expected_rows_follow_the_days_and_ignore_late_rows() -> None:
    rows = DayRows.start(100.0)
    assert rows.expected == 100
    rows.add(np.repeat([10], 250))
    assert rows.expected == 250
    rows.add(np.repeat([3, 10, 11], [900, 50, 10]))
    assert (rows.day, rows.today) == (11, 10)
    assert rows.expected == pytest.approx((0.9 * 100**2 + 300**2) / (0.9 * 100 + 300))
    assert design_effect(0.0, 1e6) == 1
    assert design_effect(0.5, 0) == 1
