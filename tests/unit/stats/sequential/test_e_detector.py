"""The detector's sums are those of the definition, it keeps its bound, and it continues exactly from its state."""

import math

import numpy as np
import pytest

from keel.stats.sequential.e_detector import EDetector

MONITORS, NUMBER_OF_BETS = 3, 4


def log_factors(blocks, seed=0, scale=1.0):
    """Return factors with an expected value of 1."""
    normal = np.random.default_rng(seed).standard_normal((blocks, MONITORS, NUMBER_OF_BETS))
    return scale * normal - scale**2 / 2


def literal_evidence(factors):
    """Return the mean over bets of the sum over starts of the product of factors from there, in logarithms."""
    sums = [np.exp(factors[start:].sum(axis=0)) for start in range(len(factors))]
    return np.log(np.mean(np.sum(sums, axis=0), axis=-1))


def literal_start(factors):
    """Return the start from which one bet has gained most, of the bet that has gained most."""
    gains = np.array([factors[start:].sum(axis=0) for start in range(len(factors))])
    return [int(np.argmax(gains[:, monitor].max(axis=1))) for monitor in range(gains.shape[1])]


def test_evidence_and_start_are_those_of_the_definition():
    factors = log_factors(30)
    found = EDetector.fresh(MONITORS, NUMBER_OF_BETS).update(factors)
    for block in range(30):
        assert found.evidence[block] == pytest.approx(literal_evidence(factors[: block + 1]))
        assert found.began[block].tolist() == literal_start(factors[: block + 1])


def test_a_page_has_the_bits_of_its_blocks_one_by_one_with_the_state_saved_between_them():
    factors = log_factors(25)
    page = EDetector.fresh(MONITORS, NUMBER_OF_BETS)
    together = page.update(factors)
    state = EDetector.fresh(MONITORS, NUMBER_OF_BETS)
    for block in range(25):
        state = EDetector(state.log_sums, state.log_runs, state.began, state.blocks)
        alone = state.update(factors[block : block + 1])
        assert alone.evidence[0].tobytes() == together.evidence[block].tobytes()
        assert alone.began[0].tolist() == together.began[block].tolist()
        assert state.evidence().tobytes() == together.evidence[block].tobytes()
    assert state.log_sums.tobytes() == page.log_sums.tobytes()
    assert state.blocks == page.blocks == 25


def test_an_empty_page_changes_nothing():
    detector = EDetector.fresh(MONITORS, NUMBER_OF_BETS)
    detector.update(log_factors(2))
    before = detector.log_sums.copy()
    assert detector.update(np.empty((0, MONITORS, NUMBER_OF_BETS))).evidence.shape == (0, MONITORS)
    assert detector.log_sums.tolist() == before.tolist()
    assert detector.blocks == 2


def test_false_alarms_stay_within_the_bound():
    repetitions, blocks, threshold = 4_000, 200, 2_000.0
    normal = np.random.default_rng(1).standard_normal((blocks, repetitions, 1))
    slopes = np.array([-0.4, 0.4])
    found = EDetector.fresh(repetitions, 2).update(slopes * normal - slopes**2 / 2)
    share = (found.evidence >= math.log(threshold)).any(axis=0).mean()
    bound = blocks / threshold
    assert 0 < share <= bound + 3.1 * math.sqrt(bound * (1 - bound) / repetitions)


def test_the_estimated_start_is_near_the_change():
    factors = np.concatenate([log_factors(300), log_factors(30, seed=2) + 2])
    began = EDetector.fresh(MONITORS, NUMBER_OF_BETS).update(factors).began[-1]
    assert (np.abs(began - 300) <= 5).all()


def test_restart_of_one_monitor_forgets_its_evidence_and_keeps_the_count_of_blocks():
    detector, factors = EDetector.fresh(MONITORS, NUMBER_OF_BETS), log_factors(40)
    untouched = EDetector.fresh(MONITORS, NUMBER_OF_BETS).update(factors)
    detector.update(factors[:30])
    detector.restart(1)
    assert detector.evidence()[1] == -np.inf
    assert detector.estimated_starts()[1] == 30
    after = detector.update(factors[30:])
    assert after.evidence[:, 1] == pytest.approx(
        EDetector.fresh(MONITORS, NUMBER_OF_BETS).update(factors[30:]).evidence[:, 1]
    )
    assert (after.began[:, 1] >= 30).all()
    assert after.evidence[:, [0, 2]].tobytes() == untouched.evidence[30:, [0, 2]].tobytes()


def test_evidence_of_a_long_change_stays_finite():
    detector = EDetector.fresh(1, 2)
    found = detector.update(np.full((5_000, 1, 2), 50.0))
    assert found.evidence[-1, 0] == pytest.approx(250_000, rel=1e-6)


def test_a_factor_of_zero_loses_all_and_the_monitor_goes_on():
    found = EDetector.fresh(1, 1).update([[[5.0]], [[-np.inf]], [[1.0]]])
    assert found.evidence[:, 0].tolist() == [5.0, -np.inf, 1.0]
    assert found.began[:, 0].tolist() == [0, 0, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_factors_that_are_not_numbers_are_refused_and_the_state_is_unchanged(bad):
    detector, factors = EDetector.fresh(MONITORS, NUMBER_OF_BETS), log_factors(3)
    factors[2, 1, 1] = bad
    with pytest.raises(ValueError, match="numbers below infinity"):
        detector.update(factors)
    assert detector.blocks == 0
    assert (detector.log_sums == -np.inf).all()


def test_factors_and_states_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(blocks, 3, 4\)"):
        EDetector.fresh(MONITORS, NUMBER_OF_BETS).update(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="one shape"):
        EDetector(np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 5), dtype=int))
