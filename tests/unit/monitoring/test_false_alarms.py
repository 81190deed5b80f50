"""With nothing wrong, the whole model is reported not ok with probability at most alpha, at every window size."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.simulations import ALPHA, KINDS, WINDOWS_A_REFERENCE, draw, false_alarms
from keel import DriftConfig, ReferenceGrid, detect

TRIALS = 200


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "reference"), [(50, 1000), (500, 5000)])
def test_false_alarms_stay_below_alpha(rows: int, reference: int) -> None:
    # Three standard errors of a share of ALPHA; windows on one reference share its luck, hence independent fourths.
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / (TRIALS / WINDOWS_A_REFERENCE))
    wrong = false_alarms(rows, reference, TRIALS)
    assert {name for name, share in wrong.items() if share > bound} == set(), wrong


def test_change_is_still_found() -> None:
    """A test that never alarms keeps its level too."""
    rng = np.random.default_rng(0)
    grid = ReferenceGrid.fit(draw(rng, 5000), KINDS)
    found = 0
    for _ in range(20):
        window = draw(rng, 500)
        moved = pa.array(window["normal"].to_numpy() + 0.7)
        found += detect(grid, grid.count(window.set_column(0, "normal", moved))).column("normal").severity != "ok"
    assert found == 20


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "rows"), [(1000, 100), (1000, 20_000), (5000, 5000)])
def test_identifiers_bring_new_categories_at_their_own_rate(reference: int, rows: int) -> None:
    """The reference chose the vocabulary, of 1,000 at most: its own count of `other` is too small by that choice."""
    rng = np.random.default_rng([reference, rows])
    trials = 150
    rejected = 0
    for _ in range(trials):
        names = pa.table({"c": rng.integers(0, 2000, reference).astype(str)})
        grid = ReferenceGrid.fit(names, {"c": "categorical"})
        window = pa.table({"c": rng.integers(0, 2000, rows).astype(str)})
        rates = detect(grid, grid.count(window), DriftConfig(min_rows=50)).column("c").measured.rates
        rejected += rates["new_categories"].p_value <= ALPHA
    assert rejected / trials <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / trials)
