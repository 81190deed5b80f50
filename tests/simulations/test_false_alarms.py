"""The level of the whole model at the sizes of window and reference that the unit tests leave out."""

from __future__ import annotations

import math
import os

import pytest

from benchmarks.simulations import ALPHA, WINDOWS_A_REFERENCE, false_alarms

TRIALS = 2000 if os.environ.get("KEEL_FULL_SIZE") else 200


@pytest.mark.parametrize(("rows", "reference"), [(100, 2000), (2500, 1000)])
def test_false_alarms_stay_below_alpha(rows: int, reference: int) -> None:
    # Three standard errors of a share of ALPHA; windows on one reference share its luck, hence independent fourths.
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / (TRIALS / WINDOWS_A_REFERENCE))
    wrong = false_alarms(rows, reference, TRIALS)
    assert {name for name, share in wrong.items() if share > bound} == set(), wrong
