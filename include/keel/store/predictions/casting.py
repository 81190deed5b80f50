"""Cast Arrow columns to the types of the store, and back. Values that cannot be cast are kept as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import SchemaError
from keel.values.columns import decoded, identities, name_texts, read_numbers
from keel.values.scalars import identity_of
from keel.values.times import to_micros

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
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
    return decoded(table.column(found[0]))


def to_ids(table: pa.Table) -> pa.Array:
    """Return the ids as strings; SchemaError for null, empty, overlong or non-text ids."""
    return refuse_nulls(to_identities(take(table, "id"), "id"), "id")


def to_identities(column: pa.Array, name: str) -> pa.Array:
    """Return ids or entities as strings, null for null and NaN; SchemaError that names the first that is neither."""
    texts, wrong = identities(column)
    if wrong is None:
        return texts
    row = int(wrong.argmax())
    value = column[row].as_py()
    try:
        reason = f"holds {identity_of(value)!r}"
    except ValueError as error:
        reason = str(error)
    raise SchemaError(f"column {name!r}, row {row}: {reason}")


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
        micros = to_micros(times)
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


def to_kind(column: pa.Array, kind: str, name: str = "") -> Cast:
    """Return the column in the stored type of the kind: float64 for numeric, string for categorical and ``entity``."""
    if name == "entity":
        return to_entities(column)
    return to_numeric(column) if kind == "numeric" else to_text(column)


def to_numeric(column: pa.Array) -> Cast:
    """Return float64 as `keel.values` reads it: NaN is missing, infinities stay, what is no number is invalid."""
    values, invalid = read_numbers(column)
    return Cast(pa.array(values, pa.float64(), from_pandas=True), raw_texts(column, invalid))


def to_entities(column: pa.Array) -> Cast:
    """Return entities by the texts that `keel.values` gives them; what is no entity is invalid."""
    texts, wrong = identities(column)
    return Cast(texts, raw_texts(column, wrong))


def to_text(column: pa.Array) -> Cast:
    """Return categories by the names that `keel.values` gives them; what has none is invalid.

    So is a text with a NUL character, because PostgreSQL cannot store it.
    """
    texts, invalid = name_texts(column)
    unfit = pc.match_substring(texts, "\x00").fill_null(False)
    if pc.any(unfit).as_py():
        mask = unfit.to_numpy(zero_copy_only=False)
        invalid = mask if invalid is None else invalid | mask
        texts = pc.if_else(unfit, pa.scalar(None, pa.string()), texts)
    return Cast(texts, raw_texts(column, invalid))


def raw_texts(column: pa.Array, rows: np.ndarray[tuple[int], np.dtype[np.bool_]] | None) -> dict[int, str]:
    """Return the text of each value in the marked rows, by row."""
    marked = [] if rows is None else np.flatnonzero(rows).tolist()
    return {row: str(column[row].as_py()) for row in marked}


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
