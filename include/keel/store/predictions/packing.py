"""Pack the features that have no column of their own into two columns of a row, and unpack them.

``keel_packed_numbers`` holds the packed numeric features as little-endian float64, NaN where missing, and
``keel_packed_texts`` the categorical ones as a JSON list. A feature's position is its slot in `packed_features`. Slots
are never used twice, so a row that is shorter than a slot was stored before the feature was added, and the feature is
missing in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import FeatureKind

NUMBERS, TEXTS = "keel_packed_numbers", "keel_packed_texts"
PACKED = (NUMBERS, TEXTS)
_FLOAT = np.dtype("<f8")


def pack(rows: pa.Table, slots: Mapping[str, int], kinds: Mapping[str, FeatureKind]) -> pa.Table:
    """Return the rows with the two packed columns in place of the features that have slots."""
    if not slots:
        return rows
    numeric = {slot: name for name, slot in slots.items() if kinds[name] == "numeric"}
    texts = {slot: name for name, slot in slots.items() if kinds[name] == "categorical"}
    matrix = np.full((rows.num_rows, 1 + max(numeric, default=-1)), np.nan, _FLOAT)
    for slot, name in numeric.items():
        matrix[:, slot] = rows[name].to_numpy()
    columns: list[list[str | None]] = [[None] * rows.num_rows for _ in range(1 + max(texts, default=-1))]
    for slot, name in texts.items():
        columns[slot] = rows[name].to_pylist()
    lists = [msgspec.json.encode(row).decode() for row in zip(*columns, strict=True)] if columns else None
    ends = np.arange(rows.num_rows + 1, dtype=np.int64) * matrix.shape[1] * _FLOAT.itemsize
    numbers = [None, pa.py_buffer(ends), pa.py_buffer(matrix)]
    return (
        rows.drop_columns(list(slots))
        .append_column(NUMBERS, pa.Array.from_buffers(pa.large_binary(), rows.num_rows, numbers))
        .append_column(TEXTS, pa.array(lists, pa.string()) if lists else pa.nulls(rows.num_rows, pa.string()))
    )


def unpack(rows: pa.Table, slots: Mapping[str, int], kinds: Mapping[str, FeatureKind]) -> pa.Table:
    """Return the rows with the features of ``slots`` in place of the packed columns.

    A feature may also have a column, with the values of rows stored before it got its slot.
    """
    numbers, texts = _matrix(rows[NUMBERS]), _lists(rows[TEXTS])
    # a dictionary, because a table is copied for each column that is added to it
    columns = {name: column for name, column in zip(rows.column_names, rows.columns, strict=True) if name not in PACKED}
    for name, slot in slots.items():
        if kinds[name] == "numeric":
            of_slot = numbers[:, slot] if slot < numbers.shape[1] else np.full(len(numbers), np.nan)
            values = pa.array(of_slot, pa.float64(), from_pandas=True)
        else:
            values = pa.array([row[slot] if slot < len(row) else None for row in texts], pa.string())
        columns[name] = pc.coalesce(values, columns[name]) if name in columns else pa.chunked_array([values])
    return pa.table(columns)


def _matrix(packed: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return packed numbers as a matrix of (rows, slots), NaN where a row has no such slot."""
    if packed.null_count == len(packed):  # SQLite's driver returns such a column as integers
        return np.empty((len(packed), 0))
    column = pa.concat_arrays(packed.cast(pa.large_binary()).chunks)
    lengths = pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    matrix = np.full((len(column), lengths.max() // _FLOAT.itemsize), np.nan, _FLOAT)
    for length in np.unique(lengths[lengths > 0]):
        chosen = lengths == length
        numbers = np.frombuffer(b"".join(column.filter(pa.array(chosen)).to_pylist()), _FLOAT)
        matrix[chosen, : length // _FLOAT.itemsize] = numbers.reshape(chosen.sum(), -1)
    return matrix


def _lists(packed: pa.ChunkedArray) -> list[list[str | None]]:
    decode = msgspec.json.Decoder(list[str | None]).decode
    return [decode(text) if text else [] for text in packed.to_pylist()]
