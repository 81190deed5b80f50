"""Requests that are files: CSV as MLflow reads it, and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.errors import BadRequest
from keel.serving.inputs import checked_features, require_columns, require_size

if TYPE_CHECKING:
    from keel.serving.inputs import Inputs

Columns = Mapping[str, Sequence[Any]]


def read_csv(body: bytes, inputs: Inputs) -> tuple[Columns, int]:
    """Return the columns of a CSV file, as `pandas.read_csv` reads them for MLflow, and the number of rows.

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
        header = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
        require_columns(next((names for names in header if names), []), inputs)
        kinds = {name: float if kind == "numeric" else object for name, kind in inputs.features.items()}
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
    return _lists(frame, inputs), len(frame)


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
        table = file.read(columns=[name for name in names if name in inputs.used])
        return {name: table[name].to_pylist() for name in table.column_names}, size
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}", status=400) from None


def _lists(frame: Any, inputs: Inputs) -> Columns:
    return {name: frame[name].tolist() for name in frame.columns if name in inputs.used}
