"""Read a table of any form: a frame, an Arrow object, a mapping of columns, or a path to Parquet or CSV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any
from unicodedata import normalize

import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import ConfigError
from keel.sources.files import open_file
from keel.values.columns import is_frame, is_text, plain, read_column

FORMS = (
    "a pandas or polars DataFrame, an Arrow table or stream, a mapping of columns, or a path to a Parquet or CSV file"
)
LONGEST_MESSAGE = 200
MIN_ROWS = 30
"""Rows that two tables, or two versions' scores, need without a configuration. The thresholds allow for chance at any
size, and whoever compares has chosen the rows; a check every six hours needs more (`DriftConfig.min_rows`)."""


@dataclass(frozen=True)
class Frame:
    """A table of which every name is a text that occurs once."""

    label: str
    """What a reader calls it: ``reference``, ``current``, or the name of its file."""
    table: pa.Table
    duplicates: tuple[str, ...] = ()
    """Names that several columns had; the first column of each is used."""
    mixed: frozenset[str] = field(default_factory=frozenset)
    """Columns of Python objects of several types; their values are read as texts."""

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.table.num_rows)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(self.table.column_names)

    @cached_property
    def name_set(self) -> frozenset[str]:
        """The same, to look one up among thousands."""
        return frozenset(self.names)

    def column(self, name: str) -> Any:
        """Return one column as an arrow array, without extension types."""
        return plain(self.table.column(name))


def name_of(given: object) -> str:
    """Return a column's name as `Frame` has it: a text, in Unicode's composed form (NFC).

    >>> name_of(0), name_of(("size", "mean"))
    ('0', 'size / mean')
    """
    return normalize("NFC", " / ".join(map(str, given)) if isinstance(given, tuple) else str(given))


def read_frame(data: Any, label: str, columns: Iterable[object] | None = None) -> Frame:
    """Read a table. Names are compared in Unicode's composed form (NFC), and names that are no texts become texts.

    data: see `FORMS`. label: of the table in messages; a path's is its file's name. columns: the ones to read, those
    that the table lacks ignored; None for all.

    Raises
    ------
    ConfigError
        The data has none of these forms, or its file cannot be read.

    """
    wanted = None if columns is None else frozenset(map(name_of, columns))
    if isinstance(data, str | os.PathLike):
        return _from_file(os.fspath(data), wanted)
    try:
        return _from_object(data, label, wanted)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        said = " ".join(str(error).split())[:LONGEST_MESSAGE]
        raise ConfigError(f"{label}: cannot be read as a table: {said}") from None


def _from_object(data: Any, label: str, wanted: frozenset[str] | None) -> Frame:
    if isinstance(data, Mapping):
        import pandas as pd

        data = pd.DataFrame(dict(data))
    if is_frame(data) and not hasattr(data, "num_rows"):
        return _from_pandas(data, label, wanted)
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # a lazy frame of polars
        data = data.collect()
    return _from_arrow(_as_table(data, label), label, wanted)


def _as_table(data: Any, label: str) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        table = pa.table(data)
        if isinstance(table, pa.Table) and table.column_names != [""]:
            return table
    raise ConfigError(f"{label}: is a {type(data).__name__}; pass {FORMS}")


def _chosen(names: Iterable[object], wanted: frozenset[str] | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return name → position of the first column with it, and the names of several columns."""
    first: dict[str, int] = {}
    twice: dict[str, None] = {}
    for position, given in enumerate(names):
        name = name_of(given)
        if wanted is not None and name not in wanted:
            continue
        if name in first:
            twice[name] = None
        first.setdefault(name, position)
    return first, tuple(twice)


def _from_arrow(table: pa.Table, label: str, wanted: frozenset[str] | None) -> Frame:
    first, twice = _chosen(table.column_names, wanted)
    chosen = pa.table([table.column(i) for i in first.values()], names=list(first)) if first else pa.table({})
    return Frame(label, chosen, twice)


def _from_pandas(data: Any, label: str, wanted: frozenset[str] | None) -> Frame:
    first, twice = _chosen(data.columns, wanted)
    numbered = data.set_axis([str(position) for position in range(data.shape[1])], axis=1)
    arrays: dict[str, Any] = {}
    mixed = set()
    for name, position in first.items():
        if _is_mixed(numbered[str(position)]):
            mixed.add(name)
        column = read_column(numbered, str(position))
        arrays[name] = column if isinstance(column, pa.Array) else pa.array(column)
    return Frame(label, pa.table(arrays), twice, frozenset(mixed))


def _is_mixed(values: Any) -> bool:
    if values.dtype.kind != "O":
        return False
    from pandas.api.types import infer_dtype

    return infer_dtype(values, skipna=True) in {"mixed", "mixed-integer"}


def _from_file(path: str, wanted: frozenset[str] | None) -> Frame:
    with open_file(path) as source:
        first, twice = _chosen(source.columns, wanted)
        own = [source.columns[position] for position in first.values()]
        parts = list(source.read([*dict.fromkeys(own)])) if own else []
        label = PurePath(source.name).name or source.name
    if not parts:
        return Frame(label, pa.table({name: pa.array([], pa.null()) for name in first}), twice)
    table = _from_arrow(pa.concat_tables(parts, promote_options="permissive"), label, wanted).table
    return Frame(label, _without_empty_texts(table) if source.has_only_texts else table, twice)


def _without_empty_texts(table: pa.Table) -> pa.Table:
    """Return the table with null for empty fields, which is what they are in a CSV file."""
    empty, missing = pa.scalar("", pa.string()), pa.scalar(None, pa.string())
    columns = [
        pc.if_else(pc.equal(column, empty), missing, column) if is_text(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)
