"""One value through every door: one stored value, one answer, or one refusal."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.errors import BadRequest, SchemaError
from keel.feedback import label_table, prediction_id
from keel.feedback.parse_columns import ReadOptions, parse_labels
from keel.grid.column_grid import fit_categorical, fit_numeric
from keel.grid.kernel import count_column
from keel.registry.scoring_model import to_model_input
from keel.serving.http.json_requests import CSV, JSON, PARQUET, parse
from keel.serving.models.input_schema import Inputs
from keel.sources.files import open_file
from keel.sources.sql import open_table
from keel.store import Store
from keel.store.database.times import to_micros
from keel.store.predictions.casting import to_ids, to_kind
from keel.values.scalars import category_in
from tests.support.toy import toy_config

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CONFIG = toy_config()
REGRESSION = toy_config(target={"name": "bought", "kind": "regression"}, performance={"metric": "mae"})
REFUSED = "refused"
MANY = settings(
    max_examples=1_000 if os.environ.get("KEEL_FULL_SIZE") else 25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

WORDS = ["NA", "N/A", "None", "null", "nan", "NaN", "<NA>", "True", "false", "FALSE", "1_000", "007", "3.0", "-0.0"]
WORDS += ["1e3", "1e+16", "1.10", "17.00", " 2.5 ", "inf", "red", "größe", "a,b", 'say "so"', "1.5"]
NUMBERS = [0, 1, -3, 10115, 2**53 + 1, 0.0, 3.0, -0.0, 0.5, 1e16, 1e22, 1e-5, 5e-324, 17.0]
TEXTS = st.sampled_from(WORDS) | st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r\n"), min_size=1, max_size=5
)
VALUES = (
    st.none()
    | st.booleans()
    | st.sampled_from(NUMBERS)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)


def in_csv(value: Any) -> str:
    """Return a value as pandas writes it."""
    return "" if value is None else str(value)


def csv_of(columns: dict[str, list[Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([[in_csv(value) for value in row] for row in zip(*columns.values(), strict=True)])
    return file.getvalue().encode()


def parquet_of(columns: dict[str, list[Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def json_of(form: str, columns: dict[str, list[Any]]) -> bytes:
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    content = {
        "dataframe_split": {"columns": list(columns), "data": [list(record.values()) for record in records]},
        "dataframe_records": records,
        "instances": records,
        "inputs": columns,
    }[form]
    return json.dumps({form: content}).encode()


REQUESTS = {
    **{
        form: lambda columns, form=form: (json_of(form, columns), JSON)
        for form in ("dataframe_split", "dataframe_records", "instances", "inputs")
    },
    "csv": lambda columns: (csv_of(columns), CSV),
    "parquet": lambda columns: (parquet_of(columns), PARQUET),
}


def asked(form: str, columns: dict[str, list[Any]], inputs: Inputs) -> Any:
    body, content_type = REQUESTS[form](columns)
    try:
        return parse(body, content_type, inputs, clock=lambda _: to_micros(NOW))
    except BadRequest:
        return None


def same(one: Any, other: Any) -> bool:
    return one == other or (
        isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    )


def agree(found: dict[str, Any]) -> Any:
    """Return the outcome of all doors, which is one."""
    first = next(iter(found.values()))
    assert all(same(each, first) for each in found.values()), found
    return first


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_known_trap_is_one_stored_value_and_one_answer_through_every_door(kind: str) -> None:
    for value in [None, True, False, *NUMBERS, *WORDS]:
        check_feature(value, kind)


@MANY
@given(VALUES, st.sampled_from(["numeric", "categorical"]))
def test_feature_is_one_stored_value_and_one_answer_through_every_door(value: Any, kind: str) -> None:
    check_feature(value, kind)


def check_feature(value: Any, kind: str) -> None:
    config = toy_config(features={"x": kind})
    inputs = Inputs("toy", {"x": kind}, frozenset({"x"}))
    found: dict[str, Any] = {}
    for form in REQUESTS:
        rows = asked(form, {"x": [value], "who": ["ann"]}, inputs)
        found[form] = REFUSED
        if rows is not None:
            given = rows.features
            found[form] = float(given.numbers[0, 0]) if kind == "numeric" else given.texts["x"][0]
    column = pa.array([value])
    cast = to_kind(column, kind)
    stored = cast.values[0].as_py()
    missing = math.nan if kind == "numeric" else None
    found["log"] = REFUSED if cast.invalid else missing if stored is None else stored
    if kind == "numeric" and isinstance(found["log"], float) and math.isinf(found["log"]):
        del found["log"]  # the log keeps infinities of predictions that were made elsewhere
    outcome = agree(found)
    if isinstance(outcome, str) and outcome != REFUSED:
        assert category_in(outcome) == outcome, "a name is its own name"
    fit = fit_numeric if kind == "numeric" else fit_categorical
    grid = fit("x", column)
    assert count_column(grid, column, 1).cells.tolist() == count_column(grid, cast.values, 1).cells.tolist()
    if outcome == REFUSED:
        return
    [read] = to_model_input(pa.table({"x": column}), config)["x"].tolist()
    [answered] = asked("inputs", {"x": [value]}, inputs).features.to_frame(["x"])["x"].tolist()
    expected = math.nan if outcome is None else outcome
    assert same(read, expected)
    assert same(answered, expected)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('store') / 'keel.db'}") as opened:
        yield opened


def submitted(columns: dict[str, list[Any]], config: Any, door: str, store: Store, folder: Path) -> Any:
    """Submit one row of labels from a file, a table or Python. Returns its id and label, or REFUSED."""
    try:
        if door == "python":
            table = label_table([{name: values[0] for name, values in columns.items()}], config, now=NOW)
        else:
            table = parse_labels(from_outside(columns, door, store, folder), ReadOptions(config, NOW), 1)
    except BadRequest:
        return REFUSED
    return table["id"][0].as_py(), table["label"][0].as_py()


def from_outside(columns: dict[str, list[Any]], door: str, store: Store, folder: Path) -> pa.Table:
    if door == "table":
        path = folder / "labels.db"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE labels ({', '.join(columns)})")  # no types: a value keeps its own
            database.execute(
                f"INSERT INTO labels VALUES ({', '.join('?' * len(columns))})", [v[0] for v in columns.values()]
            )
        database.close()
        with open_table(store, "labels", f"sqlite:///{path}") as source:
            return pa.concat_tables(source.read(list(columns)))
    path = folder / f"labels.{door}"
    path.write_bytes(csv_of(columns) if door == "csv" else parquet_of(columns))
    with open_file(str(path)) as source:
        return pa.concat_tables(source.read(list(columns)))


OUTSIDE = ("python", "csv", "parquet", "table")


TRAPS = [17, 17.0, "17", "17.0", "17.00", -0.0, "007", 2**53 + 1, 1e16, "1e+16", True, "True", "1e3", "NA"]


def test_entity_that_is_a_trap_is_one_identity_through_every_door(store: Store, tmp_path: Path) -> None:
    for value in TRAPS:
        check_entity(value, store, tmp_path)


@MANY
@given(value=VALUES)
def test_entity_is_one_identity_through_every_door(value: Any, store: Store, tmp_path_factory: Any) -> None:
    check_entity(value, store, tmp_path_factory.getbasetemp())


def check_entity(value: Any, store: Store, folder: Path) -> None:
    is_fraction = isinstance(value, float) and not value.is_integer()
    typeless = {"csv", "table"} if is_fraction or isinstance(value, bool) else set()  # there it is a text, or 1
    if value is None:
        return  # a row without an entity gets a random id
    found: dict[str, Any] = {}
    inputs = Inputs("toy", {"x": "numeric"}, frozenset({"x"}), entity_column="who")
    for form in REQUESTS.keys() - typeless:
        rows = asked(form, {"x": [1.0], "who": [value]}, inputs)
        found[f"request {form}"] = REFUSED if rows is None else rows.ids[0]
    body = json.dumps({"inputs": {"x": [1.0]}, "keel": {"entities": [value]}}).encode()
    try:
        found["keel.entities"] = parse(body, JSON, inputs, clock=lambda _: to_micros(NOW)).ids[0]
    except BadRequest:
        found["keel.entities"] = REFUSED
    columns = {"entity": [value], "time": [NOW.isoformat()], "label": [1]}
    for door in set(OUTSIDE) - typeless:
        outcome = submitted(columns, CONFIG, door, store, folder)
        found[f"feedback {door}"] = outcome if outcome == REFUSED else outcome[0]
    try:
        known = to_ids(pa.table({"id": pa.array([value])}))[0].as_py()
        found["log"] = prediction_id("toy", known, NOW)
    except SchemaError:
        found["log"] = REFUSED
    agree(found)


TIMES = {
    "2026-05-01T11:59:00Z": True,
    " 2026-05-01 13:59:00+02:00 ": True,
    "2026-05-01T11:59:00.000000999Z": True,  # below a microsecond, rounded down
    "20260501T115900Z": True,
    "2026-05-01T11:59": False,
    "2026-05-01": False,
    "noon": False,
    "1777636740": False,
}


@pytest.mark.parametrize(("text", "is_time"), TIMES.items())
def test_time_is_one_instant_through_every_door(text: str, is_time: bool, store: Store, tmp_path: Path) -> None:
    inputs = Inputs("toy", {"x": "numeric"}, frozenset({"x"}))
    body = json.dumps({"inputs": {"x": [1.0]}, "keel": {"entities": ["ann"], "times": [text]}}).encode()
    try:
        found = {"request": parse(body, JSON, inputs, clock=lambda _: to_micros(NOW)).ids[0]}
    except BadRequest:
        found = {"request": REFUSED}
    for door in OUTSIDE:
        outcome = submitted({"entity": ["ann"], "time": [text], "label": [1]}, CONFIG, door, store, tmp_path)
        found[door] = outcome if outcome == REFUSED else outcome[0]
    expected = prediction_id("toy", "ann", NOW - timedelta(minutes=1))
    assert agree(found) == (expected if is_time else REFUSED)


@pytest.mark.parametrize("binary", [True, False])
def test_label_that_is_a_trap_is_one_number_through_every_door(binary: bool, store: Store, tmp_path: Path) -> None:
    for value in [0, 1.0, -0.0, 2, True, "True", "1", "1_0", "1e3", "NA", 0.5]:
        check_label(value, binary, store, tmp_path)


@MANY
@given(value=VALUES, binary=st.booleans())
def test_label_is_one_number_through_every_door(value: Any, binary: bool, store: Store, tmp_path_factory: Any) -> None:
    check_label(value, binary, store, tmp_path_factory.getbasetemp())


def check_label(value: Any, binary: bool, store: Store, folder: Path) -> None:
    config = CONFIG if binary else REGRESSION
    doors = set(OUTSIDE) - ({"table"} if isinstance(value, bool) else set())  # SQLite stores true as 1
    columns = {"id": ["a"], "label": [value]}
    outcome = agree({d: submitted(columns, config, d, store, folder) for d in doors})
    if outcome != REFUSED and binary:
        assert outcome[1] in (0, 1)


@pytest.mark.parametrize(
    ("form", "value", "name"),
    [
        ("csv", "NA", "NA"),
        ("csv", "None", "None"),
        ("csv", "", None),
        ("instances", False, "false"),
        ("csv", False, "false"),
        ("parquet", False, "false"),
        ("dataframe_records", "False", "false"),
        ("dataframe_split", 3, "3"),
        ("csv", 3.0, "3"),
        ("parquet", np.float32(3.1), "3.1"),
        ("csv", "007", "007"),
    ],
)
def test_category_has_the_documented_name(form: str, value: Any, name: str | None) -> None:
    inputs = Inputs("toy", {"x": "categorical"}, frozenset({"x"}))
    assert asked(form, {"x": [value], "who": [1]}, inputs).features.texts["x"] == [name]
