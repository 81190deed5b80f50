"""Counts of any split of a window, in any order, add up to those of the window."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel import Counts, DriftConfig, ReferenceGrid, detect
from keel.errors import GridMismatch, SchemaError
from keel.grid.column_grid import fit_categorical, fit_numeric
from keel.grid.counts import TAILS
from keel.grid.kernel import assign_rows, count_column
from keel.values.columns import read_column

KINDS = {"x": "numeric", "skewed": "numeric", "hour": "numeric", "carrier": "categorical"}


def make_table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    x[rng.random(rows) < 0.05] = np.nan
    x[rng.random(rows) < 0.02] = np.inf
    x[rng.random(rows) < 0.02] = -np.inf
    carrier = rng.choice(["AA", "UA", "DL", "new"], rows, p=[0.5, 0.3, 0.15, 0.05]).astype(object)
    carrier[rng.random(rows) < 0.1] = None
    return pa.table(
        {
            "x": pa.array(x),
            "skewed": np.exp(4 * rng.normal(size=rows)),
            "hour": rng.integers(0, 24, rows),
            "carrier": pa.array(carrier, pa.string()),
        }
    )


@pytest.fixture(scope="module")
def grid() -> ReferenceGrid:
    return ReferenceGrid.fit(make_table(3000, 0), KINDS)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(cuts=st.lists(st.integers(0, 700), max_size=6), order=st.randoms(use_true_random=False))
def test_counts_of_any_split_in_any_order_are_equal(grid: ReferenceGrid, cuts: list[int], order: object) -> None:
    window = make_table(700, 1)
    edges = [0, *sorted(cuts), 700]
    parts = [window.slice(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]
    order.shuffle(parts)  # type: ignore[attr-defined]
    whole = grid.count(window)
    split = sum(grid.count(part) for part in parts)
    assert split == whole
    assert split.to_bytes() == whole.to_bytes()
    config = DriftConfig(min_rows=100)
    assert detect(grid, split, config).to_dict() == detect(grid, whole, config).to_dict()


def test_counts_row_by_row_equal_counts_at_once(grid: ReferenceGrid) -> None:
    window = make_table(120, 2)
    assert sum(grid.count(window.slice(i, 1)) for i in range(120)) == grid.count(window)


def test_count_of_small_batches_is_that_of_one_table(grid: ReferenceGrid) -> None:
    window = make_table(5000, 3)
    assert grid.count(window.to_batches(max_chunksize=100)) == grid.count(window)
    assert grid.count(iter([])) == Counts.zero(grid)
    mixed = [window.slice(0, 100), window.slice(100, 900).to_pandas(), window.slice(1000).drop_columns(["hour"])]
    assert grid.count(mixed) == sum(grid.count(batch) for batch in mixed)


def test_count_with_one_thread_equals_count_with_several(monkeypatch: pytest.MonkeyPatch) -> None:
    window = make_table(60_000, 4)
    several = ReferenceGrid.fit(window, KINDS)
    monkeypatch.setattr("keel.grid.threads.MAX_THREADS", 1)
    single = ReferenceGrid.fit(window, KINDS)
    assert single == several
    assert single.count(window) == several.count(window) == several.reference


def test_cells_and_tails_of_every_column_sum_to_the_rows(grid: ReferenceGrid) -> None:
    counts = grid.count(make_table(1000, 5))
    for name in KINDS:
        column = counts.column(name)
        assert column.n == counts.n == 1000
        assert column.n_counted + sum(column.tails) == 1000
        assert column.all_cells().sum() == 1000
    assert counts.column("x").neg_inf > 0
    assert counts.column("x").pos_inf > 0


def test_sum_of_counts_starts_from_zero_which_is_neutral(grid: ReferenceGrid) -> None:
    counts = grid.count(make_table(50, 6))
    assert sum([counts]) == counts
    assert counts + Counts.zero(grid) == counts
    assert Counts.zero(grid).n == 0
    with pytest.raises(TypeError):
        counts + 1  # noqa: B018


def test_counts_of_another_grid_raise_grid_mismatch(grid: ReferenceGrid) -> None:
    other = ReferenceGrid.fit(make_table(3000, 7), KINDS)
    with pytest.raises(GridMismatch, match=other.grid_id[:12]):
        grid.count(make_table(5, 0)) + other.count(make_table(5, 0))


def test_counts_round_trip_through_compact_bytes(grid: ReferenceGrid) -> None:
    counts = grid.count(make_table(1000, 8))
    data = counts.to_bytes()
    assert Counts.from_bytes(data) == counts
    assert Counts.from_bytes(data).to_bytes() == data
    assert len(data) < 5000
    empty = Counts.zero(grid)
    assert Counts.from_bytes(empty.to_bytes()) == empty


@pytest.mark.parametrize("width", [255, 256, 70_000, 5_000_000_000])
def test_counts_of_any_size_round_trip_through_bytes(grid: ReferenceGrid, width: int) -> None:
    counts = grid.count(make_table(10, 9))
    cells = counts.cells.copy()
    cells[3] = width
    big = Counts(
        counts.grid_id,
        counts.layout,
        counts.n,
        cells,
        counts.tails.copy(),
        counts.overshoot.copy(),
        counts.extremes.copy(),
    )
    assert Counts.from_bytes(big.to_bytes()).cells[3] == width


@pytest.mark.parametrize("damage", [b"", b"hello", b"KEELCNT1", b"KEELCNT1junk"])
def test_counts_from_damaged_bytes_raise_schema_error(damage: bytes) -> None:
    with pytest.raises(SchemaError):
        Counts.from_bytes(damage)


def test_counts_from_truncated_bytes_raise_schema_error(grid: ReferenceGrid) -> None:
    data = grid.count(make_table(100, 1)).to_bytes()
    for end in range(0, len(data) - 1, 97):
        with pytest.raises(SchemaError):
            Counts.from_bytes(data[:end])


def test_counts_are_read_only(grid: ReferenceGrid) -> None:
    counts = grid.count(make_table(10, 1))
    with pytest.raises(ValueError, match="read-only"):
        counts.cells[0] = 1


def test_counts_of_negative_zero_equal_those_of_zero() -> None:
    grid = ReferenceGrid.fit(pa.table({"x": [-0.0, 1.0]}), {"x": "numeric"})
    assert grid == ReferenceGrid.fit(pa.table({"x": [0.0, 1.0]}), {"x": "numeric"})
    assert grid.count(pa.table({"x": [-0.0]})).to_bytes() == grid.count(pa.table({"x": [0.0]})).to_bytes()


@pytest.mark.parametrize(
    "shape", ["normal", "lognormal", "cauchy", "integers", "zeros", "two_clusters", "tiny", "huge"]
)
def test_count_column_of_any_shape_agrees_with_a_search(shape: str) -> None:
    rng = np.random.default_rng(0)
    draw = {
        "normal": lambda n: rng.normal(size=n),
        "lognormal": lambda n: np.exp(5 * rng.normal(size=n)),
        "cauchy": lambda n: rng.standard_cauchy(n),
        "integers": lambda n: rng.poisson(40, n).astype(float),
        "zeros": lambda n: np.where(rng.random(n) < 0.8, 0.0, rng.exponential(size=n)),
        "two_clusters": lambda n: np.where(rng.random(n) < 0.5, 1e-9, 1e9) * rng.normal(size=n),
        "tiny": lambda n: 5e-324 * rng.integers(0, 5000, n),
        "huge": lambda n: 1.7e308 * rng.uniform(-1, 1, n),
    }[shape]
    grid = fit_numeric("x", draw(20_000))
    values = draw(20_000)
    least, greatest = grid.knot_bounds
    expected = np.bincount(
        np.searchsorted(least, values, "right") + np.searchsorted(greatest, values, "left"), minlength=grid.size
    )
    assert np.array_equal(count_column(grid, values, len(values)).cells, expected)
    rows = assign_rows(grid, values, len(values))
    assert np.array_equal(np.bincount(rows, minlength=grid.size), expected)


def test_assign_rows_agrees_with_count_column(grid: ReferenceGrid) -> None:
    window = make_table(2000, 11).append_column("words", pa.array(["1.5", "x"] * 1000))
    for name in [*KINDS, "words"]:
        column = grid.column("x" if name == "words" else name)
        values = read_column(window, name)
        rows = assign_rows(column, values, 2000)
        counted = np.bincount(rows, minlength=column.size + len(TAILS))
        assert np.array_equal(counted, count_column(column, values, 2000).all_cells())
    assert set(assign_rows(grid.column("x"), None, 3)) == {grid.column("x").size + TAILS.index("absent")}


# Storage types of a column.

NUMBERS = [1.0, 2.0, None, 3.0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(NUMBERS),
        pa.array([1, 2, None, 3], pa.int8()),
        pa.array([1, 2, None, 3], pa.uint64()),
        pa.array(NUMBERS, pa.float32()),
        pa.array([Decimal("1"), Decimal("2"), None, Decimal("3.0")], pa.decimal128(5, 1)),
        pa.array(["1", " 2.0", None, "3e0"]),
        pa.array(["1", "2", None, "3"], pa.large_string()),
        pa.array(["1", "2", None, "3"], pa.string_view()),
        pa.array([b"1", b"2", None, b"3"]),
        pa.array([1.0, 2.0, None, 3.0]).dictionary_encode(),
        pa.array(["1", "2", None, "3"]).dictionary_encode(),
        pa.array([1, 2, None, 3], pa.timestamp("s")),
        pa.array([1000, 2000, None, 3000], pa.timestamp("ms", "UTC")),
        pa.array([1, 2, None, 3], pa.duration("s")),
        pa.array([1, 2, None, 3], pa.time32("s")),
    ],
    ids=lambda column: str(column.type),
)
def test_count_column_reads_numbers_of_any_type(column: pa.Array) -> None:
    grid = fit_numeric("x", np.array([1.0, 2.0, 3.0]))
    counted = count_column(grid, column, 4)
    assert counted.cells.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert counted.tails == (1, 0, 0, 0, 0)


def test_fit_numeric_reads_booleans_as_zero_and_one_and_dates_as_seconds() -> None:
    grid = fit_numeric("x", pa.array([True, False, True]))
    assert grid.knots.tolist() == [0.0, 1.0]
    assert count_column(grid, pa.array(["true", "False", "1"]), 3).cells.tolist() == [0, 1, 0, 2, 0]
    day = pa.array([datetime(1970, 1, 2, tzinfo=UTC).date()])
    assert fit_numeric("x", day).knots.tolist() == [86400.0]


def test_count_column_counts_other_types_as_invalid() -> None:
    grid = fit_numeric("x", np.array([1.0, 2.0]))
    words = pa.array(["1", "two", "", None, "nan", "inf", "1_000"])
    counted = count_column(grid, words, 7)
    assert counted.cells.tolist() == [0, 1, 0, 0, 0]
    assert counted.tails == (2, 0, 1, 3, 0)
    lists = count_column(grid, pa.array([[1.0], None]), 2)
    assert lists.tails == (1, 0, 0, 1, 0)
    raw = count_column(grid, pa.array([b"\xff", b"2", None]), 3)
    assert (raw.cells.tolist(), raw.tails) == ([0, 0, 0, 1, 0], (1, 0, 0, 1, 0))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "2", None, "1"]),
        pa.array([1, 2, None, 1]),
        pa.array([1.0, 2.0, None, 1.0]),
        pa.array([1.0, 2.0, float("nan"), 1.0]),
        pa.array([1.0, 2.0, None, 1.0], pa.float32()),
        pa.array([Decimal("1.00"), Decimal("2.00"), None, Decimal("1.00")]),
        pa.array([1, 2, None, 1]).dictionary_encode(),
        pa.array(["1", "2", None, "1"], pa.large_string()).dictionary_encode(),
        pa.array(["1", "2", None, "1"], pa.string_view()),
        pa.array([b"1", b"2", None, b"1"]),
    ],
    ids=lambda column: str(column.type),
)
def test_count_column_counts_a_category_of_any_type_alike(column: pa.Array) -> None:
    for grid in (fit_categorical("c", pa.array(["1", "2", "1"])), fit_categorical("c", pa.array([1.0, 2.0, 1.0]))):
        assert grid.vocabulary == ("1", "2")
        counted = count_column(grid, column, 4)
        assert (counted.cells.tolist(), counted.missing) == ([2, 1, 0], 1)


def test_fit_categorical_names_booleans_fractions_and_dates_uniquely() -> None:
    assert fit_categorical("c", pa.array([True, False, True])).vocabulary == ("true", "false")
    assert fit_categorical("c", pa.array([0.1], pa.float32())).vocabulary == ("0.1",)
    assert fit_categorical("c", pa.array([Decimal("0.10")])).vocabulary == ("0.1",)
    seconds, micros = pa.array([0], pa.timestamp("s")), pa.array([0], pa.timestamp("us"))
    assert fit_categorical("c", seconds).vocabulary == fit_categorical("c", micros).vocabulary


def test_count_column_counts_numbers_among_words_as_invalid_and_unknown_words_as_other() -> None:
    grid = fit_categorical("c", pa.array(["AA", "UA"]))
    assert count_column(grid, pa.array([7, 8, None]), 3).tails == (1, 0, 0, 2, 0)
    assert count_column(grid, pa.array(["7", "AA"]), 2).other == 1
    assert count_column(grid, pa.array([["AA"], None]), 2).tails == (1, 0, 0, 1, 0)
    assert count_column(grid, pa.array([b"\xff", b"AA", None]), 3).tails == (1, 0, 0, 1, 0)
    all_null = count_column(grid, pa.nulls(3), 3)
    assert all_null.missing == 3


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(["1", "2", None, "1"]),
        pd.Series(["1", "2", None, "1"], dtype="str"),
        pd.Series(["1", "2", None, "1"], dtype="string"),
        pd.Series(["1", "2", None, "1"], dtype="category"),
        pd.Series([1, 2, None, 1], dtype="Int64"),
        pd.Series([1, 2, None, 1], dtype="Float32"),
        pd.Series([1.0, 2.0, np.nan, 1.0]),
        pd.Series([1, "2", None, 1.0], dtype=object),
        pd.Series([1, b"2", pd.NA, "1"], dtype=object),
        pd.Series([1, 2, None, 1], dtype="int64[pyarrow]"),
    ],
    ids=lambda series: str(series.dtype),
)
def test_count_of_pandas_types_as_numbers_and_as_categories(series: pd.Series) -> None:
    frame = pd.DataFrame({"a": series, "b": series})
    grid = ReferenceGrid.fit(pa.table({"a": [1.0, 2.0], "b": ["1", "2"]}), {"a": "numeric", "b": "categorical"})
    counts = grid.count(frame)
    assert (counts.column("a").cells.tolist(), counts.column("a").missing) == ([0, 2, 0, 1, 0], 1)
    assert (counts.column("b").cells.tolist(), counts.column("b").missing) == ([2, 1, 0], 1)
    halves = [frame.iloc[:1], frame.iloc[1:]]
    assert grid.count(iter(halves)) == counts


def test_count_ignores_repeated_and_unknown_columns() -> None:
    grid = ReferenceGrid.fit(pa.table({"a": [1.0]}), {"a": "numeric"})
    arrow = pa.table([pa.array([1.0]), pa.array([5.0]), pa.array([[1]])], names=["a", "a", "z"])
    assert grid.count(arrow).column("a").cells.tolist() == [0, 1, 0]
    frame = pd.DataFrame([[1.0, 5.0]], columns=["a", "a"])
    assert grid.count(frame) == grid.count(arrow)


def test_overshoot_adds_up_exactly() -> None:
    grid = ReferenceGrid.fit(pa.table({"x": np.arange(101.0)}), {"x": "numeric"})
    scale = grid.column("x").scale
    assert scale == 50.0
    values = np.array([150.0, -25.0, 1e300, 50.0, np.inf])
    column = grid.count(pa.table({"x": values})).column("x")
    assert column.below / 65536 == 0.5
    assert column.above / 65536 == 1.0 + 2**20
    assert sum(grid.count(pa.table({"x": values[[i]]})) for i in (3, 0, 2, 4, 1)).column("x").above == column.above


def test_fit_categorical_bounds_the_vocabulary_and_breaks_ties_by_name() -> None:
    values = [f"{i:04d}" for i in range(1500)] + ["1499"]
    grid = fit_categorical("c", pa.array(values[::-1]))
    assert len(grid.vocabulary) == 1000
    assert grid.vocabulary[:3] == ("1499", "0000", "0001")
    assert count_column(grid, pa.array(values), len(values)).other == 500
    assert grid.novel == 1499 + 2


def test_count_of_other_data_raises_type_error(grid: ReferenceGrid) -> None:
    for data in (3, "table", {"x": [1]}, [{"x": 1}]):
        with pytest.raises(TypeError, match="expected"):
            grid.count(data)
