"""Convert a batch of predictions into the columns of the store, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from keel.errors import SchemaError
from keel.store.predictions import casting
from keel.store.predictions.layout import ALLOCATION, ARRIVAL, EXPERIMENT, OUTPUTS, Layout
from keel.store.predictions.packing import NUMBERS, PACKED, pack, unpack
from keel.values.columns import name_texts, plain
from keel.values.names import as_configured

if TYPE_CHECKING:
    from keel.config import FeatureKind

OUTPUT_KINDS: dict[str, FeatureKind] = dict.fromkeys(OUTPUTS, "numeric")
SHADOW = "shadow_version"
LABEL_ARRIVAL = "label_arrival"
# columns besides the features and those that every row has
OPTIONAL: dict[str, FeatureKind] = {**OUTPUT_KINDS, **ALLOCATION, **EXPERIMENT}
TEXTS = frozenset(
    {"id", "absent", "invalid", *PACKED, *(name for name, kind in OPTIONAL.items() if kind == "categorical")}
)
INTEGERS = frozenset({"version", SHADOW, ARRIVAL, LABEL_ARRIVAL})
TIMES = frozenset({"time", "observed_at"})


@dataclass(frozen=True)
class AppendResult:
    """The result of storing a batch: rows stored, rows whose id was stored already, and columns that differ.

    missing_columns: features that the batch did not have. extra_columns: columns that are no feature and were not
    stored. invalid: by column, the number of values that did not fit its kind.
    """

    stored: int
    duplicates: int
    missing_columns: list[str] = field(default_factory=list)
    extra_columns: list[str] = field(default_factory=list)
    invalid: dict[str, int] = field(default_factory=dict)


def encode(table: pa.Table, layout: Layout) -> tuple[pa.Table, AppendResult]:
    """Return the rows to store, each id once, with the layout's columns, and the result if none of them is new.

    Raises SchemaError for a table without usable ids, times or versions.
    """
    if not isinstance(table, pa.Table):
        raise SchemaError(f"predictions must be a pyarrow Table, not {type(table).__name__}")
    table = _under_configured_names(table, layout)
    names = set(table.column_names)
    missing = [name for name in layout.kinds if name not in names]
    kinds = {**OPTIONAL, **layout.kinds}
    extra = [name for name in table.column_names if name not in kinds and name not in ("id", "time", "version")]
    if table.num_rows == 0:
        return table.select([]), AppendResult(0, 0, missing, extra)
    del kinds[SHADOW]
    casts = {
        name: casting.to_kind(casting.take(table, name), kind, name) for name, kind in kinds.items() if name in names
    }
    size = table.num_rows
    columns = {
        "id": casting.to_ids(table),
        "time": casting.to_times(table, "time"),
        "version": casting.to_versions(table, "version"),
        SHADOW: casting.to_versions(table, SHADOW),
        "absent": pa.repeat(pa.scalar(json.dumps(missing) if missing else None, pa.string()), size),
        "invalid": casting.invalid_column(casts, size),
        **{name: casts[name].values if name in casts else empty(kind, size) for name, kind in kinds.items()},
    }
    invalid = {name: len(cast.invalid) for name, cast in casts.items() if cast.invalid}
    rows = pa.table(columns)
    first = casting.first_occurrences(columns["id"])
    rows = rows if first.all() else rows.filter(pa.array(first))
    return pack(rows, layout.slots, layout.kinds), AppendResult(0, size, missing, extra, invalid)


def _under_configured_names(table: pa.Table, layout: Layout) -> pa.Table:
    """Return the table with the features' names as configured, whichever way their accents are encoded."""
    found = as_configured(table.column_names, layout.kinds)
    return table.rename_columns([found.get(name, name) for name in table.column_names]) if found else table


def empty(kind: FeatureKind, size: int) -> pa.Array:
    """Return a column of nulls."""
    return pa.nulls(size, pa.float64() if kind == "numeric" else pa.string())


def decode(stored: pa.Table, names: list[str], features: Mapping[str, FeatureKind]) -> pa.Table:
    """Return the rows of a query under their names and in their types, whatever types the driver returned."""
    texts = TEXTS.union(name for name, kind in features.items() if kind == "categorical")
    types = {name: pa.int64() for name in INTEGERS} | {name: casting.UTC_MICROSECONDS for name in TIMES}
    types[NUMBERS] = pa.large_binary()
    columns = [
        _in_type(column, types.get(name) or (pa.string() if name in texts else pa.float64()))
        for name, column in zip(names, stored.columns, strict=True)
    ]
    # earlier releases stored categories as they were written
    read = [
        name_texts(plain(c))[0] if features.get(n) == "categorical" else c for n, c in zip(names, columns, strict=True)
    ]
    return pa.table(read, names=names)


def _in_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column of a query in a type. SQLite's driver returns one without values as integers, never bytes."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    return column.cast(kind)


def decode_packed(stored: pa.Table, names: list[str], layout: Layout) -> pa.Table:
    """Return the rows of a query for ``layout.stored_names(names)`` as `decode` does, with the columns ``names``."""
    rows = decode(stored, layout.stored_names(names), layout.kinds)
    slots = {name: slot for name, slot in layout.slots.items() if name in names}
    return unpack(rows, slots, layout.kinds).select(names) if slots else rows
