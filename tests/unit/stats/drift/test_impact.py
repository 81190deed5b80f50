"""Whether chance explains an impact: a bound that holds at any size, and for any dependence of the columns."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from keel import ReferenceGrid, detect
from keel.stats.drift.impact import Impact, measure_impact, summed_impact_p_value

SKEWED = np.array([0.0, 0.1, 5.0])
"""Mean losses of three cells, of which the last is rare and costly."""


@pytest.mark.parametrize("rows", [50, 500])
@pytest.mark.parametrize("copies", [1, 5], ids=["one column", "five equal columns"])
def test_summed_impact_without_a_change_keeps_its_level(rows: int, copies: int) -> None:
    rng = np.random.default_rng([rows, copies])
    trials, rejected = 2000, 0
    for _ in range(trials):
        reference, window = (rng.multinomial(n, [0.7, 0.29, 0.01]) for n in (5000, rows))
        found = [measure_impact(reference, window, SKEWED)] * copies
        rejected += summed_impact_p_value(found, 5000, rows) <= 0.05
    assert rejected / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_summed_impact_finds_one_costly_column_among_many() -> None:
    noise = [Impact(0.0, 0.2, 0.5)] * 30
    assert summed_impact_p_value([Impact(0.05, 0.1, 0.3), *noise], 20_000, 5_000) < 1e-4


def test_impact_that_helps_is_not_tested_as_harm() -> None:
    assert summed_impact_p_value([Impact(-0.5, 0.1, 0.3)], 1000, 1000) == 1.0
    assert summed_impact_p_value([], 1000, 1000) == 1.0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_impact_of_any_size_of_loss_is_tested(scale: float) -> None:
    losses = np.array([0.1, 0.1, 0.1]) * scale
    same = measure_impact([900, 77, 23], [90, 3, 7], losses)
    assert summed_impact_p_value([same], 1000, 100) == 1.0
    moved = measure_impact([900, 77, 23], [0, 0, 100], np.array([0.1, 0.1, 0.4]) * scale)
    assert 0 <= summed_impact_p_value([moved], 1000, 100) <= 1


def test_impact_of_an_unchanged_window_is_small_where_the_reference_is_all_knots() -> None:
    """The reference's rows lie on the knots, those of holdout and window between them: no difference of the world."""
    rng = np.random.default_rng(0)

    def draw(rows: int) -> dict[str, np.ndarray]:
        return {"x": np.where(rng.random(rows) < 0.86, 0.0, rng.uniform(1, 1000, rows))}

    holdout = draw(2500)
    grid = ReferenceGrid.fit(
        pa.table(draw(5000)), {"x": "numeric"}, holdout=pa.table(holdout), loss=0.1 + 0.3 * (holdout["x"] > 0)
    )
    impacts = [detect(grid, grid.count(pa.table(draw(5000)))).impact_total or 0.0 for _ in range(20)]
    standard_error = 0.3 * math.sqrt(0.14 * 0.86 * 2 / 5000)
    assert max(map(abs, impacts)) < 4 * standard_error
