"""Read a column of any storage type as numbers or as categories.

A value is read by itself, independently of its batch. So every split of a table gives the same values.

Numeric: integers, floats, decimals and booleans (0 and 1) keep their value. Timestamps, dates, durations and times of
day become seconds (since 1970-01-01 UTC, or since midnight). Text is parsed; ``true`` and ``false`` are 1 and 0. Null
and NaN are missing. Every other value is *invalid*.

Categorical: every value has a name. The name of text is the text, of booleans ``true`` or ``false``. A number without a
fraction has the name of the integer, whatever its type (``1``, ``1.0`` and decimal ``1.00`` are all ``1``); other
numbers have their shortest decimal form; dates and times their ISO form with microseconds. Null and NaN are missing.
Lists, structs, and bytes that are not UTF-8 are invalid.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from keel.grid.tables import is_frame

Floats = NDArray[np.float64]

MISSING = -1
INVALID = -2


@dataclass(frozen=True)
class Categories:
    """A categorical column, encoded.

    Parameters
    ----------
    codes
        Positions in ``labels``, shape (rows,).
    labels
        Names of distinct values, or `MISSING`, or `INVALID`. Two may be equal.
    numbers
        Whether the values are stored as numbers or booleans, not as text.

    """

    codes: NDArray[np.integer[Any]]
    labels: list[str | int]
    numbers: bool


def read_column(table: Any, name: str) -> Any | None:
    """Return one column as an arrow array or a float64 numpy array; None when the table lacks it.

    Of several columns with that name, the first is read.
    """
    if is_frame(table):
        return _from_pandas(table[name]) if name in table.columns else None
    positions = table.schema.get_all_field_indices(name)
    if not positions:
        return None
    column = table.column(positions[0])
    if isinstance(column, pa.ChunkedArray):
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of zero chunks, or too long for one
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _from_pandas(series: Any) -> Any:
    if getattr(series, "ndim", 1) == 2:
        series = series.iloc[:, 0]
    if series.dtype == np.float64:
        return series.to_numpy()
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        array = pa.array([_label_of_object(value) for value in series], pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _label_of_object(value: Any) -> str | None:
    """Return the name of a Python object in a column of mixed types; None for a missing value."""
    if value is None or type(value).__name__ in {
        "NAType",
        "NaTType",
    }:  # pandas' own, without importing it
        return None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | float | np.number | Decimal):
        return _label_of_number(value)
    return str(value)


def _label_of_number(value: Any) -> str | None:
    number = float(value)
    if number != number:
        return None
    if number in (float("inf"), float("-inf")):
        return str(number)
    return str(int(value)) if number.is_integer() else str(value if isinstance(value, np.floating) else number)


def read_numbers(column: Any) -> tuple[Floats, NDArray[np.bool_] | None]:
    """Return the values as float64, NaN where missing or invalid, and a mask of the invalid ones (None: none is)."""
    if isinstance(column, np.ndarray):
        return column.astype(np.float64, copy=False), None
    kind = column.type
    if pa.types.is_dictionary(kind):
        return read_numbers(column.dictionary_decode())
    if _is_number(kind):
        return _to_numpy(column.cast(pa.float64(), safe=False)), None
    if pa.types.is_boolean(kind):
        return _to_numpy(column.cast(pa.uint8()).cast(pa.float64())), None
    if pa.types.is_temporal(kind):
        return _seconds(column), None
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), None
    if _is_text(kind) or _is_bytes(kind):
        return _parse(column)
    return np.full(len(column), np.nan), column.is_valid().to_numpy(zero_copy_only=False)


def _to_numpy(column: Any) -> Floats:
    return column.to_numpy(zero_copy_only=False)


def _is_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_plain_text(column: Any) -> bool:
    """Whether the column is an arrow array of text that is neither dictionary-encoded nor views."""
    return not isinstance(column, np.ndarray) and (
        pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    )


def _seconds(column: Any) -> Floats:
    kind = column.type
    if pa.types.is_timestamp(kind):
        ticks, per_second = column.cast(pa.timestamp("us", kind.tz), safe=False), 1e6
    elif pa.types.is_date(kind):
        ticks, per_second = column.cast(pa.timestamp("s"), safe=False), 1.0
    elif pa.types.is_time(kind):
        ticks, per_second = column.cast(pa.time64("us"), safe=False), 1e6
    elif pa.types.is_duration(kind):
        ticks, per_second = column.cast(pa.duration("us"), safe=False), 1e6
    else:
        return np.full(len(column), np.nan)
    return _to_numpy(ticks.cast(pa.int64()).cast(pa.float64(), safe=False)) / per_second


def _is_bytes(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _decoded(value: bytes | str | None) -> str | None:
    """Return text, decoded from UTF-8 if it is bytes; None for other bytes."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return None


def _parse(column: Any) -> tuple[Floats, NDArray[np.bool_]]:
    encoded = _encode(column)
    numbers = [_number_of(_decoded(value)) for value in encoded.dictionary.to_pylist()]
    values = np.array([np.nan if number is None else number for number in numbers] + [np.nan])
    invalid = np.array([number is None for number in numbers] + [False])
    codes = _codes(encoded, len(numbers))
    return values[codes], invalid[codes]


def _number_of(text: str | None) -> float | None:
    if text is None or "_" in text:  # Python parses 1_000 as a number; other software does not
        return None
    word = text.strip().lower()
    if word in {"true", "false"}:
        return float(word == "true")
    try:
        return float(word)
    except ValueError:
        return None


def _encode(column: Any) -> Any:
    """Dictionary-encode. Arrow cannot encode views, so they are copied first."""
    return (column.cast(pa.string()) if pa.types.is_string_view(column.type) else column).dictionary_encode()


def _codes(encoded: Any, null: int) -> NDArray[np.integer[Any]]:
    """Return positions in the dictionary; ``null`` for nulls."""
    indices = encoded.indices
    if indices.null_count:
        indices = indices.cast(pa.int64()).fill_null(null)
    return indices.to_numpy(zero_copy_only=False)


def read_categories(column: Any) -> Categories:
    """Return the column's categories, with the names that this module's docstring defines."""
    if isinstance(column, np.ndarray):
        column = pa.array(column, from_pandas=True)
    kind = column.type
    if pa.types.is_null(kind):
        return Categories(np.zeros(len(column), dtype=np.int64), [MISSING], numbers=False)
    if not pa.types.is_dictionary(kind):
        if not _has_labels(kind):
            codes = column.is_null().to_numpy(zero_copy_only=False).astype(np.int64)
            return Categories(codes, [INVALID, MISSING], numbers=False)
        column = _encode(column)
    labels = _labels(column.dictionary)
    codes = _codes(column, len(labels))
    kind = column.dictionary.type
    return Categories(codes, [*labels, MISSING], numbers=_is_number(kind) or pa.types.is_boolean(kind))


def _is_number(kind: Any) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _has_labels(kind: Any) -> bool:
    named = _is_text(kind) or _is_bytes(kind) or _is_number(kind)
    return named or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)


def _labels(dictionary: Any) -> list[str | int]:
    """Return each distinct value's name, or `MISSING`, or `INVALID`."""
    kind = dictionary.type
    if _is_bytes(kind):
        pairs = [(value, _decoded(value)) for value in dictionary.to_pylist()]
        return [MISSING if value is None else INVALID if text is None else text for value, text in pairs]
    if not _has_labels(kind):
        return [INVALID] * len(dictionary)
    if pa.types.is_floating(kind):
        named = [_label_of_number(value) for value in dictionary.to_numpy(zero_copy_only=False)]
    elif _is_number(kind) or pa.types.is_boolean(kind):
        named = [_label_of_object(value) for value in dictionary.to_pylist()]
    else:
        if pa.types.is_timestamp(kind):
            dictionary = dictionary.cast(pa.timestamp("us", kind.tz), safe=False)
        elif pa.types.is_duration(kind):
            dictionary = dictionary.cast(pa.duration("us"), safe=False).cast(pa.int64())
        named = pc.cast(dictionary, pa.string()).to_pylist()
    return [MISSING if name is None else name for name in named]
