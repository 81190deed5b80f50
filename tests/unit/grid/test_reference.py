"""The reference grid: its content, and its form on disk."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from keel import DriftConfig, ReferenceGrid, detect
from keel.errors import ConfigError, InsufficientData, SchemaError
from keel.grid.column_grid import MAX_KNOTS, fit_numeric
from keel.monitoring.drift import explained_change

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {"x": "numeric", "c": "categorical"}
OUTPUTS = {"score": "numeric", "prediction": "categorical"}


def make_table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    score = rng.random(rows)
    return pa.table(
        {
            "x": rng.normal(size=rows),
            "c": rng.choice(["a", "b"], rows),
            "score": score,
            "prediction": (score > 0.5).astype(float),
        }
    )


@pytest.fixture(scope="module")
def grid() -> ReferenceGrid:
    holdout = make_table(500, 1)
    loss = np.where(np.array(holdout["c"].to_pylist()) == "a", 0.1, 0.3)
    return ReferenceGrid.fit(make_table(2000, 0), KINDS, holdout=holdout, outputs=OUTPUTS, loss=loss)


def test_fit_stores_the_counts_of_its_rows(grid: ReferenceGrid) -> None:
    counted = grid.count(make_table(2000, 0))
    for name in KINDS:
        assert np.array_equal(grid.reference.column(name).all_cells(), counted.column(name).all_cells())
    held = grid.count(make_table(500, 1))
    assert grid.holdout == held
    for name in OUTPUTS:
        assert np.array_equal(grid.reference.column(name).all_cells(), held.column(name).all_cells())
        assert grid.reference.column(name).n == 500
    assert grid.n_reference == grid.reference.n == 2000


def test_grid_has_names_kinds_and_roles(grid: ReferenceGrid) -> None:
    assert grid.kinds == {**KINDS, **OUTPUTS}
    assert (grid.features, grid.outputs) == (("x", "c"), ("score", "prediction"))
    assert grid.column("prediction").vocabulary in (("0", "1"), ("1", "0"))
    assert len(grid.grid_id) == 64
    with pytest.raises(KeyError):
        grid.column("nothing")


def test_grid_id_depends_on_the_content(grid: ReferenceGrid) -> None:
    same = ReferenceGrid.fit(make_table(2000, 0), KINDS)
    assert same.grid_id == ReferenceGrid.fit(make_table(2000, 0), KINDS).grid_id != grid.grid_id
    assert same.grid_id != ReferenceGrid.fit(make_table(2000, 2), KINDS).grid_id
    assert same.grid_id != ReferenceGrid.fit(make_table(2000, 0), dict(reversed(KINDS.items()))).grid_id


def test_fit_of_every_form_of_a_table_is_equal() -> None:
    table = make_table(2000, 0)
    fitted = ReferenceGrid.fit(table, KINDS)
    assert ReferenceGrid.fit(table.to_pandas(), KINDS) == fitted
    assert ReferenceGrid.fit(iter(table.to_batches(max_chunksize=300)), KINDS) == fitted


def test_mean_loss_of_a_cell_without_rows_is_the_overall_mean(grid: ReferenceGrid) -> None:
    losses = grid.losses_of("c")
    assert losses is not None
    assert dict(zip(grid.column("c").vocabulary, losses, strict=False)) == pytest.approx({"a": 0.1, "b": 0.3})
    assert losses[2:] == pytest.approx([grid.overall_loss] * 6)
    assert 0.1 < (grid.overall_loss or 0) < 0.3


def test_impact_and_explained_change_follow_the_formula(grid: ReferenceGrid) -> None:
    window = make_table(1000, 3)
    window = window.set_column(1, "c", pa.array(["b"] * 1000))
    counts = grid.count(window)
    report = detect(grid, counts, DriftConfig())
    p_b = grid.reference.column("c").cells[grid.column("c").vocabulary.index("b")] / 2000
    assert report.column("c").measured.impact == pytest.approx((1 - p_b) * 0.2)
    features = [report.column(name).measured.impact or 0.0 for name in KINDS]
    assert report.impact_total == pytest.approx(sum(features))
    held = grid.holdout
    assert held is not None
    h_b = held.column("c").cells[grid.column("c").vocabulary.index("b")] / 500
    moved = counts.column("x").all_cells() / 1000 - held.column("x").all_cells() / 500
    x_part = float(np.dot(moved, np.asarray(grid.losses_of("x"))))
    assert explained_change(grid, counts) == pytest.approx((1 - h_b) * 0.2 + x_part)
    assert explained_change(grid, held) == pytest.approx(0.0, abs=1e-12)


def test_grid_without_losses_has_no_impact() -> None:
    bare = ReferenceGrid.fit(make_table(1000, 0), KINDS)
    counts = bare.count(make_table(1000, 1))
    report = detect(bare, counts, DriftConfig())
    assert report.impact_total is None
    assert report.to_dict()["features"]["x"]["impact"] is None
    assert explained_change(bare, counts) is None


def test_grid_round_trips_through_file_and_bytes(grid: ReferenceGrid, tmp_path: Path) -> None:
    grid.save(tmp_path / "grid.npz")
    loaded = ReferenceGrid.load(tmp_path / "grid.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["grid.npz"]
    assert loaded == grid
    assert loaded.grid_id == grid.grid_id
    assert loaded.to_bytes() == grid.to_bytes() == ReferenceGrid.from_bytes(grid.to_bytes()).to_bytes()
    window = make_table(800, 4)
    assert loaded.count(window) == grid.count(window)
    assert detect(loaded, loaded.count(window)).to_dict() == detect(grid, grid.count(window)).to_dict()


def test_load_of_another_file_names_it(grid: ReferenceGrid, tmp_path: Path) -> None:
    path = tmp_path / "grid.npz"
    for data in (b"", b"not a grid", grid.to_bytes()[:-200], grid.to_bytes()[200:]):
        path.write_bytes(data)
        with pytest.raises(SchemaError, match=r"grid\.npz"):
            ReferenceGrid.load(path)


def test_load_of_another_format_names_its_number(grid: ReferenceGrid) -> None:
    with np.load(io.BytesIO(grid.to_bytes())) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = arrays["header"].tobytes().replace(b'"format": 2', b'"format": 9')
    arrays["header"] = np.frombuffer(header, np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(SchemaError, match="format 9"):
        ReferenceGrid.from_bytes(buffer.getvalue())


def test_load_of_a_grid_with_pickles_raises(grid: ReferenceGrid) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array([{"format": 1}], dtype=object))
    with pytest.raises(SchemaError):
        ReferenceGrid.from_bytes(buffer.getvalue())
    assert all(name.endswith(".npy") for name in zipfile.ZipFile(io.BytesIO(grid.to_bytes())).namelist())


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"features": {"x": "number"}}, ConfigError, "unknown kind 'number'"),
        ({"features": {}}, ConfigError, "at least one"),
        ({"features": {"xx": "numeric"}}, SchemaError, "no column 'xx'; did you mean 'x'"),
        ({"features": KINDS, "outputs": OUTPUTS}, ConfigError, "holdout"),
        ({"features": KINDS, "outputs": {"x": "numeric"}, "holdout": make_table(5, 0)}, ConfigError, "both.*x"),
        ({"features": KINDS, "holdout": make_table(5, 0), "loss": np.zeros(4)}, SchemaError, "5 rows"),
        ({"features": KINDS, "holdout": make_table(5, 0), "loss": np.full(5, np.nan)}, InsufficientData, "loss"),
        ({"table": make_table(0, 0), "features": KINDS}, InsufficientData, "reference"),
        ({"table": iter([]), "features": KINDS}, InsufficientData, "reference"),
    ],
)
def test_fit_of_invalid_input_explains_the_error(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ReferenceGrid.fit(**{"table": make_table(10, 0), **arguments})


def test_fit_numeric_takes_all_distinct_values_as_knots_up_to_the_limit() -> None:
    assert len(fit_numeric("x", np.arange(1024.0).repeat(3)).knots) == 1024
    many = fit_numeric("x", np.arange(100_000.0))
    assert len(many.knots) == MAX_KNOTS
    assert (many.knots[0], many.knots[-1]) == (0.0, 99_999.0)
    reference = fit_numeric("x", np.random.default_rng(0).normal(size=5000))
    assert len(reference.knots) == MAX_KNOTS


def test_fit_numeric_takes_an_atom_as_a_knot_among_quantiles() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.2, 0.0, rng.normal(size=20_000))
    assert 0.0 in fit_numeric("x", values).knots


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.arange(101.0), 50.0),
        (np.r_[np.zeros(80), np.arange(1.0, 21.0)], 10.0),
        (np.r_[np.zeros(999), 7.0], 7.0),
        (np.full(10, 3.0), 0.0),
        (np.array([1e9, 1e9 + 1e-7] * 5), 0.0),
    ],
)
def test_fit_numeric_scale_is_the_narrowest_central_range_with_a_width(values: np.ndarray, scale: float) -> None:
    assert fit_numeric("x", values).scale == pytest.approx(scale, rel=0.02)


def test_archive_holds_no_time_of_writing(grid: ReferenceGrid) -> None:
    with zipfile.ZipFile(io.BytesIO(grid.to_bytes())) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
