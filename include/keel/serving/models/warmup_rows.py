"""Rows that no client has sent: to warm a version with before it answers anybody, and to try shorter ways on."""

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
"""A category that no version was trained on."""


def typical(grid: ReferenceGrid, inputs: Inputs) -> Features:
    """Return rows of values that the version was trained on: each column from its least to its greatest value, and its
    most frequent categories. A feature that it was not trained on, and so does not need, is missing.
    """
    known = {name: grid.column(name) for name in grid.features}
    numbers = np.array([_numbers(known.get(name)) for name in inputs.numeric]).reshape(len(inputs.numeric), ROWS)
    return Features(inputs.numeric, numbers, {name: _texts(known.get(name)) for name in inputs.categorical})


def unusual(rows: Features) -> Features:
    """Return the same rows with values missing and categories never seen, in all combinations of columns by turns."""
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
    # a column's order is turned, so that rows are no two ends of everything at once
    return np.roll(column.knots[places], _turn(column.name)).tolist()


def _turn(name: str) -> int:
    """Return a small number for a name, the same in every process."""
    return sum(name.encode()) % ROWS


def _texts(column: ColumnGrid | None) -> list[str | None]:
    if column is None or not column.vocabulary:
        return [None] * ROWS
    turn = _turn(column.name)
    return [column.vocabulary[(row + turn) % len(column.vocabulary)] for row in range(ROWS)]
