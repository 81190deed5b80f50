"""The context of each row: rows are compared with rows of the same context only.

A context is a value of a feature, or the hour or the weekday of the row's time in UTC, or a combination of several. A
feature named ``hour`` comes before the hour of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.grid.kernel import assign_rows
from keel.grid.tables import number_of_rows
from keel.values.columns import read_column, read_numbers
from keel.values.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from keel.grid.column_grid import ColumnGrid
    from keel.grid.counts import ColumnCounts, Integers

MAX_CONTEXTS = 200
"""Contexts with counts of their own, the most frequent of the reference; further ones are in the context `OTHER`."""
OTHER = "other"
"""The context of rows whose context the reference does not have."""
MISSING = "missing"
"""The value of rows without a value: null, NaN, infinite, invalid, or in an absent column."""

_VALUES_OF_TIME = {"hour": 24, "weekday": 7}
_HOUR = 3600
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, eq=False)
class Contexts:
    """The contexts of one reference.

    Parameters
    ----------
    names
        Features, ``hour`` or ``weekday``. Empty: all rows are in one context.
    grids
        The cells of each name that is a feature; None for a part of the time.
    known
        The code of each name's value in each known context, shape (contexts, names), rows ascending. The code is the
        cell, the hour, or the day from Monday = 0; -1 stands for a missing value.

    """

    names: tuple[str, ...]
    grids: tuple[ColumnGrid | None, ...]
    known: Integers

    @classmethod
    def named(cls, names: Sequence[str], grids: Mapping[str, ColumnGrid]) -> Contexts:
        """Return contexts of which none is known yet.

        grids: of the version's features. A name that is neither of them nor of the time has no value in any row.
        """
        return cls(tuple(names), tuple(grids.get(name) for name in names), np.zeros((0, len(names)), dtype=np.int64))

    @property
    def labels(self) -> tuple[str, ...]:
        """A text for each context; the last is `OTHER`. Without names there is one, ``all``."""
        if not self.names:
            return ("all",)
        texts = [" · ".join(map(self._label, range(len(self.names)), row)) for row in self.known.tolist()]
        return (*texts, OTHER)

    def codes(self, table: Any) -> Integers:
        """Return each row's value of each name, shape (rows, names); a value between two of a feature's knots is -2."""
        rows = number_of_rows(table)
        codes = np.empty((rows, len(self.names)), dtype=np.int64)
        for i, (name, grid) in enumerate(zip(self.names, self.grids, strict=True)):
            codes[:, i] = _codes_of_feature(grid, table, rows) if grid else _OF_TIME.get(name, _nothing)(table, rows)
        return codes

    def assign(self, table: Any) -> NDArray[np.intp]:
        """Return the context of each row as a position in `labels`, shape (rows,)."""
        return self.positions(self.codes(table))

    def positions(self, codes: Integers) -> NDArray[np.intp]:
        """Return the context of each row of codes as a position in `labels`, shape (rows,)."""
        position = np.zeros(len(codes), dtype=np.intp)
        for column, table in zip(codes.T, self._tables, strict=True):
            position = table[position, np.minimum(column + 2, table.shape[1] - 1)]
        return position

    @cached_property
    def _tables(self) -> list[NDArray[np.intp]]:
        """For each name: the position of every known beginning by that of the names before it and the name's code + 2.

        The last row and column are for what is not known, which has the last position.
        """
        tables = []
        begun, n_begun = np.zeros(len(self.known), dtype=np.int64), 1
        for codes in self.known.T:
            pairs, position = np.unique(np.column_stack([begun, codes + 2]), axis=0, return_inverse=True)
            table = np.full((n_begun + 1, int(codes.max(initial=-1)) + 4), len(pairs), dtype=np.intp)
            table[pairs[:, 0], pairs[:, 1]] = np.arange(len(pairs))
            tables.append(table)
            begun, n_begun = position.ravel(), len(pairs)
        return tables

    def _label(self, i: int, code: int) -> str:
        name, grid = self.names[i], self.grids[i]
        if code < 0:
            return f"{name} {MISSING}"
        if grid is None:
            return f"{name} {code:02d}" if name == "hour" else _DAYS[code]
        value = grid.vocabulary[code] if grid.kind == "categorical" else f"{grid.knots[code // 2]:g}"
        return f"{name} {value}"


def most_frequent(contexts: Contexts, codes: Integers) -> tuple[Contexts, list[str]]:
    """Return the contexts with those of the rows as the known ones, and sentences on what people should know of them.

    codes: of the reference's rows, shape (rows, names).
    """
    if not contexts.names:
        return contexts, []
    distinct, rows = np.unique(codes[(codes >= -1).all(axis=1)], axis=0, return_counts=True)
    between = bool((codes < -1).any())
    known = distinct[np.sort(np.argsort(-rows, kind="stable")[:MAX_CONTEXTS])]
    everywhere = _at_all_times(contexts, known)
    remarks = _remarks(contexts, known, len(distinct), len(everywhere), between=between)
    return Contexts(contexts.names, contexts.grids, everywhere if len(everywhere) <= MAX_CONTEXTS else known), remarks


def _at_all_times(contexts: Contexts, known: Integers) -> Integers:
    """Return the known contexts at every hour and on every weekday.

    Otherwise the nights of a reference of one day's work would be a single context, in which ranks follow the hour.
    """
    for i, (name, grid) in enumerate(zip(contexts.names, contexts.grids, strict=True)):
        if grid is None and name in _OF_TIME:
            values = np.arange(_VALUES_OF_TIME[name])
            everywhere = np.repeat(known, len(values), axis=0)
            everywhere[:, i] = np.tile(values, len(known))
            known = np.unique(np.vstack([known, everywhere]), axis=0)
    return known


def _remarks(contexts: Contexts, known: Integers, distinct: int, everywhere: int, *, between: bool) -> list[str]:
    what = " and ".join(contexts.names)
    if distinct > MAX_CONTEXTS or between:
        number = f"more than {distinct:,}" if between else f"{distinct:,}"
        return [
            f"live.context: {what} has {number} values in the reference. The {len(known)} most frequent are "
            "contexts of their own, and all others are one context. Choose a context with at most "
            f"{MAX_CONTEXTS} values."
        ]
    if everywhere > MAX_CONTEXTS:
        return [
            f"live.context: {what} have {everywhere:,} combinations over all hours and weekdays. The {len(known)} of "
            "the reference are contexts of their own, and all others are one context, in which a cycle looks like a "
            f"change. Choose a context with at most {MAX_CONTEXTS} combinations."
        ]
    if len(known) == 1:
        label = Contexts(contexts.names, contexts.grids, known).labels[0]
        return [f"live.context: {what} has one value in the reference ({label}), so it separates no rows."]
    return []


def _codes_of_feature(grid: ColumnGrid, table: Any, rows: int) -> Integers:
    cells = assign_rows(grid, read_column(table, grid.name), rows)
    other = cells == grid.size - 1 if grid.kind == "categorical" else cells % 2 == 0
    return np.where(cells >= grid.size, -1, np.where(other, -2, cells))


def _seconds(table: Any, rows: int) -> tuple[Integers, NDArray[np.bool_]]:
    """Return whole seconds since 1970-01-01 UTC, and which rows have a time."""
    column = read_column(table, "time")
    if column is None:
        return np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.bool_)
    is_arrow = not isinstance(column, np.ndarray)
    if is_arrow and pa.types.is_timestamp(column.type) and column.type.tz and not column.null_count:
        return to_micros(column).to_numpy() // 1_000_000, np.ones(rows, dtype=np.bool_)
    seconds, _ = read_numbers(column)
    known = np.isfinite(seconds)
    return np.floor(np.where(known, seconds, 0.0)).astype(np.int64), known


def _hours(table: Any, rows: int) -> Integers:
    seconds, known = _seconds(table, rows)
    return np.where(known, seconds // _HOUR % 24, -1)


def _weekdays(table: Any, rows: int) -> Integers:
    seconds, known = _seconds(table, rows)
    return np.where(known, (seconds // (24 * _HOUR) + 3) % 7, -1)  # 1970-01-01 was a Thursday


def _nothing(table: Any, rows: int) -> Integers:
    return np.full(rows, -1, dtype=np.int64)


_OF_TIME: dict[str, Callable[[Any, int], Integers]] = {"hour": _hours, "weekday": _weekdays}


def known_by_cells(contexts: Contexts, reference: Mapping[str, ColumnCounts]) -> tuple[Contexts, list[str]]:
    """Return the contexts with those as the known ones that a grid's counts make possible, and sentences for people.

    The values of each feature, the hours and the weekdays are combined, as far as there are no more than
    `MAX_CONTEXTS`; further combinations are in the context `OTHER`.
    """
    known = np.zeros((1, 0), dtype=np.int64)
    remarks = []
    for name, grid in zip(contexts.names, contexts.grids, strict=True):
        values = _possible_values(name, grid, reference)
        known = np.hstack([np.repeat(known, len(values), axis=0), np.tile(values, len(known))[:, None]])
        if len(known) > MAX_CONTEXTS:
            known = known[:MAX_CONTEXTS]
            remarks = [f"live.context: {' and '.join(contexts.names)} have more than {MAX_CONTEXTS} combinations."]
        if grid is None and name not in _OF_TIME:
            remarks.append(f"live.context: the version has no feature {name!r}, so it separates no rows.")
    if contexts.names:
        known = known[np.lexsort(known.T[::-1])]
    return Contexts(contexts.names, contexts.grids, known), remarks


def _possible_values(name: str, grid: ColumnGrid | None, reference: Mapping[str, ColumnCounts]) -> Integers:
    """Return the codes of a name's values, the most frequent first where the grid knows it."""
    if grid is None:
        return np.arange(_VALUES_OF_TIME[name]) if name in _OF_TIME else np.array([-1])
    is_numeric = grid.kind == "numeric"
    rows = reference[name].cells[1::2] if is_numeric else reference[name].cells[:-1]
    found = np.argsort(-rows, kind="stable")[: np.count_nonzero(rows)]
    return np.append(found * 2 + 1 if is_numeric else found, -1)
