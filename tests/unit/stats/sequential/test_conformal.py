"""Ranks in contexts are those of a literal computation, uniform without a change, and the same for any paging."""

import numpy as np
import pytest
from scipy.stats import kstest

from keel.stats.sequential.conformal import BETS, LOCATION_BETS, SCALE_BETS, ConformalRanks, log_bets

COLUMNS, CONTEXTS, BINS = 3, 4, 9


def stream(rows, seed=0, columns=COLUMNS, contexts=CONTEXTS, bins=BINS):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, bins, (columns, rows)).astype(np.int8),
        rng.integers(0, contexts, rows),
        rng.random((columns, rows)),
    )


def reference(seed=1):
    return np.random.default_rng(seed).integers(0, 6, (COLUMNS, CONTEXTS, BINS))


def literal_p_values(counts, bins, contexts, uniforms):
    """Return p-values one by one, from the list of all rows so far."""
    found = np.empty(bins.shape)
    for column, own in enumerate(counts):
        seen = {context: np.repeat(np.arange(len(bag)), bag).tolist() for context, bag in enumerate(own)}
        for row, (bin_, context) in enumerate(zip(bins[column], contexts, strict=True)):
            earlier = seen[context]
            earlier.append(bin_)
            greater, equal = sum(other > bin_ for other in earlier), earlier.count(bin_)
            found[column, row] = (greater + uniforms[column, row] * equal) / len(earlier)
    return found


@pytest.mark.parametrize("rows", [1, 100, 600])
def test_p_values_equal_those_of_a_literal_computation(rows):
    given = stream(rows)
    ranks = ConformalRanks(reference())
    assert ranks.p_values(*given).tolist() == literal_p_values(reference(), *given).tolist()
    expected = reference()
    for column, bins in enumerate(given[0]):
        np.add.at(expected, (column, given[1], bins), 1)
    assert ranks.counts.tolist() == expected.tolist()


def test_p_values_from_empty_counts_equal_those_of_a_literal_computation():
    empty, given = np.zeros((COLUMNS, CONTEXTS, BINS), dtype=int), stream(300)
    assert ConformalRanks(empty).p_values(*given).tolist() == literal_p_values(empty, *given).tolist()


@pytest.mark.parametrize("columns", [1, 2, 50])
@pytest.mark.parametrize("block_size", [1, 7, 100, 300])
def test_log_factors_of_a_page_have_the_bits_of_its_blocks_one_by_one(columns, block_size):
    counts = np.random.default_rng(2).integers(0, 50, (columns, CONTEXTS, 20))
    bins, contexts, uniforms = stream(5 * block_size, columns=columns, bins=20)
    page, single = ConformalRanks(counts), ConformalRanks(counts)
    together = page.log_factors(bins, contexts, uniforms, block_size=block_size)
    for block in range(5):
        rows = slice(block * block_size, (block + 1) * block_size)
        single = ConformalRanks(single.counts)  # saved and restored before each block
        alone = single.log_factors(bins[:, rows], contexts[rows], uniforms[:, rows], block_size=block_size)
        assert alone[0].tobytes() == together[block].tobytes()
    assert single.counts.tolist() == page.counts.tolist()


def test_log_bets_of_many_rows_are_the_sums_of_each_factors_logarithm():
    p = np.random.default_rng(3).random((2, 1_000))
    location = np.log1p(LOCATION_BETS[:, None, None] * (p - 0.5)).sum(axis=2)
    scale = np.log1p(SCALE_BETS[:, None, None] * ((p - 0.5) ** 2 - 1 / 12)).sum(axis=2)
    assert log_bets(p) == pytest.approx(np.concatenate([location, scale]).T, rel=1e-9)


@pytest.mark.parametrize("extreme", [0.0, 0.5, 1.0])
def test_log_bets_of_a_long_block_of_extreme_ranks_are_finite(extreme):
    assert np.isfinite(log_bets(np.full((1, 5_000), extreme))).all()


def test_each_bet_has_an_expected_factor_of_one_for_a_uniform_p_value():
    grid = (np.arange(200_000) + 0.5) / 200_000
    factors = np.exp([log_bets(p[None, None])[0] for p in grid[::200]])
    assert factors.mean(axis=0) == pytest.approx(np.ones(BETS), abs=5e-3)
    assert factors.min() > 0.1
    assert factors.max() < 1.9


def test_p_values_of_a_cycle_are_uniform_with_contexts_and_not_without():
    rng = np.random.default_rng(4)
    hours = np.arange(24_000) // 100 % 24
    values = rng.standard_normal(24_000) + np.sin(2 * np.pi * hours / 24)
    bins = np.searchsorted(np.linspace(-2, 2, 19), values)[None]
    uniforms = rng.random((1, 24_000))
    split = ConformalRanks(np.zeros((1, 24, 20))).p_values(bins, hours, uniforms)[0]
    whole = ConformalRanks(np.zeros((1, 1, 20))).p_values(bins, np.zeros_like(hours), uniforms)[0]
    assert kstest(split, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(split[:-1], split[1:])[0, 1]) < 0.02
    assert np.corrcoef(whole[:-1], whole[1:])[0, 1] > 0.1


def test_restart_of_a_column_empties_it_and_leaves_the_others():
    ranks, given = ConformalRanks(reference()), stream(50)
    ranks.restart(1)
    expected = reference()
    expected[1] = 0
    assert ranks.counts.tolist() == expected.tolist()
    ranks.restart(1, reference()[2])
    expected[1] = reference()[2]
    assert ranks.counts.tolist() == expected.tolist()
    assert ranks.p_values(*given).tolist() == literal_p_values(expected, *given).tolist()


def test_a_constant_column_after_a_restart_has_uniform_p_values():
    uniforms = np.random.default_rng(5).random((1, 2_000))
    found = ConformalRanks(np.zeros((1, 1, BINS))).p_values(
        np.zeros((1, 2_000), dtype=int), np.zeros(2_000, dtype=int), uniforms
    )
    assert found == pytest.approx(uniforms)


@pytest.mark.parametrize(
    ("bins", "contexts", "uniforms", "message"),
    [
        ([[0, 9]], [0, 0], [[0.5, 0.5]], "bins must be from 0 to 8"),
        ([[0, -1]], [0, 0], [[0.5, 0.5]], "bins must be from 0 to 8"),
        ([[0, 1]], [0, 2], [[0.5, 0.5]], "contexts from 0 to 1"),
        ([[0, 1]], [0, -1], [[0.5, 0.5]], "contexts from 0 to 1"),
        ([[0.0, 1.0]], [0, 0], [[0.5, 0.5]], "must be integers, not float64 and int"),
        ([[0, 1]], [0], [[0.5, 0.5]], r"must have the shape \(1, rows\)"),
        ([[0, 1]], [0, 1], [[0.5]], r"must have the shape \(1, rows\)"),
        ([[0, 1], [0, 1]], [0, 1], [[0.5, 0.5]] * 2, r"must have the shape \(1, rows\)"),
        ([[0, 1]], [0, 1], [[0.5, 1.5]], "uniforms must be"),
        ([[0, 1]], [0, 1], [[0.5, np.nan]], "uniforms must be"),
    ],
)
def test_p_values_of_invalid_rows_are_refused_and_nothing_is_counted(bins, contexts, uniforms, message):
    ranks = ConformalRanks(np.ones((1, 2, BINS)))
    with pytest.raises(ValueError, match=message):
        ranks.p_values(bins, contexts, uniforms)
    assert ranks.counts.tolist() == np.ones((1, 2, BINS)).tolist()


def test_log_factors_of_a_part_of_a_block_are_refused_and_nothing_is_counted():
    ranks = ConformalRanks(reference())
    with pytest.raises(ValueError, match="50 rows are not a whole number of blocks of 100"):
        ranks.log_factors(*stream(50), block_size=100)
    assert ranks.counts.tolist() == reference().tolist()


@pytest.mark.parametrize("counts", [[[1.0]], [[[-1.0]]], [[[0.5]]], [[[np.nan]]], np.ones((1, 0, 3))])
def test_invalid_counts_are_refused(counts):
    with pytest.raises(ValueError, match="whole numbers from 0"):
        ConformalRanks(counts)


def test_restart_with_counts_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"must have the shape \(4, 9\)"):
        ConformalRanks(reference()).restart(0, np.ones((4, 8)))
