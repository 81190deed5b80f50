"""The estimated start of a change has the time of its block, whatever pages the blocks came in."""

from __future__ import annotations

import numpy as np
import pytest

from keel.monitoring.live.run_starts import RunStarts
from keel.stats.sequential.e_detector import EDetector

BLOCKS, MONITORS, BETS = 60, 3, 4
FIRST = np.datetime64("2026-01-01T00:00", "us")
STARTS = FIRST + np.arange(BLOCKS) * np.timedelta64(1, "h")


@pytest.mark.parametrize("page", [1, 7, BLOCKS])
def test_run_starts_in_any_pages_are_the_times_of_the_blocks_that_runs_began_with(page):
    factors = np.random.default_rng(3).normal(-0.1, 0.5, (BLOCKS, MONITORS, BETS))
    detector, starts = EDetector.fresh(MONITORS, BETS), RunStarts.fresh(MONITORS, BETS)
    for at in range(0, BLOCKS, page):
        found, since = starts.update(detector, factors[at : at + page], STARTS[at : at + page])
        assert (since == FIRST + found.began * np.timedelta64(1, "h")).all()
    assert (starts.times == FIRST + detector.began * np.timedelta64(1, "h")).all()


def test_run_starts_after_a_restart_begin_with_the_next_block():
    detector, starts = EDetector.fresh(1, 1), RunStarts.fresh(1, 1)
    starts.update(detector, np.full((5, 1, 1), 1.0), STARTS[:5])
    detector.restart(0)
    _, since = starts.update(detector, np.full((2, 1, 1), 1.0), STARTS[5:7])
    assert since[:, 0].tolist() == [STARTS[5].item()] * 2
