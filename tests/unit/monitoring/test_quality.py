"""Data quality: what is broken is named broken, and chance is not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from keel import DriftConfig, ReferenceGrid
from keel.errors import GridMismatch
from keel.grid.kernel import count_column, unseen_categories
from keel.monitoring.quality import QualityReport, check_quality

KINDS = {"x": "numeric", "c": "categorical"}
CONFIG = DriftConfig()


def columns(rows: int, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=rows), "c": rng.choice(["AA", "UA", "DL"], rows).astype(object)}


@pytest.fixture(scope="module")
def grid() -> ReferenceGrid:
    return ReferenceGrid.fit(pa.table(columns(5000, 0)), KINDS)


def quality_of(grid: ReferenceGrid, rows: int = 1000, **changes: Any) -> QualityReport:
    table = pa.table({k: v for k, v in {**columns(rows), **changes}.items() if v is not None})
    report = check_quality(grid, grid.count(table), config=CONFIG)
    json.dumps(report.to_dict(), allow_nan=False)
    return report


def with_first(values: Any, count: int, value: Any) -> Any:
    changed = values.copy()
    changed[:count] = value
    return changed


def test_data_without_a_fault_is_ok(grid: ReferenceGrid) -> None:
    report = quality_of(grid)
    assert (report.status, report.findings) == ("ok", ())
    assert report.to_dict()["status"] == "ok"


def test_window_without_rows_is_empty(grid: ReferenceGrid) -> None:
    assert quality_of(grid, rows=0).status == "empty"


BASE = columns(1000)


@pytest.mark.parametrize(
    ("changes", "status", "kind"),
    [
        ({"x": None}, "broken", "missing_column"),
        ({"x": np.full(1000, np.nan)}, "broken", "all_missing"),
        ({"x": with_first(BASE["x"], 700, np.nan)}, "broken", "missing"),
        ({"x": with_first(BASE["x"], 100, np.nan)}, "warn", "missing"),
        ({"x": np.array(["a"] * 1000)}, "broken", "invalid"),
        ({"x": with_first(BASE["x"].astype(str).astype(object), 60, "?")}, "broken", "invalid"),
        ({"x": with_first(BASE["x"].astype(str).astype(object), 20, "?")}, "warn", "invalid"),
        ({"x": with_first(BASE["x"], 60, np.inf)}, "broken", "infinite"),
        ({"x": with_first(BASE["x"], 20, -np.inf)}, "warn", "infinite"),
        ({"x": with_first(BASE["x"], 50, 99.0)}, "warn", "out_of_range"),
        ({"c": np.array([c.lower() for c in BASE["c"]])}, "broken", "new_categories"),
        ({"c": with_first(BASE["c"], 600, "BB")}, "broken", "new_categories"),
        ({"c": with_first(BASE["c"], 100, "BB")}, "warn", "new_categories"),
        ({"c": np.arange(1000)}, "broken", "invalid"),
    ],
)
def test_breaks_and_warnings(grid: ReferenceGrid, changes: dict[str, Any], status: str, kind: str) -> None:
    report = quality_of(grid, **changes)
    assert report.status == status
    (finding,) = report.findings
    assert (finding.column, finding.status, finding.kind) == (next(iter(changes)), status, kind)
    assert any(character.isdigit() for character in finding.sentence)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": with_first(BASE["x"], 1, np.inf)},
        {"x": with_first(BASE["x"], 1, np.nan)},
        {"x": with_first(BASE["x"], 1, 99.0)},
        {"c": with_first(BASE["c"], 1, "BB")},
    ],
)
def test_single_row_does_not_break_a_window(grid: ReferenceGrid, changes: dict[str, Any]) -> None:
    assert quality_of(grid, **changes).status == "ok"


def test_worst_findings_come_first(grid: ReferenceGrid) -> None:
    report = quality_of(grid, x=with_first(BASE["x"], 100, np.nan), c=None)
    assert [f.status for f in report.findings] == ["broken", "warn"]
    assert report.to_dict()["findings"][0]["column"] == "c"
    assert report.sentence.startswith("c: ")


def test_less_missing_than_before_is_no_finding() -> None:
    x = with_first(columns(5000, 0)["x"], 2500, np.nan)
    grid = ReferenceGrid.fit(pa.table({"x": x}), {"x": "numeric"})
    assert check_quality(grid, grid.count(pa.table({"x": BASE["x"]})), config=CONFIG).status == "ok"


def test_identifiers_are_always_new_and_never_broken() -> None:
    ids = [f"id{i}" for i in range(6000)]
    grid = ReferenceGrid.fit(pa.table({"c": ids[:5000]}), {"c": "categorical"})
    assert check_quality(grid, grid.count(pa.table({"c": ids[5000:]})), config=CONFIG).status == "ok"


def test_counts_of_another_grid_are_refused(grid: ReferenceGrid) -> None:
    other = ReferenceGrid.fit(pa.table(columns(50, 5)), KINDS)
    with pytest.raises(GridMismatch):
        check_quality(grid, other.reference, config=CONFIG)


@pytest.mark.parametrize(("without", "status"), [(49, "warn"), (50, "broken")])
def test_client_that_omits_a_column_is_only_a_warning(grid: ReferenceGrid, without: int, status: str) -> None:
    full = pa.table(columns(1000 - without))
    short = pa.table(columns(without, 2)).drop_columns(["x"])
    report = check_quality(grid, grid.count(full) + grid.count(short), config=CONFIG)
    assert report.status == status
    assert (report.findings[0].column, report.findings[0].kind) == ("x", "missing_column")


def test_unseen_categories_are_named_the_most_frequent_first(grid: ReferenceGrid) -> None:
    c = BASE["c"].copy()
    c[:100], c[100:150], c[150:152], c[152] = "BB", "line\nbreak", "x" * 500, "rare"
    counts = grid.count(pa.table({**BASE, "c": c}))
    asked: list[list[str]] = []

    def names(columns: Any) -> dict[str, dict[str, int]]:
        asked.append(list(columns))
        return {name: unseen_categories(grid.column(name), pa.array(c)) for name in columns}

    report = check_quality(grid, counts, config=CONFIG, name_unseen=names)
    assert asked == [["c"]]
    assert '"BB" (100 rows), "line\N{REPLACEMENT CHARACTER}break" (50 rows), "xxx' in report.sentence
    assert report.sentence.endswith(" and 1 more.")
    assert len(report.sentence) < 300
    check_quality(grid, grid.count(pa.table(BASE)), config=CONFIG, name_unseen=names)
    assert len(asked) == 1, "rows are read only for a finding"


def test_unseen_categories_are_the_rows_that_are_counted_as_other(grid: ReferenceGrid) -> None:
    column = pa.array(["AA", None, "BB", "BB", "aa"])
    found = unseen_categories(grid.column("c"), column)
    assert found == {"BB": 2, "aa": 1}
    assert sum(found.values()) == count_column(grid.column("c"), column, 5).other
    assert unseen_categories(grid.column("x"), column) == unseen_categories(grid.column("c"), None) == {}
