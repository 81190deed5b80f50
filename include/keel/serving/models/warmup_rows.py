"""Warm-up rows: made from the reference grid to warm a version and to verify fast scoring paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keel.serving.models.input_schema import Features

if TYPE_CHECKING:
    from keel.grid.column_grid import ColumnGrid
    from keel.grid.reference import ReferenceGrid
    from keel.serving.models.input_schema import Inputs

ROWS = 16
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""A category that no version has seen."""


def typical_rows(grid: ReferenceGrid, inputs: Inputs) -> Features:
    """Return rows with values from the version's training rows.

    Each numeric column runs from its lowest to its highest value; categories are the most frequent ones. A feature that
    the version was not trained on is missing.
    """
    known = {name: grid.column(name) for name in grid.features}
    numbers = np.array([_numbers(known.get(name)) for name in inputs.numeric]).reshape(len(inputs.numeric), ROWS)
    return Features(inputs.numeric, numbers, {name: _texts(known.get(name)) for name in inputs.categorical})


def unusual_rows(rows: Features) -> Features:
    """Return the same rows with missing values and unknown categories, in varying combinations of columns."""
    numbers = rows.numbers.copy()
    for column in range(len(numbers)):
        numbers[column, (np.arange(ROWS) + column) % 3 == 0] = np.nan
    texts = {
        name: [(None, UNKNOWN, text, text)[(row + turn) % 4] for row, text in enumerate(values)]
        for turn, (name, values) in enumerate(rows.texts.items())
    }
    return Features(rows.names, numbers, texts)


def _numbers(column: ColumnGrid | None) -> list[float]:
    if column is None or not len(column.knots):
        return [float("nan")] * ROWS
    places = np.rint(np.linspace(0, len(column.knots) - 1, ROWS)).astype(int)
    # each column starts at another position, so that no row has the lowest values of all columns
    return np.roll(column.knots[places], _offset(column.name)).tolist()


def _offset(name: str) -> int:
    """Return a small number derived from a name, the same in every process."""
    return sum(name.encode()) % ROWS


def _texts(column: ColumnGrid | None) -> list[str | None]:
    if column is None or not column.vocabulary:
        return [None] * ROWS
    offset = _offset(column.name)
    return [column.vocabulary[(row + offset) % len(column.vocabulary)] for row in range(ROWS)]
