"""What is one number: within the rounding to 32 bits of a knot, unless the column is finer than that."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel import ReferenceGrid
from keel.grid import archive
from keel.grid.column_grid import fit_numeric
from keel.grid.kernel import count_column
from keel.grid.rounding import EXACT_BITS, half_steps, knot_bounds, merge_roundings, round_to_bits

MANY = settings(deadline=None, max_examples=200, derandomize=True)
in_float32 = st.floats(1e-30, 1e30) | st.floats(-1e30, -1e-30)


@MANY
@given(in_float32)
def test_bounds_of_a_knot_hold_its_float32_and_what_has_it_as_float32(value: float) -> None:
    rounded = float(np.float32(value))
    for knot, other in ((value, rounded), (rounded, value)):
        grid = fit_numeric("x", np.array([knot]))
        assert count_column(grid, np.array([other]), 1).cells.tolist() == [0, 1, 0]


@MANY
@given(in_float32)
def test_bounds_of_a_knot_hold_nothing_two_steps_away(value: float) -> None:
    step = Fraction(float(np.spacing(np.float32(abs(value)))))
    grid = fit_numeric("x", np.array([value]))
    for other in (Fraction(value) - 2 * step, Fraction(value) + 2 * step):
        assert count_column(grid, np.array([float(other)]), 1).cells[1] == 0


def test_half_steps_of_exact_columns_are_zero() -> None:
    assert half_steps(np.array([0.99, 1e300]), EXACT_BITS).tolist() == [0.0, 0.0]


def test_knot_bounds_of_knots_that_float32_cannot_tell_apart_are_the_knots() -> None:
    knots = np.array([-1.7e308, 1.0, 1.0 + 2.0**-23, 1.5, 1.7e308])
    least, greatest = knot_bounds(knots, 24)
    assert (least == knots).tolist() == (greatest == knots).tolist() == [False, True, True, False, False]
    assert np.isfinite([least, greatest]).all()


@pytest.mark.filterwarnings("error")
def test_values_beside_the_greatest_float_are_rounded_and_merged_without_a_warning() -> None:
    greatest = float(np.finfo(np.float64).max)
    values = np.array([-greatest, -1.0, 1.7e308, greatest])
    assert np.isfinite(round_to_bits(values)).all()
    assert round_to_bits(values)[-1] == greatest
    assert merge_roundings(values, np.array([1, 1, 1, 1])).tolist() == values.tolist()
    assert fit_numeric("x", values).knots.tolist() == values.tolist()


def test_merge_roundings_takes_the_most_frequent_of_one_number() -> None:
    price = 0.99
    rounded = float(np.float32(price))
    values = np.array([price, np.nextafter(price, 1), rounded, 5.0])
    assert merge_roundings(values, np.array([3, 1, 2, 1])).tolist() == [price, price, price, 5.0]
    assert merge_roundings(values, np.array([1, 3, 2, 1])).tolist() == [values[1], values[1], values[1], 5.0]
    assert merge_roundings(values, np.array([1, 1, 3, 1])).tolist() == [rounded, rounded, rounded, 5.0]


def test_merge_roundings_leaves_columns_that_are_finer() -> None:
    seconds = 1.7e9 + np.arange(1000.0)
    narrow = 1e9 + np.arange(1000) * 1e-3
    dense = 1e15 + np.arange(1000.0) / 4
    for values in (seconds, seconds[:2], 1e15 + seconds, narrow, dense, np.array([0.0, 5e-324, 1e-300]), np.zeros(0)):
        assert merge_roundings(values, np.ones(len(values), dtype=np.int64)).tolist() == values.tolist()


def test_grid_of_format_1_counts_exactly_and_keeps_its_bytes() -> None:
    """What an earlier Keel stored: its hourly counts and the new ones must be of one rule."""
    new = ReferenceGrid.fit(pa.table({"x": [0.99, 1.99] * 50}), {"x": "numeric"})
    content = archive.Content(**{name: getattr(new, name) for name in archive.FIELDS})
    exact = [archive.ColumnGrid(c.name, c.kind, c.knots, scale=c.scale) for c in content.columns]
    old = archive.Content(tuple(exact), content.n_features, content.n_reference, content.reference).identified()
    stored = archive.dump(old)
    read = ReferenceGrid.from_bytes(stored)
    assert (read.to_bytes(), read.grid_id) == (stored, old.reference.grid_id)
    assert read.grid_id != new.grid_id
    window = pa.table({"x": np.float32([0.99, 1.99])})
    assert read.count(window).column("x").cells.tolist() == [0, 0, 1, 0, 1]
    assert new.count(window).column("x").cells.tolist() == [0, 1, 0, 1, 0]
    assert ReferenceGrid.from_bytes(new.to_bytes()).count(window) == new.count(window)
