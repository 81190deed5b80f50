"""CSV requests, read as MLflow reads them, and Parquet requests."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.errors import BadRequest
from keel.serving.http.parquet_pages import unpacked_size
from keel.serving.models.input_schema import checked_features, require_columns, require_size

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from keel.serving.models.input_schema import Inputs

Columns = Mapping[str, Sequence[Any]]
UNPACKED_BYTES = 2**26
"""Upper size of one Parquet file, unpacked; 10,000 rows of fifty numbers and texts take a tenth of it."""
_WITH_POINT = re.compile(r"-?\d+\.0")


def read_csv(body: bytes, inputs: Inputs) -> tuple[Columns, int]:
    """Return the columns of a CSV file, as `pandas.read_csv` reads them for MLflow, and the number of rows.

    Entities are read as text, as in `keel feedback`: 007 is not 7, and a number of twenty digits keeps all of them.
    Only 12.0 becomes 12, because pandas writes whole numbers like that in a column with a missing value.

    Raises BadRequest with status 400 for bytes that are not CSV in UTF-8.
    """
    import pandas as pd

    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the CSV is not UTF-8: byte {error.start}", status=400) from None
    if not text.strip():
        raise BadRequest("the CSV is empty", status=400)
    try:
        lines = filter(_has_content, csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
        names = next(lines, [])
        require_columns(names, inputs)
        _require_whole_rows(len(names), lines)
        kinds = {name: float if kind == "numeric" else object for name, kind in inputs.features.items()}
        if inputs.entity_column is not None:
            kinds.setdefault(inputs.entity_column, object)
        try:
            frame = pd.read_csv(io.StringIO(text), dtype=kinds)
        except (ValueError, OverflowError) as error:
            if isinstance(error, pd.errors.ParserError | pd.errors.EmptyDataError):
                raise
            frame = pd.read_csv(io.StringIO(text), dtype=object)
            require_size(len(frame), inputs)
            checked_features(_lists(frame, inputs), len(frame), inputs)  # raises an error that names the value
            raise BadRequest(f"the CSV cannot be read: {error}", status=400) from None
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadRequest(f"the CSV cannot be read: {str(error).strip()}", status=400) from None
    columns = _lists(frame, inputs)
    if inputs.entity_column in columns:
        columns[inputs.entity_column] = [_whole(value) for value in columns[inputs.entity_column]]
    return columns, len(frame)


def _whole(value: Any) -> Any:
    return value.removesuffix(".0") if isinstance(value, str) and _WITH_POINT.fullmatch(value) else value


def _has_content(line: list[str]) -> bool:
    """Return whether a line is not blank; pandas skips blank lines."""
    return len(line) > 1 or bool(line and line[0].strip())


def _require_whole_rows(columns: int, rows: Iterable[list[str]]) -> None:
    """Raise BadRequest for a row of another length: pandas pads short rows and shifts the columns of long ones."""
    for row, values in enumerate(rows):
        if len(values) != columns:
            raise BadRequest(f"the CSV: row {row} has {len(values)} values for {columns} columns", status=400)


def read_parquet(body: bytes, inputs: Inputs) -> tuple[Columns, int]:
    """Return the columns of a Parquet file and the number of rows; raises BadRequest (400) for any other bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(body))
        size = file.metadata.num_rows  # before anything is unpacked
        require_size(size, inputs)
        names = file.schema_arrow.names
        require_columns(names, inputs)
        used = [name for name in names if name in inputs.used]
        _require_plain(file, body, used)
        # texts stay dictionary-encoded: a few bytes of a file can repeat a long text in every row
        table = pq.ParquetFile(io.BytesIO(body), metadata=file.metadata, read_dictionary=used).read(columns=used)
        _require_unpacked_size(sum(map(_text_bytes, table.columns)))
        return {name: table[name].to_pylist() for name in table.column_names}, size
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}", status=400) from None


def _require_plain(file: pq.ParquetFile, body: bytes, used: Sequence[str]) -> None:
    """Raise BadRequest for columns that are neither numbers nor texts, and for those that are too large unpacked."""
    import pyarrow.types as types

    for name in used:
        kind = file.schema_arrow.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (
            types.is_primitive(kind) or types.is_null(kind) or types.is_string(kind) or types.is_large_string(kind)
        ):
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


def _lists(frame: Any, inputs: Inputs) -> dict[str, list[Any]]:
    return {name: frame[name].tolist() for name in frame.columns if name in inputs.used}
