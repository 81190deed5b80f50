"""The test of a mean loss, block by block."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keel.monitoring.live.audit import AuditTest
from keel.monitoring.live.loss_test import TIME, LossBlocks, LossTest
from keel.stats.sequential.day_spread import DayRows
from keel.stats.sequential.prediction_powered import lowest, prediction_powered_losses

SECOND = 1_000_000


def errors(n: int, *, before: float = 0.15, after: float = 0.3, change: int, seed: int = 1) -> np.ndarray:
    """Return rows of wrong decisions, a second apart, whose rate changes."""
    wrong = np.random.default_rng(seed).random(n) < np.where(np.arange(n) < change, before, after)
    return np.column_stack([wrong.astype(float), np.arange(n) * SECOND])


def a_test() -> LossTest:
    return LossTest(0.175, low=0.0, block_size=100)


def assert_same_bits(one: LossTest, other: LossTest) -> None:
    for name, array in one.to_arrays().items():
        np.testing.assert_array_equal(array, other.to_arrays()[name], err_msg=name)


def test_loss_test_fed_in_any_parts_and_saved_between_them_has_the_same_bits() -> None:
    rows = errors(5_050, change=2_000)
    whole, parts, found = a_test(), a_test(), []
    expected = whole.feed(rows)
    for part in np.split(rows, np.sort(np.random.default_rng(2).integers(0, len(rows), 40))):
        found.append(parts.feed(part))
        parts = LossTest.from_arrays(parts.to_arrays())
    for name in LossBlocks.__dataclass_fields__:
        np.testing.assert_array_equal(np.concatenate([getattr(each, name) for each in found]), getattr(expected, name))
    assert_same_bits(whole, parts)
    assert (len(expected.evidence), whole.blocks, len(whole.pending)) == (50, 50, 50)


def test_loss_test_of_days_that_differ_counts_their_rows_as_fewer() -> None:
    rows = errors(10_000, change=0, after=0.3)
    rows[:, 1] *= 86.4  # a thousand a day
    alike = a_test().feed(rows)
    differ = LossTest(0.175, low=0.0, block_size=100, correlation=0.01, day_rows=DayRows.start(1_001.0))
    parts = [differ.feed(part) for part in np.split(rows, [333, 4_100])]
    assert alike.evidence[-1] / 15 < parts[-1].evidence[-1] < alike.evidence[-1] / 5
    again = LossTest.from_arrays(differ.to_arrays())
    assert again.day_rows == differ.day_rows
    whole = LossTest(0.175, low=0.0, block_size=100, correlation=0.01, day_rows=DayRows.start(1_001.0))
    whole.feed(rows)
    assert_same_bits(whole, differ)


def test_loss_test_with_rows_dated_ahead_ends_its_blocks_and_its_days_without_them() -> None:
    rows = errors(20_000, change=20_000)
    misdated = rows.copy()
    misdated[::500, TIME] += 60 * 86_400 * SECOND
    test, other = a_test(), a_test()
    ends = test.feed(rows).ends
    assert np.abs(other.feed(misdated).ends - ends).max() <= 10 * SECOND
    assert (other.day_rows.day, other.day_rows.today) == (0, 19_960)
    assert test.day_rows.today == 20_000


def test_loss_test_with_thinning_holds_the_rows_alone_that_it_bets_on() -> None:
    test = LossTest(0.16, low=0.0, block_size=100, thinning=50)
    rows = errors(4_999, change=4_999)
    for part in np.array_split(rows, 70):
        test = LossTest.from_arrays(test.to_arrays())
        test.feed(part)
    np.testing.assert_array_equal(test.pending, rows[49::50])


def test_loss_test_with_thinning_bets_on_every_nth_row_alone() -> None:
    rows = errors(6_000, change=2_000)
    rows[2::3, 0] = 0.0
    thinned = LossTest(0.175, low=0.0, block_size=100, thinning=3)
    parts = [thinned.feed(part) for part in np.split(rows, [70, 2_999])]
    every_third = a_test().feed(rows[2::3])
    np.testing.assert_array_equal(np.concatenate([each.evidence for each in parts]), every_third.evidence)
    assert parts[-1].rows_since[-1] == 3 * every_third.rows_since[-1]


def test_loss_test_state_has_the_same_size_however_many_blocks_it_has_seen() -> None:
    sizes = {sum(a.nbytes for a in fed(n).to_arrays().values()) for n in (200, 2_000, 20_000)}
    assert len(sizes) == 1


def fed(n: int) -> LossTest:
    test = a_test()
    test.feed(errors(n, change=n))
    return test


def test_loss_test_after_a_change_tells_when_it_began_and_the_mean_since() -> None:
    test = a_test()
    blocks = test.feed(errors(12_000, change=10_000))
    at = int(np.argmax(blocks.evidence >= math.log(1e4)))
    assert 100 <= at < 106
    assert abs(blocks.since[at] / SECOND - 10_000) <= 300
    assert blocks.rows_since[at] == 100 * (at + 1) - blocks.since[at] // SECOND // 100 * 100
    assert test.mean_since == pytest.approx(0.3, abs=0.03)
    assert blocks.ends[at] == (100 * (at + 1) - 11) * SECOND, "a tenth of the rows may be dated ahead"


def test_loss_test_restarted_tolerates_what_was_judged_and_alarms_on_a_further_increase() -> None:
    test = a_test()
    test.feed(errors(3_000, change=0, after=0.3))
    test.tolerate(test.upper + 0.01)
    test.restart()
    assert 0.3 < test.limit < 0.4
    assert (test.evidence, test.rows_since) == (-math.inf, 0)
    assert test.feed(errors(20_000, change=0, after=0.3, seed=5)).evidence.max() < math.log(1e4)
    assert test.feed(errors(3_000, change=0, after=0.6, seed=6)).evidence.max() > math.log(1e4)


def test_audit_test_that_tolerates_a_judged_mean_finds_a_further_increase() -> None:
    rng, share = np.random.default_rng(7), 0.1

    def audited(error: float, n: int) -> np.ndarray:
        loss, sample = (rng.random(n) < error).astype(float), rng.random(n) < share
        z = prediction_powered_losses(np.full(n, 0.1), loss, sample, share=share)
        return np.column_stack([z, np.arange(n) * SECOND, sample, sample])

    test = AuditTest(0.16, low=lowest(0.5, share=share), block_size=100, pending=np.empty((0, 4)))
    assert test.feed(audited(0.4, 2_000)).evidence[-1] > math.log(1e4)
    test.tolerate(test.upper + 0.01)
    test.restart()
    assert 0.4 < test.limit < 0.55
    assert test.feed(audited(0.4, 5_000)).evidence.max() < math.log(1e4)
    assert test.feed(audited(0.7, 5_000)).evidence.max() > math.log(1e4)


def test_loss_test_restarted_after_a_low_mean_keeps_its_limit() -> None:
    test = a_test()
    test.feed(errors(1_000, change=0, after=0.0))
    test.tolerate(test.upper)
    test.restart()
    assert test.limit == 0.175


def test_loss_test_start_of_a_block_is_not_that_of_a_few_far_older_rows() -> None:
    rows = errors(100, change=0, after=0.9)
    rows[:, 1] += 1_000 * SECOND
    rows[::5, 1] = 7.0
    test = a_test()
    test.feed(rows)
    assert test.since >= 1_000 * SECOND
