"""The kernel agrees with a count of value by value, on any type and on nasty values."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.grid.column_grid import ColumnGrid, fit_categorical, fit_numeric
from keel.grid.counts import TAILS
from keel.grid.kernel import assign_rows, count_column
from keel.grid.tables import PORTION_ROWS
from keel.values.scalars import category_in
from tests.support.slow_counts import INVALID, count_numbers_slowly, count_words_slowly

MANY = settings(deadline=None, max_examples=150, derandomize=True)
NASTY = [0.0, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 2), 1.7e308, -1.7e308, np.inf, -np.inf, np.nan]
KINDS_OF_COUNT = ("missing", "neg_inf", "pos_inf", "invalid", "below", "above", "minimum", "maximum")

numbers = st.one_of(st.sampled_from(NASTY), st.integers(-3, 3).map(float), st.floats(-1e-3, 1e-3), st.floats(width=64))
number_lists = st.lists(numbers, max_size=40)


def assert_counts_agree(grid: ColumnGrid, column: Any, values: list[Any]) -> None:
    expected = count_numbers_slowly(grid, values)
    counted = count_column(grid, column, len(values))
    assert counted.cells.tolist() == expected["cells"]
    assert {name: getattr(counted, name) for name in KINDS_OF_COUNT} == {n: expected[n] for n in KINDS_OF_COUNT}
    positions = np.bincount(assign_rows(grid, column, len(values)), minlength=grid.size + len(TAILS))
    assert positions.tolist() == counted.all_cells().tolist()


@MANY
@given(reference=number_lists, window=number_lists)
def test_count_column_of_nasty_floats_agrees_with_slow_count(reference: list[float], window: list[float]) -> None:
    grid = fit_numeric("x", np.array(reference))
    distinct = {value + 0.0 for value in reference if np.isfinite(value)}
    assert set(grid.knots.tolist()) <= distinct
    assert all(any(math.isclose(value, knot, rel_tol=2.0**-23) for knot in grid.knots.tolist()) for value in distinct)
    values = window + reference
    assert_counts_agree(grid, np.array(values, dtype=np.float64), values)
    assert_counts_agree(grid, pa.array(values, pa.float64(), from_pandas=True), values)


def shifted(value: int) -> float:
    return float(value) / 1e6


TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], Any]] = {
    "int8": (pa.int8(), st.integers(-128, 127), float),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1), float),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1), float),
    "float32": (pa.float32(), st.floats(width=32), float),
    "bool": (pa.bool_(), st.booleans(), float),
    "decimal": (pa.decimal128(9, 3), st.integers(-(10**8), 10**8).map(lambda i: Decimal(i) / 1000), float),
    "timestamp": (pa.timestamp("us"), st.integers(-(2**50), 2**50), shifted),
    "duration": (pa.duration("us"), st.integers(-(2**50), 2**50), shifted),
    "text": (pa.string(), st.floats().map(repr), float),
    "words": (pa.string(), st.sampled_from(["a word", "", "1_000", "é"]), lambda _: INVALID),
    "large_text": (pa.large_string(), st.sampled_from(["1", " 2.5 ", "TRUE", "-inf"]), None),
    "bytes": (pa.binary(), st.integers(-9, 9).map(lambda i: str(i).encode()), float),
    "lists": (pa.list_(pa.int8()), st.just([1]), lambda _: INVALID),
}
WORDS = {"1": 1.0, " 2.5 ": 2.5, "TRUE": 1.0, "-inf": -np.inf}


@pytest.mark.parametrize("name", TYPES)
@settings(deadline=None, max_examples=30, derandomize=True)
@given(data=st.data())
def test_count_column_of_any_type_agrees_with_slow_count(name: str, data: st.DataObject) -> None:
    kind, draw, number_of = TYPES[name]
    stored = data.draw(st.lists(st.none() | draw, max_size=30))
    number_of = number_of or WORDS.get
    values = [None if value is None else number_of(value) for value in stored]
    known = [value for value in values if isinstance(value, float)]
    grid = fit_numeric("x", np.array(known[: len(known) // 2]))
    column = pa.array(stored, kind)
    assert_counts_agree(grid, column, values)
    if name in {"int64", "text", "words"}:
        assert_counts_agree(grid, column.dictionary_encode(), values)


@MANY
@given(st.lists(st.none() | st.sampled_from("abcde"), max_size=40), st.integers(0, 40))
def test_count_column_of_words_agrees_with_slow_count(words: list[str | None], known: int) -> None:
    grid = fit_categorical("c", pa.array(words[:known], pa.string()))
    expected = count_words_slowly(grid, words)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        counted = count_column(grid, pa.array(words, kind), len(words))
        assert (counted.cells.tolist(), counted.missing) == (expected["cells"], expected["missing"])


SPELLINGS = st.sampled_from(["1", "1.0", "1.00", "2", "true", "True", "FALSE", "1e+16", "007", "word", "True love"])


@MANY
@given(st.lists(st.none() | SPELLINGS, max_size=40), st.integers(0, 40), st.integers(0, 5))
def test_count_column_of_spellings_agrees_with_slow_count(words: list[str | None], known: int, skipped: int) -> None:
    grid = fit_categorical("c", pa.array(words[:known], pa.string()))
    expected = count_words_slowly(grid, [word if word is None else category_in(word) for word in words[skipped:]])
    for kind in (pa.string(), pa.large_string()):
        column = pa.array(words, kind).slice(skipped)
        counted = count_column(grid, column, len(column))
        assert (counted.cells.tolist(), counted.missing) == (expected["cells"], expected["missing"])


def test_count_column_of_more_rows_than_a_portion_agrees_with_slow_count() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([*NASTY, *rng.normal(size=9)], PORTION_ROWS + 1_000)
    assert_counts_agree(fit_numeric("x", rng.normal(size=3_000)), values, values.tolist())
    words = pa.array(np.where(values > 0, "1.5", "none"))
    assert_counts_agree(fit_numeric("x", np.array([1.5])), words, [1.5 if v > 0 else INVALID for v in values])
