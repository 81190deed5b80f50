"""Parsing of requests: MLflow's scoring protocol (four JSON forms, CSV, Parquet) and the key ``keel``.

This module parses JSON itself: MLflow's parser takes milliseconds and cannot name the place of an error. The values are
those of MLflow's parser, which `tests/unit/serving/http/test_json_requests.py` compares, except where that one gives a
value another meaning by the form it comes in: see docs/values.md. Keel rejects some requests that MLflow accepts: rows
of unequal length, a column or key named twice, infinities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from keel.errors import BadRequest, suggestion
from keel.serving.http.csv_parquet_requests import read_csv, read_parquet
from keel.serving.http.json_bodies import decode
from keel.serving.http.row_ids import identify
from keel.serving.models.input_schema import (
    COMPARED,
    SHOWN,
    Rows,
    checked_features,
    renamings,
    require_columns,
    require_size,
)
from keel.values.scalars import shown

if TYPE_CHECKING:
    from keel.serving.http.row_ids import Clock
    from keel.serving.models.input_schema import Inputs

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
KEEL = "keel"
"""The key of Keel's own data in a request and in an answer; MLflow ignores keys that it does not know."""

Columns = Mapping[str, Sequence[Any]]


def parse(body: bytes, content_type: str | None, inputs: Inputs, *, clock: Clock) -> Rows:
    """Return the rows of a request. A request with any error is rejected as a whole.

    Raises
    ------
    BadRequest
        400 malformed; 413 more rows than ``serving.max_rows``; 415 another content type or character set; 422 invalid
        columns, values, ids, times or entities. The message names the column and row, or the key.

    """
    kind = media_type(content_type or "")
    keel: Any = None
    if kind == JSON:
        payload = _decoded(body)
        form = _form(payload)
        columns, size = _READ[form](payload[form], inputs)
        identities, keel = columns, payload.get(KEEL)
    elif kind == CSV:
        columns, size = read_csv(body, inputs)
        identities = columns
    else:
        columns, identities, size = read_parquet(body, inputs)
    require_size(size, inputs)
    features = checked_features(columns, size, inputs)
    ids, times, entities = identify(keel, identities, size, inputs, clock)
    return Rows(ids, times, entities, features)


@lru_cache(maxsize=64)
def media_type(content_type: str, kinds: tuple[str, ...] = (JSON, CSV, PARQUET)) -> str:
    """Return the media type; raises `BadRequest` with status 415 for one not in ``kinds``, as MLflow does.

    The character set may only be UTF-8.
    """
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name != "charset" or value.strip('"') != "utf-8":
            raise BadRequest(f"content type {content_type!r}: send charset=utf-8", status=415)
    if kind not in kinds:
        *most, last = kinds
        raise BadRequest(
            f"content type {content_type!r}: send {' or '.join(filter(None, [', '.join(most), last]))}", status=415
        )
    return kind


def _decoded(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise BadRequest(f"the body is empty: send an object with one of {', '.join(FORMS)}", status=400)
    payload = decode(body)
    if not isinstance(payload, dict):
        raise BadRequest(f"the JSON must be an object with one of {', '.join(FORMS)}, not {shown(payload)}", status=400)
    return payload


def _form(payload: Mapping[str, Any]) -> str:
    forms = [form for form in FORMS if form in payload]
    if len(forms) == 1:
        return forms[0]
    if forms:
        raise BadRequest(f"the JSON has {' and '.join(forms)}; send only one of them", status=400)
    near = next((hint for key in list(payload)[:COMPARED] if (hint := suggestion(key, FORMS))), "")
    given = ", ".join(map(shown, list(payload)[:SHOWN])) or "none"
    raise BadRequest(f"the JSON has none of the keys {', '.join(FORMS)} (has {given}){near}", status=400)


def _split(value: Any, inputs: Inputs) -> tuple[Columns, int]:
    if not isinstance(value, dict) or "data" not in value:
        raise BadRequest("dataframe_split must be an object with columns and data", status=400)
    for key in value:
        if key not in ("columns", "data", "index"):
            raise BadRequest(f"dataframe_split.{key[:60]}: unknown key; valid: columns, data, index", status=400)
    names, data = value.get("columns") or [], value["data"]
    if not isinstance(names, list) or not isinstance(data, list):
        raise BadRequest("dataframe_split: columns and data must be lists", status=400)
    if not all(isinstance(name, str | int | float) for name in names):
        raise BadRequest("dataframe_split.columns: names must be texts", status=400)
    same = renamings(names, inputs)
    names = [same.get(name, name) for name in names] if same else names
    require_columns(names, inputs)
    require_size(len(data), inputs)
    if len(names) == 1 and not any(isinstance(row, list) for row in data):
        data = [[row] for row in data]  # pandas reads a flat list as one column
    for row, values in enumerate(data):
        if type(values) is not list or len(values) != len(names):
            found = f"has {len(values)} values" if isinstance(values, list) else f"is {shown(values)}"
            raise BadRequest(f"dataframe_split.data: row {row} {found} for {len(names)} columns", status=400)
    index = value.get("index")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise BadRequest(f"dataframe_split.index: must be a list of {len(data)}, one for each row", status=400)
    columns = zip(*data, strict=True)
    return {name: values for name, values in zip(names, columns, strict=True) if name in inputs.used}, len(data)


def _records(value: Any, inputs: Inputs, form: str = "dataframe_records") -> tuple[Columns, int]:
    """Read a list of objects; a key that one of them lacks is a missing value, as for pandas."""
    if not isinstance(value, list):
        raise BadRequest(f"{form} must be a list of objects, not {shown(value)}", status=400)
    require_size(len(value), inputs)
    for row, record in enumerate(value):
        if type(record) is not dict:
            raise BadRequest(f"{form}: row {row} is {shown(record)}, not an object", status=400)
    present = value[0].keys() if len(value) == 1 else set().union(*value)
    if same := renamings(present, inputs):
        value = [_renamed(record, same) for record in value]
        present = set().union(*value)
    require_columns(list(present), inputs)
    return {name: [record.get(name) for record in value] for name in inputs.used if name in present}, len(value)


def _renamed(record: dict[str, Any], same: Mapping[str, str]) -> dict[str, Any]:
    if not same:
        return record
    found = {same.get(key, key): value for key, value in record.items()}
    if len(found) < len(record):
        raise BadRequest(f"{shown(next(iter(same)))} appears twice, with its accents in two encodings", status=400)
    return found


def _instances(value: Any, inputs: Inputs) -> tuple[Columns, int]:
    return _tensors(value, inputs, "instances")


def _inputs(value: Any, inputs: Inputs) -> tuple[Columns, int]:
    return _tensors(value, inputs, "inputs")


def _tensors(value: Any, inputs: Inputs, form: str) -> tuple[Columns, int]:
    """Read objects, or an object of columns; a list of bare values is allowed if one column is needed."""
    if isinstance(value, list) and not any(isinstance(row, dict) for row in value):
        if len(inputs.required) != 1:
            raise BadRequest(
                f"{form}: a list without column names, but {inputs.model} needs {len(inputs.required)} columns; send a "
                "list of objects, or an object of lists"
            )
        require_size(len(value), inputs)
        return {next(iter(inputs.required)): value}, len(value)
    if not isinstance(value, dict):
        return _records(value, inputs, form)
    value = _renamed(value, renamings(value, inputs))
    require_columns(list(value), inputs)
    lengths = {len(values) for name, values in value.items() if isinstance(values, list) and name in inputs.used}
    if len(lengths) > 1:
        sizes = [f"{name[:60]!r} {len(values)}" for name, values in value.items() if isinstance(values, list)]
        more = ", ..." if len(sizes) > SHOWN else ""
        raise BadRequest(f"{form}: columns of unequal length: {', '.join(sizes[:SHOWN])}{more}", status=400)
    size = lengths.pop() if lengths else 1
    require_size(size, inputs)
    # pandas repeats a bare value in every row
    columns = {name: values if isinstance(values, list) else [values] * size for name, values in value.items()}
    return {name: values for name, values in columns.items() if name in inputs.used}, size


_READ: Mapping[str, Callable[[Any, Inputs], tuple[Columns, int]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}
