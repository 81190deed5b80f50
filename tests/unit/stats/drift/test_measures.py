"""The registry of measures: what a report has for each kind of column, and how another measure enters it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from keel import DriftConfig, ReferenceGrid, detect
from keel.stats.drift.measures import MEASURES, TESTS, ColumnComparison, Values

KINDS = {"x": "numeric", "c": "categorical"}


def make_table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"x": rng.normal(size=rows), "c": rng.choice(["a", "b", "c"], rows)})


def overlap(column: ColumnComparison) -> Values:
    """Overlap coefficient Σ min(p, q) of the shares on the cells, in [0, 1] (Weitzman 1970)."""
    p, q = column.reference / column.n_reference, column.current / column.n_current
    return {"value": float(np.minimum(p, q).sum())}


def test_a_measure_added_to_the_registry_is_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ReferenceGrid.fit(make_table(2_000, 0), KINDS)
    counts = grid.count(make_table(1_000, 1))
    before = detect(grid, counts, DriftConfig()).to_dict()
    for kind in MEASURES:
        monkeypatch.setitem(MEASURES[kind], "overlap", overlap)
    after = detect(grid, counts, DriftConfig()).to_dict()
    added = {name: after["features"][name]["measures"].pop("overlap") for name in KINDS}
    r, c = grid.reference.column("c").cells, counts.column("c").cells
    assert added["c"] == {"value": pytest.approx(np.minimum(r / 2_000, c / 1_000).sum())}
    assert 0 < added["x"]["value"] < 1
    assert after == before


def test_every_kind_has_a_test_and_a_psi_among_its_measures() -> None:
    for kind in ("numeric", "categorical"):
        assert {TESTS[kind], "psi"} <= set(MEASURES[kind])


def test_measures_of_a_report_are_those_of_the_registry_in_its_order() -> None:
    grid = ReferenceGrid.fit(make_table(2_000, 0), KINDS)
    report = detect(grid, grid.count(make_table(1_000, 1)), DriftConfig()).to_dict()
    for name, kind in KINDS.items():
        assert list(report["features"][name]["measures"]) == list(MEASURES[kind])
        assert report["features"][name]["p_value"] == report["features"][name]["measures"][TESTS[kind]]["p_value"]
