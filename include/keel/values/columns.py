"""Read a column of any storage type as numbers, as categories or as identities.

A value is read by itself, independently of its batch, as `keel.values.scalars` reads it. So every split of a table
gives the same values.

Numeric: integers, floats, decimals and booleans (0 and 1) keep their value. Timestamps, dates, durations and times of
day become seconds (since 1970-01-01 UTC, or since midnight). Text is parsed; ``true`` and ``false`` are 1 and 0. Null
and NaN are missing. Every other value is *invalid*.

Categorical: every value has a name. The name of text is the text, of booleans ``true`` or ``false``. A number without a
fraction has the name of the integer, whatever its type (``1``, ``1.0``, decimal ``1.00`` and the text ``1.0`` are all
``1``); other numbers have their shortest decimal form; dates and times their ISO form with microseconds. Null and NaN
are missing. Lists, structs, and bytes that are not UTF-8 are invalid.

Identities: a text is itself, a whole number of any type its digits. Everything else is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from keel.values.names import as_configured
from keel.values.scalars import LONGEST_IDENTITY, TRUTHS, category_in, identity_of, name_of_number, number_in

Floats = NDArray[np.float64]

_PARTS_OF_VARIANTS = (b".0", b"e+", b"E+", *(word.encode() for word in TRUTHS))

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


def is_frame(data: Any) -> bool:
    """Whether ``data`` is a pandas DataFrame, without importing pandas."""
    return hasattr(data, "iloc") and hasattr(data, "columns")  # in this order: an arrow table's columns cost time


def read_column(table: Any, name: str) -> Any | None:
    """Return one column as an arrow array or a float64 numpy array; None when the table lacks it.

    Of several columns with that name, the first is read.
    """
    if is_frame(table):
        if name not in table.columns:
            name = next(iter(as_configured(table.columns, [name])), name)
        return _from_pandas(table[name]) if name in table.columns else None
    positions = table.schema.get_all_field_indices(name)
    if not positions and (same := as_configured(table.schema.names, [name])):
        positions = table.schema.get_all_field_indices(next(iter(same)))
    return plain(table.column(positions[0])) if positions else None


def plain(column: Any) -> Any:
    """Return a column as one array of a type that Arrow can compute with; dictionaries stay.

    Extension types become their storage, run-end encoding is undone, and views of texts become texts.
    """
    if isinstance(column, pa.ChunkedArray):
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of zero chunks, or too long for one
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(column))
    if pa.types.is_dictionary(kind):
        values = plain(column.dictionary)
        return column if values is column.dictionary else pa.DictionaryArray.from_arrays(column.indices, values)
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):  # most of Arrow cannot compute with these
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    return column.cast(pa.float32()) if pa.types.is_float16(kind) else column


def decoded(column: Any) -> Any:
    """Return a column as `plain` does, without a dictionary."""
    column = plain(column)
    return plain(column.dictionary_decode()) if isinstance(column, pa.DictionaryArray) else column


def _from_pandas(series: Any) -> Any:
    if getattr(series, "ndim", 1) == 2:
        series = series.iloc[:, 0]
    if series.dtype == np.float64:
        return series.to_numpy()
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        array = pa.array([_label_of_object(value) for value in series], pa.string())
    return plain(array)


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
        return name_of_number(value)
    return str(value)


def read_numbers(column: Any) -> tuple[Floats, NDArray[np.bool_] | None]:
    """Return the values as float64, NaN where missing or invalid, and a mask of the invalid ones (None: none is)."""
    if isinstance(column, np.ndarray):
        return column.astype(np.float64, copy=False), None
    column = decoded(column)
    kind = column.type
    if pa.types.is_decimal(kind):  # through text, because Arrow's own cast does not give the nearest float64
        return _to_numpy(column.cast(pa.string()).cast(pa.float64())), None
    if _is_number(kind):
        return _to_numpy(column.cast(pa.float64(), safe=False)), None
    if pa.types.is_boolean(kind):
        return _to_numpy(column.cast(pa.uint8()).cast(pa.float64())), None
    if _is_time(kind):
        return _seconds(column), None
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), None
    if is_text(kind) or _is_bytes(kind):
        return _parse(column)
    return np.full(len(column), np.nan), column.is_valid().to_numpy(zero_copy_only=False)


def _to_numpy(column: Any) -> Floats:
    return column.to_numpy(zero_copy_only=False)


def is_text(kind: Any) -> bool:
    """Whether a type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_time(kind: Any) -> bool:
    return pa.types.is_temporal(kind) and not pa.types.is_interval(kind)  # an interval of months has no length


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
    else:
        ticks, per_second = column.cast(pa.duration("us"), safe=False), 1e6
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
    return None if text is None else number_in(text)


def _encode(column: Any) -> Any:
    """Dictionary-encode. Arrow cannot encode all types, so `plain` converts them first."""
    return plain(column).dictionary_encode()


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
    column = plain(column)
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
    named = is_text(kind) or _is_bytes(kind) or _is_number(kind)
    return named or pa.types.is_boolean(kind) or _is_time(kind)


def _labels(dictionary: Any) -> list[str | int]:
    """Return each distinct value's name, or `MISSING`, or `INVALID`."""
    kind = dictionary.type
    if _is_bytes(kind):
        pairs = [(value, _decoded(value)) for value in dictionary.to_pylist()]
        return [MISSING if value is None else INVALID if text is None else category_in(text) for value, text in pairs]
    if not _has_labels(kind):
        return [INVALID] * len(dictionary)
    if pa.types.is_floating(kind):
        named = [name_of_number(value) for value in dictionary.to_numpy(zero_copy_only=False)]
    elif _is_number(kind) or pa.types.is_boolean(kind):
        named = [_label_of_object(value) for value in dictionary.to_pylist()]
    else:
        if pa.types.is_timestamp(kind):
            dictionary = dictionary.cast(pa.timestamp("us", kind.tz), safe=False)
        elif pa.types.is_duration(kind):
            dictionary = dictionary.cast(pa.duration("us"), safe=False).cast(pa.int64())
        named = pc.cast(dictionary, pa.string()).to_pylist()
        if is_text(kind):
            named = [None if name is None else category_in(name) for name in named]
    return [MISSING if name is None else name for name in named]


def name_texts(column: Any) -> tuple[Any, NDArray[np.bool_] | None]:
    """Return a column's categories as an arrow array of texts, and a mask of the invalid values (None: none is)."""
    if is_plain_text(column) and not has_variants(column):
        return column.cast(pa.string()), None
    categories = read_categories(column)
    names = pa.array([label if isinstance(label, str) else None for label in categories.labels], pa.string())
    invalid = np.array([label == INVALID for label in categories.labels])[categories.codes]
    return names.take(pa.array(categories.codes)), invalid if invalid.any() else None


def has_variants(texts: Any) -> bool:
    """Return whether any text may have another name than itself, which is much faster than to read them."""
    return _contains(texts, _PARTS_OF_VARIANTS)


def _contains(texts: Any, parts: Sequence[bytes]) -> bool:
    """Return whether the characters of a column of texts, one text after the other, contain one of the parts.

    A search in one block of memory takes a tenth of the time of Arrow's search in each text.
    """
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return False
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    start, stop = np.frombuffer(offsets, kind)[[texts.offset, texts.offset + len(texts)]].tolist()
    characters = data.slice(start, stop - start).to_pybytes()
    return any(part in characters for part in parts)


def identities(column: Any) -> tuple[Any, NDArray[np.bool_] | None]:
    """Return ids or entities as texts, null for null, and a mask of the values that are no identity (None: all are)."""
    column = decoded(column)
    if pa.types.is_integer(column.type) or (is_plain_text(column) and not _needs_reading(column)):
        return column.cast(pa.string()), None
    found: list[str | None] = []
    wrong = np.zeros(len(column), dtype=np.bool_)
    for row, value in enumerate(column.to_pylist()):
        try:
            found.append(None if value is None or value != value else identity_of(value))
        except ValueError:
            found.append(None)
            wrong[row] = True
    return pa.array(found, pa.string()), wrong if wrong.any() else None


def _needs_reading(texts: Any) -> bool:
    """Return whether any text may be no identity, or have another one than itself."""
    bounds = pc.min_max(pc.binary_length(texts)).as_py()
    if bounds["min"] is not None and not 0 < bounds["min"] <= bounds["max"] <= LONGEST_IDENTITY:
        return True
    return _contains(texts, (b".0", b"+", b"\x00"))
