"""The level and the power of a check on zero-inflated, tied, float32 and half-missing columns."""

from __future__ import annotations

import math
import os

import pytest

from benchmarks.hard_columns import CHANGES, false_alarms, power
from benchmarks.simulations import ALPHA, WINDOWS_A_REFERENCE

FULL_SIZE = bool(os.environ.get("KEEL_FULL_SIZE"))
TRIALS = 2000 if FULL_SIZE else 160
REFERENCE = 5000
FOUND = {
    "5% off 0, all in the upper fifth": (500, 5000),
    "14% off 0, all in the upper fifth": (100, 500, 5000),
    "14% off 0, none below 300": (500, 5000),
    "1% off 0, all in the upper fifth": (5000,),
    "60% missing, now none": (100, 500, 5000),
    "60% missing, now 45%": (500, 5000),
    "never there, now in a tenth": (100, 500, 5000),
    "prices, one step a tenth higher": (500, 5000),
}
"""At which window sizes a change is noticed in nine windows of ten at least."""


@pytest.mark.parametrize("rows", [100, 500, 5000])
def test_false_alarms_on_hard_columns_stay_below_alpha(rows: int) -> None:
    # Three standard errors of a share of ALPHA; windows on one reference share its luck, hence independent fourths.
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / (TRIALS / WINDOWS_A_REFERENCE))
    wrong = false_alarms(rows, REFERENCE, TRIALS)
    assert {name for name, share in wrong.items() if share > bound} == set(), wrong


@pytest.mark.parametrize("rows", [100, 500, 5000])
def test_changes_of_hard_columns_are_noticed(rows: int) -> None:
    trials = 200 if FULL_SIZE else 20
    found = power(rows, REFERENCE, trials)
    assert set(FOUND) == set(CHANGES) == set(found)
    expected = {change for change, sizes in FOUND.items() if rows in sizes}
    assert {change for change in expected if found[change] < 0.9} == set(), found
