"""A window as the reference: the same level is quiet as often as stated, and a further move is found."""

from __future__ import annotations

import math
import os

import pytest

from benchmarks.accepted import LEVELS, false_alarms, power
from benchmarks.simulations import ALPHA, WINDOWS_A_REFERENCE

TRIALS = 2000 if os.environ.get("KEEL_FULL_SIZE") else 100
MOVED = 60


@pytest.mark.parametrize(("rows", "by"), [(500, 0.3), (500, 5.0), (2500, 1.0)])
def test_an_accepted_level_is_called_changed_at_most_as_often_as_stated(rows: int, by: float) -> None:
    # Three standard errors of a share of ALPHA; windows on one reference share its luck, hence independent fourths.
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / (TRIALS / WINDOWS_A_REFERENCE))
    wrong = false_alarms(rows, by, TRIALS)
    assert {name for name, share in wrong.items() if share > bound} == set(), wrong


@pytest.mark.parametrize("rows", [500, 2500])
def test_a_window_like_the_one_before_is_called_changed_at_most_as_often_as_stated(rows: int) -> None:
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / (TRIALS / WINDOWS_A_REFERENCE))
    wrong = false_alarms(rows, 0.0, TRIALS)
    assert {name for name, share in wrong.items() if share > bound} == set(), wrong


@pytest.mark.parametrize("level", LEVELS.values())
def test_a_further_move_is_found_as_on_a_grid_of_the_windows_own(level: float) -> None:
    """Beyond the range of training only the mean of a column is known, and its test is conservative."""
    move = 0.5 if level < 10 else 0.75
    found = power(500, level, move, MOVED)
    assert found["fitted"] >= 0.9
    assert found["accepted"] >= found["fitted"] - 0.1


@pytest.mark.parametrize("level", LEVELS.values())
def test_no_further_move_is_seldom_one(level: float) -> None:
    assert power(500, level, 0.0, MOVED)["accepted"] <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / MOVED)
