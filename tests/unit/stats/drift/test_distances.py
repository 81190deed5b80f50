"""KS, PSI, Jensen–Shannon and Wasserstein against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import kstwobign

from keel.stats.drift.cells import merge_cells
from keel.stats.drift.jensen_shannon import jensen_shannon
from keel.stats.drift.ks import is_small, ks_monte_carlo, ks_p_value, ks_statistic
from keel.stats.drift.psi import decile_starts, psi, psi_excess
from keel.stats.drift.wasserstein import wasserstein

counts = st.lists(st.integers(0, 50), min_size=2, max_size=30).filter(lambda cells: sum(cells) > 0)


def pairs(draw_counts: st.SearchStrategy[list[int]]) -> st.SearchStrategy[tuple[list[int], list[int]]]:
    return draw_counts.flatmap(
        lambda a: st.tuples(
            st.just(a), st.lists(st.integers(0, 50), min_size=len(a), max_size=len(a)).filter(lambda b: sum(b) > 0)
        )
    )


@settings(deadline=None, derandomize=True)
@given(pair=pairs(counts))
def test_every_distance_is_zero_of_itself_symmetric_and_bounded(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    assert ks_statistic(a, a) == jensen_shannon(a, a) == psi(a, a) == 0
    assert ks_statistic(a, [3 * count for count in a]) == 0
    assert ks_statistic(a, b) == pytest.approx(ks_statistic(b, a))
    assert jensen_shannon(a, b) == pytest.approx(jensen_shannon(b, a))
    assert psi(a, b) == pytest.approx(psi(b, a))
    assert 0 <= ks_statistic(a, b) <= 1
    assert 0 <= jensen_shannon(a, b) <= 1
    assert psi(a, b) >= 0


def test_ks_agrees_with_golden_values_and_its_law() -> None:
    assert ks_statistic([0, 5, 0, 5, 0], [0, 1, 0, 3, 0]) == pytest.approx(0.25)
    assert ks_p_value(0.05, 4000, 1000) == pytest.approx(kstwobign.sf(0.05 * math.sqrt(800)))
    assert ks_p_value(0.0, 10, 10) == 1.0


@pytest.mark.slow
def test_ks_monte_carlo_without_a_change_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        reference = np.bincount(rng.integers(0, 3, 300), minlength=3)
        current = np.bincount(rng.integers(0, 3, 60), minlength=3)
        p_values.append(ks_monte_carlo(reference, current, rng=rng, resamples=199))
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(p_values) <= level)
        assert share <= level + 3 * math.sqrt(level * (1 - level) / 400)
        assert share >= level / 2, "so cautious that it is not the law of this statistic"


def test_ks_monte_carlo_on_ties_finds_a_change_that_the_asymptotic_law_misses() -> None:
    reference, current = np.array([950, 50]), np.array([86, 14])
    statistic = ks_statistic(reference, current)
    assert ks_p_value(statistic, 1000, 100) > 0.3
    assert ks_monte_carlo(reference, current, rng=np.random.default_rng(0), resamples=1999) < 0.01


def test_is_small_holds_for_small_discrete_windows_only() -> None:
    assert is_small([900, 100], [50, 50])
    assert not is_small([900, 100], [500, 500])
    assert not is_small(np.ones(100), np.ones(100))


def test_psi_agrees_with_golden_values() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    expected = float(np.sum((q - p) * np.log(q / p)))
    assert psi(1e9 * p, 1e9 * q) == pytest.approx(expected)
    with_prior = [(50.5 / 101, 40.5 / 101), (50.5 / 101, 60.5 / 101)]
    assert psi([50, 50], [40, 60]) == pytest.approx(sum((q - p) * math.log(q / p) for p, q in with_prior))


def test_psi_excess_is_zero_on_average_without_change() -> None:
    rng = np.random.default_rng(0)
    excess = []
    for _ in range(400):
        reference, current = rng.multinomial(5000, [0.1] * 10), rng.multinomial(500, [0.1] * 10)
        excess.append(psi_excess(psi(reference, current), reference, current))
    assert abs(np.mean(excess)) < 4 * np.std(excess) / math.sqrt(400) + 1e-4
    assert np.mean(excess) < 0.1 * 9 * (1 / 5000 + 1 / 500)


def test_psi_skips_cells_empty_on_both_sides() -> None:
    assert psi([10, 0, 20], [20, 0, 10]) == psi([10, 20], [20, 10])
    assert psi_excess(0.0, [10, 0, 20], [20, 0, 10]) == psi_excess(0.0, [10, 20], [20, 10])


@settings(deadline=None, derandomize=True)
@given(
    reference=st.lists(st.one_of(st.just(0), st.integers(0, 100)), min_size=1, max_size=200).filter(
        lambda c: sum(c) > 0
    )
)
def test_decile_starts_cover_every_cell_once_with_no_heavy_bin(reference: list[int]) -> None:
    starts = decile_starts(reference)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    binned = merge_cells(reference, starts)
    assert binned.sum() == sum(reference)
    assert len(starts) <= 31
    for start, stop, count in zip(starts, [*starts[1:], len(reference)], binned, strict=True):
        lone = stop - start == 1
        assert lone or count <= 0.25 * sum(reference) + 1e-9


def test_decile_starts_of_a_continuous_reference_are_ten_equal_bins() -> None:
    binned = merge_cells(np.ones(2049, dtype=int), decile_starts(np.ones(2049, dtype=int)))
    assert len(binned) == 10
    assert binned.max() - binned.min() <= 1


def test_jensen_shannon_agrees_with_scipy_in_base_two() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 20, 12), rng.integers(0, 20, 12)
        assert jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2))
        assert jensen_shannon(a, b) != pytest.approx(jensenshannon(a, b), rel=0.1)


def test_wasserstein_integrates_straight_lines_across_zero() -> None:
    knots = np.array([0.0, 1.0])
    # F_r − F runs from +.25 to −.25 over the gap: two triangles of area .0625, not the .25 of the larger side.
    assert wasserstein([0, 50, 0, 50, 0], [0, 25, 50, 25, 0], knots, scale=1.0) == pytest.approx(0.125)
    assert wasserstein([0, 50, 0, 50, 0], [0, 25, 0, 75, 0], knots, scale=0.5) == pytest.approx(0.5)
    assert wasserstein([0, 1, 0], [0, 0, 1], np.array([0.0]), scale=1.0, overshoot=3.0) == 3.0
    assert wasserstein([0, 1, 0], [0, 0, 1], np.array([0.0]), scale=0.0) is None
    assert wasserstein([0, 1, 0, 1, 0], [0, 0, 0, 2, 0], np.array([-1.7e308, 1.7e308]), scale=1e-300) is None
