"""Bounds of a difference between two arms, and the test of their split, hold at any time."""

import math

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import binom

from keel.stats.sequential.confidence_sequences import IPWDifferences, half_width, mixture_variance, running
from keel.stats.sequential.sample_ratio import log_ratio_mismatch

ALPHA = 0.05
ROWS = np.arange(3_000)
ARM = (ROWS * 7_919) % 1_000 < 300
LOSS = ((ROWS * 104_729) % 997 < 150).astype(float)
RAMP = np.repeat([0.05, 0.2, 0.5], 1_000)
RAMPED = (ROWS * 7_919) % 1_000 / 1_000 < RAMP
AT = [99, 999, 2_999]


def at_most(level, repetitions):
    """Return the bound that a share of ``level`` stays below with probability 0.999."""
    return binom.ppf(0.999, repetitions, level) / repetitions


@pytest.mark.parametrize(
    ("arm", "share", "margin", "worse", "expected"),
    [
        (ARM, 0.3, 0.0, False, [-0.380210, -0.668927, -0.744283]),
        (ARM, 0.3, 0.02, False, [-0.412883, -0.794305, -1.009475]),
        (ARM, 0.3, 0.0, True, [-0.223295, -0.411046, -0.647604]),
        (RAMPED, RAMP, 0.0, False, [-0.044051, -0.406937, -0.631910]),
    ],
)
def test_ipw_log_e_value_agrees_with_an_implementation_by_batches(arm, share, margin, worse, expected):
    shares = np.broadcast_to(share, ROWS.shape)
    differences = IPWDifferences.of(LOSS, arm, shares, centre=0.5)
    assert differences.log_e_value(margin, worse=worse).path[AT] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("one_sided", "expected"), [(True, [0.0795154, 0.0402846]), (False, [0.0848494, 0.0438374])], ids=["one", "two"]
)
def test_half_width_agrees_with_an_implementation_by_batches(one_sided, expected):
    found = half_width([0.0252236, 0.014322], [1_000, 3_000], alpha=ALPHA, one_sided=one_sided)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.3, [-0.198482, -0.897186, -1.387764]), (0.35, [-0.075989, 3.806519, 14.458342])]
)
def test_log_ratio_mismatch_agrees_with_an_implementation_by_batches(share, expected):
    assert log_ratio_mismatch(ARM, share)[AT] == pytest.approx(expected, abs=1e-6)


def test_log_ratio_mismatch_is_the_likelihood_ratio_and_of_stages_the_product():
    k = np.cumsum(ARM)[-1]
    a, b, n = 200 * 0.3, 200 * 0.7, len(ARM)
    whole = betaln(a + k, b + n - k) - betaln(a, b) - k * math.log(0.3) - (n - k) * math.log(0.7)
    assert log_ratio_mismatch(ARM, 0.3)[-1] == pytest.approx(whole)
    parts = [log_ratio_mismatch(RAMPED[share == RAMP], share)[-1] for share in (0.05, 0.2, 0.5)]
    assert log_ratio_mismatch(RAMPED, RAMP)[-1] == pytest.approx(sum(parts))
    shuffled = np.random.default_rng(0).permutation(len(ROWS))
    assert log_ratio_mismatch(RAMPED[shuffled], RAMP[shuffled])[-1] == pytest.approx(sum(parts))
    kept_by_arm = np.where(RAMPED, RAMP, 1 - (1 - RAMP))
    assert log_ratio_mismatch(RAMPED, kept_by_arm) == pytest.approx(log_ratio_mismatch(RAMPED, RAMP))


@pytest.mark.parametrize("share", [0.0, 1.0, np.nan, -0.1])
def test_log_ratio_mismatch_rejects_an_invalid_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        log_ratio_mismatch([True], share)


def test_many_streams_at_once_equal_the_streams_one_by_one():
    rng = np.random.default_rng(0)
    arms, losses = rng.random((3, 500)) < RAMP[::6], rng.random((3, 500))
    together = running(losses, arms)
    differences = IPWDifferences.of(losses, arms, RAMP[::6], centre=0.3)
    for i in range(3):
        alone = running(losses[i], arms[i])
        assert together.improvement[i] == pytest.approx(alone.improvement, nan_ok=True)
        assert together.standard_error[i] == pytest.approx(alone.standard_error, nan_ok=True)
        one = IPWDifferences.of(losses[i], arms[i], RAMP[::6], centre=0.3)
        assert differences.log_e_value().path[i] == pytest.approx(one.log_e_value().path)
        assert log_ratio_mismatch(arms, RAMP[::6])[i] == pytest.approx(log_ratio_mismatch(arms[i], RAMP[::6]))


def test_running_difference_has_the_larger_of_two_errors():
    found = running(LOSS, ARM)
    for n in (50, 1_000, 3_000):
        arm, loss = ARM[:n], LOSS[:n]
        means = [loss[~arm].mean(), loss[arm].mean()]
        welch = loss[arm].var(ddof=1) / arm.sum() + loss[~arm].var(ddof=1) / (~arm).sum()
        pooled = loss.var(ddof=1) * (1 / arm.sum() + 1 / (~arm).sum())
        assert found.improvement[n - 1] == pytest.approx(means[0] - means[1])
        assert found.standard_error[n - 1] == pytest.approx(math.sqrt(max(welch, pooled)))


def test_running_difference_without_rows_or_with_one_row_is_undefined():
    found = running([0.1, 0.2, 0.3, 0.4], [False, False, True, True])
    assert np.isnan(found.improvement).tolist() == [True, True, False, False]
    assert np.isnan(found.standard_error).tolist() == [True, True, True, False]
    assert np.isnan(half_width(found.standard_error, [1, 2, 3, 4], alpha=ALPHA, one_sided=True)[:3]).all()


@pytest.mark.parametrize("share", [0.5, 0.05, 0.9])
@pytest.mark.parametrize("centre", [0.0, 0.15, 1.0])
def test_ipw_differences_are_unbiased_and_bounded_for_every_centre(share, centre):
    for loss_champion, loss_challenger in ((0.2, 0.7), (1.0, 0.0), (0.0, 1.0)):
        chosen = IPWDifferences.of([loss_challenger, loss_champion], [True, False], [share, share], centre=centre)
        mean = share * chosen.values[0] + (1 - share) * chosen.values[1]
        assert mean == pytest.approx(loss_champion - loss_challenger)
        assert (chosen.values >= chosen.lowest - 1e-12).all()
        assert (chosen.values <= chosen.highest + 1e-12).all()


def test_ipw_log_e_value_never_loses_all_wealth():
    worst = IPWDifferences.of(np.ones(5_000), np.full(5_000, True), np.full(5_000, 0.01), centre=0.0)
    assert np.isfinite(worst.log_e_value().path).all()
    assert worst.log_e_value(worse=True).path[-1] > 100


@pytest.mark.parametrize(("margin", "worse"), [(-3.0, False), (3.0, True)])
def test_ipw_log_e_value_rejects_an_impossible_margin(margin, worse):
    with pytest.raises(ValueError, match="larger than losses"):
        IPWDifferences.of([0.5], [True], [0.5], centre=0.5).log_e_value(margin, worse=worse)


def test_ipw_bounds_are_the_largest_rejected_margins():
    rng = np.random.default_rng(1)
    arm = rng.random(4_000) < 0.1
    differences = IPWDifferences.of(
        (rng.random(4_000) < np.where(arm, 0.1, 0.3)).astype(float), arm, np.full(4_000, 0.1), centre=0.3
    )
    lower, upper = differences.bound(alpha=ALPHA), differences.bound(alpha=ALPHA, worse=True)
    assert 0 < lower < 0.2 < upper < 0.4
    needed = -math.log(ALPHA)
    assert differences.log_e_value(lower).path[-1] >= needed > differences.log_e_value(lower + 1e-3).path[-1]
    assert differences.log_e_value(upper, worse=True).path[-1] >= needed
    assert differences.log_e_value(upper - 1e-3, worse=True).path[-1] < needed
    nothing = IPWDifferences.of([0.5], [True], [0.5], centre=0.5)
    assert nothing.bound(alpha=ALPHA) == -nothing.bound(alpha=ALPHA, worse=True) < -0.99


def test_half_width_is_narrowest_at_the_tuned_number_of_rows():
    def width(n, tightest_at):
        return half_width(1.0, n, alpha=ALPHA, one_sided=False, tightest_at=tightest_at)

    for n in (500, 5_000, 50_000):
        assert width(n, n) <= min(width(n, n / 3), width(n, 3 * n))
    assert mixture_variance(0.05) == pytest.approx(0.00158723, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("rate", [0.005, 0.15])
def test_confidence_sequence_on_equal_arms_keeps_its_level_with_rare_errors(rate, share):
    """With Welch's error alone, rare errors and a share of .2 have a level of .16, not .05."""
    rng, n, repetitions = np.random.default_rng(2), 3_000, 400
    arm, loss = rng.random((repetitions, n)) < share, (rng.random((repetitions, n)) < rate).astype(float)
    found = running(loss, arm)
    width = half_width(found.standard_error, np.arange(1, n + 1), alpha=ALPHA, one_sided=True)
    for shown in (found.improvement - width > 0, found.improvement + width < 0):
        assert shown[:, 999:].any(axis=1).mean() <= at_most(ALPHA, repetitions)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.05, RAMP[::2]], ids=["half", "canary", "ramp"])
def test_ipw_log_e_value_on_equal_arms_keeps_its_level(share):
    rng, n, repetitions = np.random.default_rng(3), 1_500, 500
    shares = np.broadcast_to(share, n)
    arm, loss = rng.random((repetitions, n)) < shares, (rng.random((repetitions, n)) < 0.15).astype(float)
    differences = IPWDifferences.of(loss, arm, shares, centre=0.15)
    for worse in (False, True):
        won = (differences.log_e_value(worse=worse).path >= -math.log(ALPHA)).any(axis=1).mean()
        assert 0 < won <= at_most(ALPHA, repetitions)


@pytest.mark.slow
def test_log_ratio_mismatch_keeps_its_level_and_finds_a_wrong_split():
    rng, n, repetitions = np.random.default_rng(4), 3_000, 1_000
    shares = RAMP
    right = log_ratio_mismatch(rng.random((repetitions, n)) < shares, shares)
    assert 0 < (right >= -math.log(ALPHA)).any(axis=1).mean() <= at_most(ALPHA, repetitions)
    assert (right >= math.log(1_000)).any(axis=1).mean() <= at_most(0.001, repetitions)
    wrong = log_ratio_mismatch(rng.random((200, n)) < 0.55, 0.5)
    assert (wrong >= math.log(1_000)).any(axis=1).mean() > 0.85
