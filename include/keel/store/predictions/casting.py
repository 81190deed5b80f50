"""Cast Arrow columns to the types of the store, and back. Values that cannot be cast are kept as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import SchemaError

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
# PostgreSQL cannot index a text much longer than 2,700 bytes
LONGEST_ID = 1024
# years 1 to 9999, the range of a datetime
_FIRST_TIME, _LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999


@dataclass(frozen=True)
class Cast:
    """A column in its stored type, and by row the text of values that do not fit. Those are null in the column."""

    values: pa.Array
    invalid: dict[int, str]


def take(table: pa.Table, name: str) -> pa.Array:
    """Return a column as one array; SchemaError if it is missing or there twice."""
    found = table.schema.get_all_field_indices(name)
    if len(found) != 1:
        raise SchemaError(
            f"the table has {len(found)} columns named {name!r}, one is needed; it has {', '.join(table.column_names)}"
        )
    column = table.column(found[0])
    flat = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
    if isinstance(flat, pa.ExtensionArray):
        flat = flat.storage
    return flat.dictionary_decode() if isinstance(flat, pa.DictionaryArray) else flat


def to_ids(table: pa.Table) -> pa.Array:
    """Return the ids as strings; SchemaError for null, empty, overlong or non-text ids."""
    ids = take(table, "id")
    if not (is_text(ids.type) or pa.types.is_integer(ids.type)):
        raise SchemaError(f"column 'id' must be text or whole numbers, not {ids.type}")
    ids = refuse_nulls(ids.cast(pa.string()), "id")
    lengths = pc.min_max(pc.binary_length(ids)).as_py()
    if len(ids) and (lengths["min"] < 1 or lengths["max"] > LONGEST_ID):
        raise SchemaError(f"column 'id' has an empty id, or one longer than {LONGEST_ID} bytes")
    if pc.any(pc.match_substring(ids, "\x00")).as_py():
        raise SchemaError("column 'id' has an id with a NUL character, which PostgreSQL cannot store")
    return ids


def to_times(table: pa.Table, name: str) -> pa.Array:
    """Return microseconds since the epoch as int64. Finer units are rounded down.

    Raises SchemaError for nulls, for timestamps without a zone and for any other type, because a number has no unit.
    """
    times = take(table, name)
    if not pa.types.is_timestamp(times.type):
        raise SchemaError(f"column {name!r} must be a timestamp with a time zone, not {times.type}")
    if times.type.tz is None:
        raise SchemaError(f"column {name!r} has no time zone; say which: pc.assume_timezone(column, 'UTC')")
    refuse_nulls(times, name)
    try:
        micros = pc.floor_temporal(times, unit="microsecond") if times.type.unit == "ns" else times
        micros = micros.cast(pa.timestamp("us", tz=times.type.tz)).cast(pa.int64())
    except pa.ArrowInvalid:
        raise SchemaError(f"column {name!r} has times that no microsecond timestamp can hold") from None
    if len(micros):
        bounds = pc.min_max(micros).as_py()
        if bounds["min"] < _FIRST_TIME or bounds["max"] > _LAST_TIME:
            raise SchemaError(f"column {name!r} has times outside the years 1 to 9999")
    return micros


def to_versions(table: pa.Table, name: str) -> pa.Array:
    """Return model versions as int64, null for rows that were never scored; SchemaError for other types."""
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.int64())
    versions = take(table, name)
    try:
        if pa.types.is_floating(versions.type):
            versions = pa.array(versions.to_numpy(zero_copy_only=False), from_pandas=True)
        return versions.cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise SchemaError(f"column {name!r} must hold whole numbers, got {versions.type} with others") from None


def refuse_nulls(column: pa.Array, name: str) -> pa.Array:
    """Return the column; SchemaError that names it and a row if it has a null."""
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise SchemaError(f"column {name!r} has {column.null_count} null(s), the first in row {row}")
    return column


def to_kind(column: pa.Array, kind: str) -> Cast:
    """Return the column in the stored type of the kind: float64 for numeric, string for categorical."""
    return to_numeric(column) if kind == "numeric" else to_text(column)


def to_numeric(column: pa.Array) -> Cast:
    """Return float64: NaN is missing, infinities stay, numbers in text are parsed, other values are invalid."""
    kind = column.type
    if is_text(kind):
        return parse_numbers(column)
    if pa.types.is_null(kind):
        return Cast(pa.nulls(len(column), pa.float64()), {})
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        return Cast(without_nan(column.cast(pa.float64(), safe=False)), {})
    return Cast(pa.nulls(len(column), pa.float64()), raw_texts(column))


def parse_numbers(column: pa.Array) -> Cast:
    """Return texts as numbers. Each distinct text is parsed once."""
    encoded = column.cast(pa.string()).dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    parsed = [number(text) for text in texts]
    values = pa.array([None if n is None else n for n in parsed], pa.float64()).take(encoded.indices)
    wrong = pa.array([n is None for n in parsed], pa.bool_()).take(encoded.indices)
    rows = np.flatnonzero(wrong.fill_null(False).to_numpy(zero_copy_only=False))
    invalid = {int(row): texts[encoded.indices[row].as_py()] for row in rows}
    return Cast(without_nan(values), invalid)


def number(text: str) -> float | None:
    """Return the number in a text, or None. Python's underscores between digits are not allowed.

    >>> number(" 1.5 "), number("-inf"), number("1_000"), number("twelve")
    (1.5, -inf, None, None)
    """
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def to_text(column: pa.Array) -> Cast:
    """Return strings. A text with a NUL character is invalid, because PostgreSQL cannot store it."""
    kind = column.type
    if pa.types.is_null(kind):
        return Cast(pa.nulls(len(column), pa.string()), {})
    if pa.types.is_floating(kind):
        column = without_nan(column.cast(pa.float64()))
    try:
        texts = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return Cast(pa.nulls(len(column), pa.string()), raw_texts(column))
    unfit = pc.match_substring(texts, "\x00").fill_null(False)
    if not pc.any(unfit).as_py():
        return Cast(texts, {})
    rows = np.flatnonzero(unfit.to_numpy(zero_copy_only=False))
    invalid = {int(row): texts[row].as_py() for row in rows}
    return Cast(pc.if_else(unfit, pa.scalar(None, pa.string()), texts), invalid)


def without_nan(values: pa.Array) -> pa.Array:
    """Return float64 with null in place of NaN."""
    return pa.array(values.to_numpy(zero_copy_only=False), pa.float64(), from_pandas=True)


def raw_texts(column: pa.Array) -> dict[int, str]:
    """Return the text of each value that is not null, by row."""
    return {row: str(value) for row, value in enumerate(column.to_pylist()) if value is not None}


def first_occurrences(ids: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask of the rows whose id occurs for the first time.

    >>> first_occurrences(pa.array(["a", "b", "a"])).tolist()
    [True, True, False]
    """
    # codes follow the order of appearance
    codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    highest_before = np.maximum.accumulate(np.concatenate([[-1], codes]))[:-1]
    first: np.ndarray[tuple[int], np.dtype[np.bool_]] = codes > highest_before
    return first


def invalid_column(casts: dict[str, Cast], rows: int) -> pa.Array:
    """Return for each row the JSON of its values that did not fit, by column; null for a row without any."""
    notes: dict[int, dict[str, str]] = {}
    for name, cast in casts.items():
        for row, text in cast.invalid.items():
            notes.setdefault(row, {})[name] = text
    column: list[str | None] = [None] * rows
    for row, note in notes.items():
        column[row] = json.dumps(note)
    return pa.array(column, pa.string())


def restore_shapes(table: pa.Table) -> list[pa.Table]:
    """Restore the shapes in which rows were appended. Returns at least one table.

    table: stored rows with ``absent`` and ``invalid``. Rows without a column are in a table without it. Rows with a
    value that did not fit are in a table where that column is text, with its numbers in full precision.
    """
    shapes = pa.table({"absent": table["absent"], "invalid": table["invalid"].is_valid()})
    rows = table.drop_columns(["absent", "invalid"])
    if table["absent"].null_count == len(table) == table["invalid"].null_count:
        return [rows]
    restored = []
    for shape in shapes.group_by(["absent", "invalid"], use_threads=False).aggregate([]).to_pylist():
        mask = pc.and_(
            pc.equal(pc.fill_null(shapes["absent"], ""), shape["absent"] or ""),
            pc.equal(shapes["invalid"], shape["invalid"]),
        )
        part = drop(rows.filter(mask), json.loads(shape["absent"] or "[]"))
        if shape["invalid"]:
            part = with_raw_values(part, [json.loads(note) for note in table["invalid"].filter(mask).to_pylist()])
        restored.append(part)
    return restored


def drop(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """Return the table without the columns in ``names``, as far as it has them."""
    return table.drop_columns([name for name in names if name in table.column_names])


def with_raw_values(table: pa.Table, notes: list[dict[str, str]]) -> pa.Table:
    """Return the table with the raw values in text columns."""
    for name in sorted(set().union(*notes)):
        if name not in table.column_names:
            continue
        texts = [as_text(value) for value in table[name].to_pylist()]
        raw = [note.get(name, text) for note, text in zip(notes, texts, strict=True)]
        table = table.set_column(table.column_names.index(name), name, pa.array(raw, pa.string()))
    return table


def as_text(value: float | str | None) -> str | None:
    """Return a stored value as text that parses back to the same value."""
    return repr(value) if isinstance(value, float) else value


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
