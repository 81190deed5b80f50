"""Requests that are files: CSV as MLflow reads it, and Parquet."""

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
"""Of one Parquet file; 10,000 rows of fifty numbers and texts are a tenth of it."""
_WITH_POINT = re.compile(r"-?\d+\.0")


def read_csv(body: bytes, inputs: Inputs) -> tuple[Columns, int]:
    """Return the columns of a CSV file, as `pandas.read_csv` reads them for MLflow, and the number of rows.

    An entity is read as a text, whatever the others are, as `keel feedback` reads it: 007 is not 7, and a number of
    twenty digits not the nearest that a fraction can be. Only 12.0 is 12: so a column with a missing value is written.

    BadRequest, with status 400, for what is no CSV in UTF-8.
    """
    import pandas as pd

    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the CSV is not UTF-8: byte {error.start}", status=400) from None
    if not text.strip():
        raise BadRequest("the CSV is empty", status=400)
    try:
        lines = filter(_says_something, csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
        names = next(lines, [])
        require_columns(names, inputs)
        _require_whole_rows(len(names), lines)
        kinds = {name: float if kind == "numeric" else object for name, kind in inputs.features.items()}
        if inputs.entity is not None:
            kinds.setdefault(inputs.entity, object)
        try:
            frame = pd.read_csv(io.StringIO(text), dtype=kinds)
        except (ValueError, OverflowError) as error:
            if isinstance(error, pd.errors.ParserError | pd.errors.EmptyDataError):
                raise
            frame = pd.read_csv(io.StringIO(text), dtype=object)
            require_size(len(frame), inputs)
            checked_features(_lists(frame, inputs), len(frame), inputs)  # names the value that is no number
            raise BadRequest(f"the CSV cannot be read: {error}", status=400) from None
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadRequest(f"the CSV cannot be read: {str(error).strip()}", status=400) from None
    columns = _lists(frame, inputs)
    if inputs.entity in columns:
        columns[inputs.entity] = [_whole(value) for value in columns[inputs.entity]]
    return columns, len(frame)


def _whole(value: Any) -> Any:
    return value.removesuffix(".0") if isinstance(value, str) and _WITH_POINT.fullmatch(value) else value


def _says_something(line: list[str]) -> bool:
    """Whether a line is not blank; pandas passes over those that are."""
    return len(line) > 1 or bool(line and line[0].strip())


def _require_whole_rows(named: int, rows: Iterable[list[str]]) -> None:
    """Raise BadRequest for a row of another length: pandas fills a short one, and moves all columns for a long one."""
    for row, values in enumerate(rows):
        if len(values) != named:
            raise BadRequest(f"the CSV: row {row} has {len(values)} values; {named} columns are named", status=400)


def read_parquet(body: bytes, inputs: Inputs) -> tuple[Columns, int]:
    """Return the columns of a Parquet file, and the number of rows; BadRequest, status 400, for what is none."""
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
        # texts as they were packed: a few bytes of a file can say a long one in every row
        table = pq.ParquetFile(io.BytesIO(body), metadata=file.metadata, read_dictionary=used).read(columns=used)
        _require_unpacked_size(sum(map(_text_bytes, table.columns)))
        return {name: table[name].to_pylist() for name in table.column_names}, size
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}", status=400) from None


def _require_plain(file: pq.ParquetFile, body: bytes, used: Sequence[str]) -> None:
    """Raise BadRequest for columns of anything but numbers and texts, and for those that are too large unpacked."""
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
        raise BadRequest(f"the file unpacks to more than {UNPACKED_BYTES:,} bytes; send fewer rows at once", status=413)


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return how long all texts of a column are together."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary):
            total += pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
    return total


def _lists(frame: Any, inputs: Inputs) -> dict[str, list[Any]]:
    return {name: frame[name].tolist() for name in frame.columns if name in inputs.used}
