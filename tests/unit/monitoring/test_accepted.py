"""A window as the reference of some columns: what is measured against it, and what its counts cannot show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from keel import DriftConfig, ReferenceGrid, detect
from keel.errors import GridMismatch
from keel.monitoring.accepted import blind_spots
from keel.monitoring.drift import explained_change
from keel.monitoring.quality import check_quality
from keel.monitoring.records import StoredDriftReport
from keel.reports.charts.specs import Histogram
from keel.reports.column_words import figure_sentence, summary
from keel.reports.distributions import distributions

if TYPE_CHECKING:
    from keel.grid.reference import ReferenceGrid as Grid

CONFIG = DriftConfig(min_rows=100)
KINDS = {"x": "numeric", "c": "categorical"}


def table(seed: int, rows: int = 1000, *, x: float = 0.0, c: str = "ab", missing: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(rows) < missing, np.nan, rng.normal(x, 1, rows))
    return pa.table({"x": values, "c": rng.choice(list(c), rows)})


@pytest.fixture(scope="module")
def grid() -> Grid:
    holdout = table(1, 2000)
    return ReferenceGrid.fit(table(0, 3000), KINDS, holdout=holdout, loss=np.abs(holdout["x"].to_numpy()))


def accepted(grid: Grid, window: pa.Table, *names: str) -> Grid:
    counts = grid.count(window)
    return grid.with_references({name: counts.column(name) for name in names})


def test_other_columns_keep_their_reference(grid: Grid) -> None:
    changed = accepted(grid, table(2, x=2.0, c="bc"), "x")
    report = detect(changed, changed.count(table(3, x=2.0, c="bc")), CONFIG)
    assert report.column("x").severity == "ok"
    assert report.column("c").severity == "drift"


def test_counts_bytes_and_identity_stay_those_of_the_version(grid: Grid) -> None:
    changed = accepted(grid, table(2, x=2.0), "x")
    assert changed.grid_id == grid.grid_id
    assert changed.to_bytes() == grid.to_bytes()
    assert changed != grid
    assert changed.count(table(3)) == grid.count(table(3))
    assert changed.least_reference == 1000
    assert grid.least_reference == 3000


def test_losses_and_explained_change_stay_those_of_the_holdout(grid: Grid) -> None:
    changed = accepted(grid, table(2, x=2.0), "x", "c")
    window = grid.count(table(3, x=2.0))
    own, replaced = grid.losses_of("x"), changed.losses_of("x")
    assert own is not None
    assert replaced is not None
    np.testing.assert_array_equal(own, replaced)
    assert explained_change(changed, window) == explained_change(grid, window)


def test_the_impact_is_that_of_the_move_since(grid: Grid) -> None:
    """The loss is |x|, so a window at 2 costs 1.2 more than the training rows, and nothing more than one at 2."""
    window = grid.count(table(3, x=2.0))
    before = detect(grid, window, CONFIG).column("x").measured.impact
    after = detect(accepted(grid, table(2, x=2.0), "x"), window, CONFIG).column("x").measured.impact
    assert before is not None
    assert before > 0.8
    assert after == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("x", [2.0, 40.0])
def test_values_beyond_the_range_of_training_are_quiet_where_they_were_accepted(grid: Grid, x: float) -> None:
    changed = accepted(grid, table(2, x=x), "x")
    again = changed.count(table(3, x=x))
    column = detect(changed, again, CONFIG).column("x")
    assert column.severity == "ok"
    assert check_quality(changed, again, config=CONFIG).status == "ok"
    assert (column.measured.measures["wasserstein"]["value"] or 0.0) < 0.1


@pytest.mark.parametrize("to", [0.0, 39.0, 41.0])
def test_a_move_from_beyond_the_range_is_found_in_any_direction(grid: Grid, to: float) -> None:
    changed = accepted(grid, table(2, x=40.0), "x")
    assert detect(changed, changed.count(table(3, x=to)), CONFIG).column("x").severity == "drift"


def test_categories_that_training_lacked_are_quiet_where_they_were_accepted(grid: Grid) -> None:
    changed = accepted(grid, table(2, c="abz"), "c")
    assert detect(changed, changed.count(table(3, c="abz")), CONFIG).column("c").severity == "ok"
    assert check_quality(changed, changed.count(table(3, c="abz")), config=CONFIG).status == "ok"
    assert detect(changed, changed.count(table(3, c="azzzzz")), CONFIG).column("c").severity == "drift"


def test_a_fault_is_quiet_at_its_level_and_found_beyond_it(grid: Grid) -> None:
    changed = accepted(grid, table(2, missing=0.2), "x")
    assert check_quality(changed, changed.count(table(3, missing=0.2)), config=CONFIG).status == "ok"
    assert check_quality(changed, changed.count(table(3, missing=0.4)), config=CONFIG).status == "warn"
    assert check_quality(changed, changed.count(table(3, missing=0.9)), config=CONFIG).status == "broken"


def test_the_summed_impact_is_tested_with_the_rows_of_the_smallest_reference(grid: Grid) -> None:
    """With the training's rows in place of the window's, noise of the window would pass for a change."""
    config = DriftConfig(min_rows=50, max_impact=0.0)
    wrong = 0
    for seed in range(60):
        changed = accepted(grid, table(100 + seed, 100, x=1.0), "x", "c")
        wrong += detect(changed, changed.count(table(500 + seed, 2000, x=1.0)), config).status != "ok"
    assert wrong <= 7  # 3 expected at most; P(more than 7) is 1%


@pytest.mark.parametrize(
    ("window", "name", "words"),
    [
        (table(2), "x", ""),
        (table(2, x=40.0), "x", "100% of the values lie above 3.* only that of their mean is seen"),
        (table(2, x=-40.0), "x", "100% of the values lie below -.* the least value of training"),
        (table(2, c="abz"), "c", "3.% of the values are categories that training did not have"),
        (table(2, c="ab"), "c", ""),
    ],
)
def test_what_the_cells_hide_is_said(grid: Grid, window: pa.Table, name: str, words: str) -> None:
    spots = blind_spots(grid.column(name), grid.count(window).column(name))
    assert len(spots) == bool(words)
    for spot in spots:
        assert re.search(words, spot)


def test_a_gap_of_the_training_rows_is_a_blind_spot() -> None:
    rng = np.random.default_rng(0)
    grid = ReferenceGrid.fit(pa.table({"x": np.r_[rng.normal(0, 1, 500), rng.normal(50, 1, 500)]}), {"x": "numeric"})
    [spot] = blind_spots(grid.column("x"), grid.count(pa.table({"x": rng.normal(25, 1, 500)})).column("x"))
    assert "between" in spot
    assert "a move among them is hidden" in spot


def test_counts_of_other_cells_are_refused(grid: Grid) -> None:
    other = ReferenceGrid.fit(table(9, 50), KINDS)
    with pytest.raises(GridMismatch, match="x: these counts are not on the cells"):
        grid.with_references({"x": other.count(table(2)).column("x")})
    with pytest.raises(GridMismatch, match="unknown"):
        grid.with_references({"unknown": grid.count(table(2)).column("x")})


def test_what_lies_beyond_the_range_is_said_as_a_move_of_the_accepted_level(grid: Grid) -> None:
    changed = accepted(grid, table(2, x=40.0), "x")
    counts = changed.count(table(3, x=42.0))
    [reason] = detect(changed, counts, CONFIG).column("x").result.reasons
    assert "The values beyond the range of training have moved by +1." in reason
    report = StoredDriftReport.from_dict(detect(changed, counts, CONFIG).to_dict())
    assert "moved by 1." in summary(report.features["x"])
    drawn = distributions(changed, counts)["x"]
    assert isinstance(drawn, Histogram)
    assert drawn.outside == (0.0, 0.0)
    assert distributions(grid, counts)["x"] != drawn


def test_a_chart_of_values_beyond_the_range_does_not_say_that_there_are_none(grid: Grid) -> None:
    changed = accepted(grid, table(2, x=40.0), "x")
    drawn = distributions(changed, changed.count(table(3, x=42.0)))["x"]
    assert figure_sentence(drawn).startswith("Window lies beyond the range of training, as its reference does.")
