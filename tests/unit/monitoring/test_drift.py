"""The drift report: statuses, what raises them, and every bad input by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from keel import DriftConfig, ReferenceGrid, detect
from keel.errors import GridMismatch
from keel.monitoring.column_status import ColumnStatus

KINDS = {"x": "numeric", "y": "numeric", "flag": "numeric", "fixed": "numeric", "c": "categorical"}
CONFIG = DriftConfig()


def columns(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=rows),
        "y": rng.normal(size=rows),
        "flag": (rng.random(rows) < 0.05).astype(float),
        "fixed": np.full(rows, 3.0),
        "c": rng.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]),
    }


@pytest.fixture(scope="module")
def grid() -> ReferenceGrid:
    return ReferenceGrid.fit(pa.table(columns(5000, 0)), KINDS)


def report_of(grid: ReferenceGrid, rows: int = 2000, drop: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    table = pa.table({k: v for k, v in {**columns(rows, 1), **changes}.items() if k not in drop})
    report = detect(grid, grid.count(table), CONFIG).to_dict()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report["features"]) == set(KINDS)
    return report


def test_unchanged_window_is_ok_and_has_the_documented_keys(grid: ReferenceGrid) -> None:
    report = report_of(grid)
    assert (report["status"], report["n"], report["share_drifted"]) == ("ok", 2000, 0.0)
    statuses = {name: f["status"] for name, f in report["features"].items()}
    assert statuses == {"x": "ok", "y": "ok", "flag": "ok", "fixed": "constant", "c": "ok"}
    numeric, categorical = report["features"]["x"], report["features"]["c"]
    assert set(numeric["measures"]) == {"ks", "psi", "jensen_shannon", "wasserstein"}
    assert set(categorical["measures"]) == {"chi_square", "psi", "jensen_shannon"}
    assert {"statistic", "p_value"} <= set(numeric["measures"]["ks"])
    assert set(numeric["measures"]["psi"]) == {"value", "excess"}
    for feature in report["features"].values():
        assert feature["status"] in {status.value for status in ColumnStatus}
        assert feature["severity"] == "ok"
        assert (feature["missing_rate"], feature["impact"], feature["role"]) == (0.0, None, "feature")


def test_drift_is_significant_and_material(grid: ReferenceGrid) -> None:
    report = report_of(grid, x=columns(2000, 1)["x"] + 1.0)
    feature = report["features"]["x"]
    assert (feature["status"], feature["severity"]) == ("drift", "drift")
    assert feature["q_value"] <= 0.05
    assert feature["measures"]["psi"]["excess"] >= 0.25
    assert f"PSI {feature['measures']['psi']['value']:.3g}" in feature["reasons"][0]
    assert report["share_drifted"] == 0.2
    assert report["status"] == "warn", "one of five features is below drift_share"
    assert next(iter(report["features"])) == "x"
    assert "x (drift)" in report["sentence"]


def test_significant_but_immaterial_change_is_ok(grid: ReferenceGrid) -> None:
    report = report_of(grid, rows=100_000, x=columns(100_000, 1)["x"] + 0.1)
    feature = report["features"]["x"]
    assert feature["q_value"] < 1e-6
    assert feature["status"] == "ok"


def test_material_but_insignificant_change_is_ok() -> None:
    few = ReferenceGrid.fit(pa.table({"x": np.random.default_rng(0).normal(size=40)}), {"x": "numeric"})
    windows = [np.random.default_rng(seed).normal(0.35, 1, size=40) for seed in range(1, 30)]
    reports = [detect(few, few.count(pa.table({"x": w})), DriftConfig(min_rows=10)).column("x") for w in windows]
    material = [r for r in reports if r.measured.excess >= 0.25 and (r.measured.p_value or 0) > 0.05]
    assert material
    assert all(r.status == "ok" for r in material)


def test_change_between_the_thresholds_warns(grid: ReferenceGrid) -> None:
    report = report_of(grid, x=columns(2000, 1)["x"] + 0.45)
    assert 0.1 <= report["features"]["x"]["measures"]["psi"]["excess"] < 0.25
    assert (report["features"]["x"]["status"], report["status"], report["share_drifted"]) == ("warn", "warn", 0.0)


def test_share_of_drifted_features_decides_the_window(grid: ReferenceGrid) -> None:
    base = columns(2000, 1)
    report = report_of(grid, x=base["x"] + 1, y=base["y"] + 1)
    assert (report["share_drifted"], report["status"]) == (0.4, "drift")
    table = pa.table({**base, "x": base["x"] + 1, "y": base["y"] + 1})
    assert detect(grid, grid.count(table), DriftConfig(drift_share=0.5)).status == "warn"


def test_summed_impact_decides_the_window_when_a_column_has_changed() -> None:
    holdout = pa.table(columns(2000, 2))
    loss = np.asarray(holdout["x"].to_numpy() > 0, dtype=float)
    grid = ReferenceGrid.fit(pa.table(columns(5000, 0)), KINDS, holdout=holdout, loss=loss)
    config = DriftConfig(max_impact=0.2)
    moved = detect(grid, grid.count(pa.table({**columns(2000, 1), "x": columns(2000, 1)["x"] + 1})), config)
    assert moved.impact_total is not None
    assert moved.impact_total > 0.2
    assert moved.status == "drift"
    helped = detect(grid, grid.count(pa.table({**columns(2000, 1), "x": columns(2000, 1)["x"] - 1})), config)
    assert (helped.status, (helped.impact_total or 0) < -0.2) == ("warn", True)
    still = detect(grid, grid.count(pa.table(columns(2000, 1))), DriftConfig(max_impact=0.0))
    assert still.status == "ok"
    assert list(moved.to_dict()["features"])[0] == "x"


def test_outputs_are_reported_but_not_shares_of_features() -> None:
    rng = np.random.default_rng(0)
    holdout = pa.table({"x": rng.normal(size=2000), "score": rng.beta(2, 5, 2000)})
    grid = ReferenceGrid.fit(holdout, {"x": "numeric"}, holdout=holdout, outputs={"score": "numeric"})
    window = pa.table({"x": rng.normal(size=2000), "score": rng.beta(5, 2, 2000)})
    report = detect(grid, grid.count(window), CONFIG).to_dict()
    assert (report["features"]["score"]["role"], report["features"]["score"]["status"]) == ("output", "drift")
    assert (report["share_drifted"], report["status"]) == (0.0, "warn")


def test_counts_of_another_grid_are_refused(grid: ReferenceGrid) -> None:
    other = ReferenceGrid.fit(pa.table(columns(5000, 5)), KINDS)
    with pytest.raises(GridMismatch):
        detect(grid, other.reference, CONFIG)


def test_seed_alone_decides_simulated_p_values(grid: ReferenceGrid) -> None:
    counts = grid.count(pa.table(columns(600, 3)))
    np.random.seed(1)  # noqa: NPY002
    first = detect(grid, counts, CONFIG).to_dict()
    np.random.seed(2)  # noqa: NPY002
    assert detect(grid, counts, CONFIG).to_dict() == first


# Invariant 8: every bad input has a named status; none raises, none disappears.


@pytest.mark.parametrize("rows", [0, 1, 2, 499])
def test_too_few_rows_are_insufficient(grid: ReferenceGrid, rows: int) -> None:
    report = report_of(grid, rows=rows)
    assert (report["status"], report["n"]) == ("insufficient", rows)
    assert {f["status"] for f in report["features"].values()} == {"insufficient"}
    assert str(rows) in report["sentence"]


def test_missing_column_has_its_status(grid: ReferenceGrid) -> None:
    feature = report_of(grid, drop=("x",))["features"]["x"]
    assert (feature["status"], feature["severity"], feature["missing_rate"]) == ("missing_column", "drift", 1.0)
    assert report_of(grid, rows=10, drop=("x",))["features"]["x"]["status"] == "missing_column"
    some = grid.count(pa.table(columns(1000, 1))) + grid.count(pa.table(columns(1000, 2)).drop_columns(["x"]))
    column = detect(grid, some, CONFIG).column("x")
    assert (column.status, column.measured.missing_rate) == ("missing_column", 0.5)
    assert "1,000 of 2,000" in column.result.reasons[0]


@pytest.mark.parametrize("empty", [pa.nulls(2000), np.full(2000, np.nan), pa.nulls(2000, pa.string())])
@pytest.mark.parametrize("name", ["x", "c"])
def test_all_missing_column_has_its_status(grid: ReferenceGrid, name: str, empty: Any) -> None:
    feature = report_of(grid, **{name: empty})["features"][name]
    assert (feature["status"], feature["severity"], feature["missing_rate"]) == ("all_missing", "drift", 1.0)


@pytest.mark.parametrize(
    ("before", "after", "severity"), [(0.1, 0.2, "warn"), (0.1, 0.6, "drift"), (0.0, 0.5, "drift")]
)
def test_missing_values_are_not_hidden_by_dropping_rows(before: float, after: float, severity: str) -> None:
    def gappy(rows: int, share: float, seed: int) -> pa.Table:
        x = np.random.default_rng(seed).normal(size=rows)
        x[: int(rows * share)] = np.nan
        return pa.table({"x": x})

    grid = ReferenceGrid.fit(gappy(5000, before, 0), {"x": "numeric"})
    column = detect(grid, grid.count(gappy(2000, after, 1)), CONFIG).column("x")
    assert (column.status, column.severity) == ("missing_increased", severity)
    assert column.measured.missing_rate == after
    assert column.measured.excess < 0.1
    immaterial = detect(grid, grid.count(gappy(2000, before + 0.04, 1)), CONFIG).column("x")
    assert immaterial.q_values["missing"] < 0.05
    assert immaterial.status == "ok"


def half_missing(rows: int, share: float, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"x": np.where(rng.random(rows) < share, np.nan, rng.normal(size=rows))})


@pytest.mark.parametrize(
    ("before", "after", "status", "severity"),
    [
        (0.6, 0.0, "missing_decreased", "drift"),
        (0.6, 0.4, "missing_decreased", "warn"),
        (0.6, 0.58, "ok", "ok"),
        (0.999, 0.5, "missing_decreased", "drift"),
        (1.0, 0.0, "no_reference", "drift"),
        (1.0, 0.98, "no_reference", "warn"),
        (1.0, 1.0, "all_missing", "ok"),
    ],
)
def test_missing_share_that_falls_is_a_change(before: float, after: float, status: str, severity: str) -> None:
    grid = ReferenceGrid.fit(half_missing(20_000, before, 0), {"x": "numeric"})
    report = detect(grid, grid.count(half_missing(5_000, after, 1)), CONFIG)
    column = report.column("x")
    assert (column.status, column.severity) == (status, severity)
    assert (report.status == "ok") is (severity == "ok")


def test_infinite_and_invalid_values_that_become_fewer_are_a_change() -> None:
    rng = np.random.default_rng(0)
    words = pa.array(np.where(rng.random(5000) < 0.5, "n/a", "1.5"))
    grid = ReferenceGrid.fit(
        pa.table({"x": np.where(rng.random(5000) < 0.5, np.inf, 1.5), "y": words}), {"x": "numeric", "y": "numeric"}
    )
    report = detect(grid, grid.count(pa.table({"x": np.full(2000, 1.5), "y": np.full(2000, 1.5)})), CONFIG)
    assert {c.status for c in report.columns} == {ColumnStatus.MISSING_DECREASED}
    assert {c.severity.value for c in report.columns} == {"drift"}


def test_summed_impact_decides_the_window_whatever_its_columns_say() -> None:
    """Six columns move by less than the warning threshold of each, and all of them towards the costly side."""
    names = [f"x{i}" for i in range(6)]

    def rows(n: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        return {name: rng.normal(shift, 1, n) for name in names}

    holdout = rows(5000, 2)
    loss = np.mean([holdout[name] > 0 for name in names], axis=0)
    grid = ReferenceGrid.fit(
        pa.table(rows(20_000, 0)), dict.fromkeys(names, "numeric"), holdout=pa.table(holdout), loss=loss
    )
    counts = grid.count(pa.table(rows(20_000, 1, shift=0.2)))
    report = detect(grid, counts, DriftConfig(max_impact=0.05))
    assert {c.severity.value for c in report.columns} == {"ok"}
    assert (report.status, report.impact_limit) == ("drift", 0.05)
    assert (report.impact_total or 0) > 0.05
    assert "limit of 0.05" in report.sentence
    assert json.loads(json.dumps(report.to_dict()))["impact_q_value"] <= 0.05
    for config in (DriftConfig(max_impact=0.5), DriftConfig()):
        assert detect(grid, counts, config).status == "ok"
    helped = grid.count(pa.table(rows(20_000, 1, shift=-0.2)))
    assert detect(grid, helped, DriftConfig(max_impact=0.0)).status == "ok"


def test_reference_with_many_missing_values_is_no_finding() -> None:
    rng = np.random.default_rng(0)
    x = np.where(rng.random(5000) < 0.999, np.nan, 1.0)
    grid = ReferenceGrid.fit(pa.table({"x": x}), {"x": "numeric"})
    report = detect(grid, grid.count(pa.table({"x": np.full(600, np.nan)})), CONFIG)
    assert (report.column("x").status, report.column("x").severity, report.status) == ("all_missing", "ok", "ok")


def test_reference_without_values_has_its_status() -> None:
    grid = ReferenceGrid.fit(
        pa.table({"x": pa.nulls(1000, pa.float64()), "c": pa.nulls(1000)}), {"x": "numeric", "c": "categorical"}
    )
    report = detect(grid, grid.count(pa.table({"x": np.ones(600), "c": ["a"] * 600})), CONFIG)
    assert {c.status for c in report.columns} == {ColumnStatus.NO_REFERENCE}
    json.dumps(report.to_dict(), allow_nan=False)


def test_constant_reference_has_its_status(grid: ReferenceGrid) -> None:
    same = report_of(grid)["features"]["fixed"]
    assert (same["status"], same["severity"], same["measures"]["wasserstein"]["value"]) == ("constant", "ok", None)
    left = report_of(grid, fixed=np.full(2000, 4.0))["features"]["fixed"]
    assert (left["status"], left["severity"]) == ("drift", "drift")
    one = ReferenceGrid.fit(pa.table({"c": ["a"] * 1000}), {"c": "categorical"})
    assert detect(one, one.count(pa.table({"c": ["a"] * 600})), CONFIG).column("c").status == "constant"
    assert detect(one, one.count(pa.table({"c": ["b"] * 600})), CONFIG).column("c").status == "new_categories"


def test_constant_window_of_a_varying_feature_has_drifted(grid: ReferenceGrid) -> None:
    assert report_of(grid, x=np.zeros(2000))["features"]["x"]["status"] == "drift"


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_have_their_status(grid: ReferenceGrid, value: float) -> None:
    feature = report_of(grid, x=np.full(2000, value))["features"]["x"]
    assert (feature["status"], feature["severity"]) == ("infinite", "drift")
    x = columns(2000, 1)["x"]
    x[0] = value
    feature = report_of(grid, x=x)["features"]["x"]
    assert (feature["status"], feature["severity"]) == ("infinite", "ok"), "named, though one may be chance"
    assert feature["maximum"] < 10


def test_changed_type_has_its_status(grid: ReferenceGrid) -> None:
    feature = report_of(grid, x=np.array(["high", "low"] * 1000))["features"]["x"]
    assert (feature["status"], feature["severity"]) == ("type_changed", "drift")
    feature = report_of(grid, c=np.arange(2000.0))["features"]["c"]
    assert (feature["status"], feature["severity"]) == ("type_changed", "drift")
    some = [str(v) for v in columns(2000, 1)["x"]]
    some[:100] = ["?"] * 100
    feature = report_of(grid, x=np.array(some))["features"]["x"]
    assert feature["status"] == "invalid_values"
    assert feature["rates"]["invalid"]["current"] == 0.05
    assert report_of(grid, x=np.array([str(v) for v in columns(2000, 1)["x"]]))["features"]["x"]["status"] == "ok"


def test_unknown_categories_have_their_status(grid: ReferenceGrid) -> None:
    for count, severity in ((40, "warn"), (2000, "drift")):
        c = columns(2000, 1)["c"].astype(object)
        c[:count] = "never seen"
        feature = report_of(grid, c=c)["features"]["c"]
        assert (feature["status"], feature["severity"]) == ("new_categories", severity)
        assert feature["measures"]["chi_square"]["statistic"] < 1e6
    c = columns(2000, 1)["c"].astype(object)
    c[0] = "never seen"
    assert report_of(grid, c=c)["features"]["c"]["status"] == "ok"


def test_values_outside_the_range_have_their_status(grid: ReferenceGrid) -> None:
    x = columns(2000, 1)["x"]
    x[:60] = 50.0
    feature = report_of(grid, x=x)["features"]["x"]
    assert (feature["status"], feature["severity"], feature["maximum"]) == ("out_of_range", "warn", 50.0)
    assert feature["measures"]["wasserstein"]["value"] > 1


def test_rare_flag_that_becomes_common_has_drifted(grid: ReferenceGrid) -> None:
    feature = report_of(grid, flag=(np.arange(2000) % 2).astype(float))["features"]["flag"]
    assert feature["status"] == "drift"


def test_huge_values_stay_json(grid: ReferenceGrid) -> None:
    x = columns(2000, 1)["x"]
    x[:1000] = 1.7e308
    x[1000:1500] = -1.7e308
    assert report_of(grid, x=x)["features"]["x"]["status"] == "drift"
    extreme = ReferenceGrid.fit(pa.table({"x": [-1.7e308, 0.0, 1.7e308] * 400}), {"x": "numeric"})
    report = detect(extreme, extreme.count(pa.table({"x": np.zeros(600)})), CONFIG)
    json.dumps(report.to_dict(), allow_nan=False)
