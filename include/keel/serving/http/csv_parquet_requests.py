"""CSV and Parquet requests."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from keel.errors import BadRequest
from keel.serving.http.parquet_pages import unpacked_size
from keel.serving.models.input_schema import renamings, require_columns, require_size
from keel.values.columns import decoded, is_text, name_texts, plain

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from keel.serving.models.input_schema import Inputs

Columns = Mapping[str, Sequence[Any]]
UNPACKED_BYTES = 2**26
"""Upper size of one Parquet file, unpacked; 10,000 rows of fifty numbers and texts take a tenth of it."""


def read_csv(body: bytes, inputs: Inputs) -> tuple[Columns, int]:
    """Return the columns of a CSV file as texts, and the number of rows. An empty field is a missing value.

    The texts NA, None and null are no missing values, as `pandas.read_csv` reads them for MLflow, but texts: a category
    can have such a name, and a number cannot.

    Raises BadRequest with status 400 for bytes that are not CSV in UTF-8.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the CSV is not UTF-8: byte {error.start}", status=400) from None
    if not text.strip():
        raise BadRequest("the CSV is empty", status=400)
    try:
        lines = filter(_has_content, csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
        names = next(lines, [])
        same = renamings(names, inputs)
        names = [same.get(name, name) for name in names]
        require_columns(names, inputs)
        rows = list(islice(lines, inputs.max_rows))
        size = _count_whole_rows(len(names), chain(rows, lines))
    except csv.Error as error:
        raise BadRequest(f"the CSV cannot be read: {str(error).strip()}", status=400) from None
    require_size(size, inputs)
    has_underscores = text.find("_", text.find("\n")) >= 0  # below the names
    plain = set() if has_underscores else set(inputs.numeric) - {inputs.entity_column}
    values = zip(names, zip(*rows, strict=True), strict=True)
    return {name: _fields(column, name in plain) for name, column in values if name in inputs.used}, size


def _fields(column: Sequence[str], are_numbers: bool) -> list[Any]:
    """Return texts, None where empty; as numbers if they are all such that Python reads as `keel.values` does."""
    if are_numbers:
        try:
            return [float(text) if text else None for text in column]
        except ValueError:
            pass
    return [text or None for text in column]


def _has_content(line: list[str]) -> bool:
    """Return whether a line is not blank; pandas skips blank lines."""
    return len(line) > 1 or bool(line and line[0].strip())


def _count_whole_rows(columns: int, rows: Iterable[list[str]]) -> int:
    """Return the number of rows; BadRequest for a row that has not one value for each column."""
    size = 0
    for row, values in enumerate(rows):
        if len(values) != columns:
            raise BadRequest(f"the CSV: row {row} has {len(values)} values for {columns} columns", status=400)
        size += 1
    return size


def read_parquet(body: bytes, inputs: Inputs) -> tuple[Columns, Columns, int]:
    """Return the columns of a Parquet file, the entity column as it was sent, and the number of rows.

    An entity may also be a category, whose name is another one. Raises BadRequest (400) for any other bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(body))
        size = file.metadata.num_rows  # before anything is unpacked
        require_size(size, inputs)
        own = file.schema_arrow.names
        same = renamings(own, inputs)
        names = [same.get(name, name) for name in own]
        require_columns(names, inputs)
        used = {name: given for name, given in zip(names, own, strict=True) if name in inputs.used}
        _require_plain(file, body, list(used.values()))
        # texts stay dictionary-encoded: a few bytes of a file can repeat a long text in every row
        read = list(used.values())
        table = pq.ParquetFile(io.BytesIO(body), metadata=file.metadata, read_dictionary=read).read(columns=read)
        _require_unpacked_size(sum(map(_text_bytes, table.columns)))
        columns = {name: _values(table[given], inputs.features.get(name)) for name, given in used.items()}
        sent = {name: _values(table[given], None) for name, given in used.items() if name == inputs.entity_column}
        return columns, sent, size
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}", status=400) from None


def _values(column: pa.ChunkedArray, kind: str | None) -> list[Any]:
    """Return numbers as they are, and categories by their names, which depend on Arrow's type."""
    if kind == "categorical":
        return name_texts(plain(column))[0].to_pylist()
    return decoded(column).to_pylist()


def _require_plain(file: pq.ParquetFile, body: bytes, used: Sequence[str]) -> None:
    """Raise BadRequest for columns that are neither numbers nor texts, and for those that are too large unpacked."""
    import pyarrow.types as types

    for name in used:
        kind = file.schema_arrow.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if not (is_number or types.is_boolean(kind) or types.is_null(kind) or is_text(kind)):
            raise BadRequest(f"column {name!r} is of type {str(kind)[:60]}; send numbers and texts")
    groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
    chunks = (group.column(column) for group in groups for column in range(group.num_columns))
    _require_unpacked_size(sum(_unpacked_size(body, chunk) for chunk in chunks if chunk.path_in_schema in used))


def _unpacked_size(body: bytes, chunk: Any) -> int:
    starts = [at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at]
    try:
        return unpacked_size(body, min(starts, default=0), min(starts, default=0) + chunk.total_compressed_size)
    except ValueError as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}", status=400) from None


def _require_unpacked_size(size: int) -> None:
    if size > UNPACKED_BYTES:
        raise BadRequest(
            f"the file unpacks to more than {UNPACKED_BYTES:,} bytes; send fewer rows per request", status=413
        )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return the length of all texts of a column together, in bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary):
            total += pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
    return total
