"""The difference of two arms has an error that is clustered by day."""

import math

import numpy as np
import pytest

from keel.stats.metrics.paired import Clusters, uncertainty
from keel.stats.sequential.day_clusters import HourlyArmLosses

ALPHA = 0.05


def world(days, per_day, *, own=0.0, gain=0.0, seed=0):
    rng = np.random.default_rng(seed)
    n = days * per_day
    times = np.datetime64("2026-01-01", "us") + (np.arange(n) * (86_400e6 / per_day)).astype("timedelta64[us]")
    day = np.arange(n) // per_day
    arm = rng.random(n) < 0.5
    loss = 0.5 + 0.1 * rng.standard_normal(n) - arm * (gain + own * rng.standard_normal(days)[day])
    return times, np.stack([~arm, arm]).astype(float), np.stack([loss, loss]), arm, loss


def test_difference_is_that_of_weighted_means():
    times, weights, losses, arm, loss = world(12, 100, gain=0.05)
    found = HourlyArmLosses(times, weights, losses).difference(len(loss), alpha=ALPHA)
    assert found.improvement == pytest.approx(loss[~arm].mean() - loss[arm].mean())
    assert (found.unit, found.clusters) == ("day", 12)
    weighted = HourlyArmLosses(times, weights * [[2.0], [5.0]], losses).difference(len(loss), alpha=ALPHA)
    assert (weighted.improvement, weighted.width) == pytest.approx((found.improvement, found.width))


def test_difference_has_the_clustered_error_of_all_rows():
    times, weights, losses, arm, loss = world(12, 100, own=0.05)
    contributions = np.where(arm, -(loss - loss[arm].mean()) / arm.sum(), (loss - loss[~arm].mean()) / (~arm).sum())
    known = uncertainty(contributions, Clusters.of(times)).clustered_error
    found = HourlyArmLosses(times, weights, losses).difference(len(loss), alpha=ALPHA)
    assert 3 * known < found.width < 4 * known


def test_difference_in_shadow_mode_is_paired_by_row():
    times, _, _, _, loss = world(12, 100)
    weather = np.repeat(np.random.default_rng(1).standard_normal(12), 100)
    found = HourlyArmLosses(times, np.ones((2, 1_200)), np.stack([loss + weather, loss + weather - 0.01]))
    result = found.difference(1_200, alpha=ALPHA)
    assert result.improvement == pytest.approx(0.01)
    assert result.width == pytest.approx(0, abs=1e-9)


def test_difference_of_rows_in_portions_equals_that_of_all_rows():
    times, weights, losses, _, loss = world(15, 60, own=0.05)
    whole = HourlyArmLosses(times, weights, losses).difference(len(loss), alpha=ALPHA)
    portions = HourlyArmLosses(times, weights, losses)
    for n in (0, 1, 100, 100, 531):
        portions.difference(n, alpha=ALPHA)
    last = portions.difference(len(loss), alpha=ALPHA)
    assert (last.improvement, last.width) == pytest.approx((whole.improvement, whole.width))


def test_difference_after_n_rows_ignores_later_rows():
    times, weights, losses, _, loss = world(15, 60, own=0.05)
    early = HourlyArmLosses(times[:600], weights[:, :600], losses[:, :600]).difference(600, alpha=ALPHA)
    found = HourlyArmLosses(times, weights, losses).difference(600, alpha=ALPHA)
    assert (found.improvement, found.width) == pytest.approx((early.improvement, early.width))


@pytest.mark.parametrize(
    ("days", "per_day", "unit"), [(10, 50, "day"), (9, 50, "6 h"), (2, 100, "hour"), (1, 4, "row")]
)
def test_difference_uses_shorter_clusters_while_days_are_few(days, per_day, unit):
    times, weights, losses, _, loss = world(days, per_day, seed=3)
    found = HourlyArmLosses(times, weights, losses).difference(len(loss), alpha=ALPHA)
    assert found.unit == unit
    assert math.isinf(found.width) == (unit == "row")


def test_difference_of_an_arm_without_rows_is_undefined():
    times, weights, losses, _, loss = world(10, 10)
    found = HourlyArmLosses(times, weights * [[1.0], [0.0]], losses).difference(100, alpha=ALPHA)
    assert math.isnan(found.improvement)
    assert math.isinf(found.width)
    assert math.isinf(HourlyArmLosses(times[:0], weights[:, :0], losses[:, :0]).difference(0, alpha=ALPHA).width)


@pytest.mark.slow
def test_difference_on_varying_days_keeps_its_level_at_any_number_of_evaluations():
    """With the error of independent rows, two in three would be shown."""
    shown, by_rows, repetitions = 0, 0, 150
    for seed in range(repetitions):
        times, weights, losses, arm, loss = world(40, 48, own=0.05, seed=seed)
        sums, ever, naive = HourlyArmLosses(times, weights, losses), False, False
        for n in range(48 * 10, len(loss) + 1, 48):
            found = sums.difference(n, alpha=ALPHA)
            ever |= found.improvement > found.width
            error = math.sqrt(loss[:n][arm[:n]].var() / arm[:n].sum() + loss[:n][~arm[:n]].var() / (~arm[:n]).sum())
            naive |= found.improvement > 1.645 * error
        shown, by_rows = shown + ever, by_rows + naive
    assert shown / repetitions <= ALPHA + 3.1 * math.sqrt(ALPHA * (1 - ALPHA) / repetitions)
    assert by_rows / repetitions > 0.3


def test_difference_on_every_day_is_shown():
    times, weights, losses, _, loss = world(12, 200, own=0.02, gain=0.05)
    found = HourlyArmLosses(times, weights, losses).difference(len(loss), alpha=ALPHA)
    assert found.improvement - found.width > 0
