"""χ², rates and the false discovery rate against scipy and against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency, false_discovery_control, fisher_exact, hypergeom

from keel.stats.drift.cells import pool_small
from keel.stats.drift.chi_square import chi_square, chi_square_statistic
from keel.stats.drift.fdr import benjamini_hochberg
from keel.stats.drift.impact import impact
from keel.stats.drift.rates import beyond_range_p_value, rate_increase_p_value


def draws() -> np.random.Generator:
    return np.random.default_rng(0)


def test_chi_square_agrees_with_scipy() -> None:
    rng = draws()
    for cells in (2, 5, 30):
        r, c = rng.integers(50, 500, cells), rng.integers(50, 500, cells)
        expected = chi2_contingency([r, c], correction=False)
        statistic, p_value, used = chi_square(r, c, rng=rng, resamples=9)
        assert statistic == pytest.approx(expected.statistic, rel=1e-9)
        assert p_value == pytest.approx(expected.pvalue, rel=1e-9)
        assert used == cells


def test_pool_small_keeps_the_rows_and_every_expectation_at_five() -> None:
    rng = draws()
    for _ in range(200):
        r, c = rng.poisson(rng.exponential(30, 20)), rng.poisson(rng.exponential(5, 20))
        if not (r.sum() and c.sum()):
            continue
        a, b, _ = pool_small(r, c)
        assert (a.sum(), b.sum()) == (r.sum(), c.sum())
        if len(a) > 1:
            expected = (a + b) * min(a.sum(), b.sum()) / (a.sum() + b.sum())
            assert expected.min() >= 5 - 1e-9


@pytest.mark.slow
def test_chi_square_of_small_tables_is_simulated_and_keeps_its_level() -> None:
    rng = draws()
    rejected = 0
    for _ in range(500):
        r = np.append(rng.multinomial(2000, [0.99, 0.01]), 0)
        c = np.append(rng.multinomial(100, [0.99, 0.01]), 0)
        statistic, p_value, _ = chi_square(r, c, rng=rng, resamples=199)
        assert p_value >= 1 / 200
        rejected += p_value <= 0.05
    assert rejected / 500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)
    _, p_value, _ = chi_square([1980, 20, 0], [88, 12, 0], rng=rng, resamples=999)
    assert p_value == 0.001


def test_chi_square_of_a_single_category_is_zero() -> None:
    assert chi_square([100, 0], [50, 0], rng=draws(), resamples=9) == (0.0, 1.0, 1)
    assert chi_square_statistic([5, 5], [50, 50]) == 0.0


@pytest.mark.parametrize(("k_r", "n_r", "k", "n"), itertools.product([0, 1, 30], [40, 500], [0, 1, 5, 20], [20, 300]))
def test_rate_increase_agrees_with_fishers_exact_test(k_r: int, n_r: int, k: int, n: int) -> None:
    exact = fisher_exact([[k, n - k], [k_r, n_r - k_r]], alternative="greater").pvalue
    assert rate_increase_p_value(k_r, n_r, k, n) == pytest.approx(exact, rel=1e-7)


def test_rate_increase_of_large_counts_agrees_with_the_hypergeometric_law() -> None:
    exact = hypergeom.sf(10_500 - 1, 1_100_000, 110_500, 100_000)
    assert rate_increase_p_value(100_000, 1_000_000, 10_500, 100_000) == pytest.approx(exact, rel=1e-5)
    assert rate_increase_p_value(100_000, 1_000_000, 9_000, 100_000) == pytest.approx(1.0)
    assert rate_increase_p_value(0, 100_000, 50_000, 100_000) == 0.0


def test_beyond_range_agrees_with_the_law_of_exceedances() -> None:
    # All orders of two old and three new values: how many new ones lie outside the old ones' range.
    orders = set(itertools.permutations("rrccc"))
    for beyond in range(4):
        outside = [
            sum(1 for i, who in enumerate(o) if who == "c" and (i < o.index("r") or i > 4 - o[::-1].index("r")))
            for o in orders
        ]
        expected = sum(count >= beyond for count in outside) / len(orders)
        assert beyond_range_p_value(2, beyond, 3) == pytest.approx(expected)


@pytest.mark.slow
def test_beyond_range_without_change_keeps_its_level() -> None:
    rng = draws()
    rejected = 0
    for _ in range(2000):
        r, c = rng.normal(size=50), rng.normal(size=200)
        rejected += beyond_range_p_value(50, int(np.sum((c < r.min()) | (c > r.max()))), 200) <= 0.05
    assert 0.02 <= rejected / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    rng = draws()
    for size in (1, 2, 50):
        p = rng.random(size) ** 3
        assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))
    assert benjamini_hochberg([]).tolist() == []


def test_impact_equals_the_change_of_the_mean_loss_under_the_same_losses() -> None:
    rng = draws()
    r, c, loss = rng.integers(0, 100, 20), rng.integers(0, 100, 20), rng.random(20)
    before, after = np.average(loss, weights=r), np.average(loss, weights=c)
    assert impact(r, c, loss) == pytest.approx(after - before)
