"""Parsing of requests: the values equal those of MLflow's parser, and every error names its place."""

from __future__ import annotations

import io
import json
import math
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from keel.errors import BadRequest
from keel.feedback import prediction_id
from keel.serving.http.json_requests import parse
from keel.serving.http.parquet_pages import unpacked_size
from keel.serving.models.input_schema import Inputs
from keel.store.database.times import to_micros
from keel.values.scalars import category_in

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KINDS = {"x": "numeric", "colour": "categorical", "z": "numeric"}
INPUTS = Inputs("toy", KINDS, frozenset(KINDS), max_rows=100)
GOOD = {"x": 1.5, "colour": "red", "z": -2}
JSON = "application/json"


def clock(count):
    return to_micros(NOW)


def read(payload, content_type=JSON, inputs=INPUTS):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return parse(body, content_type, inputs, clock=clock)


def rejected(payload, content_type=JSON, inputs=INPUTS):
    with pytest.raises(BadRequest) as caught:
        read(payload, content_type, inputs)
    return caught.value.status, str(caught.value)


def columns(features):
    names, numbers, texts = features.given()
    return dict(zip(names, numbers.tolist(), strict=True)) | texts


def status_of(payload, content_type):
    try:
        rows = read(payload, content_type)
    except BadRequest as error:
        return error.status
    assert len(rows) == rows.features.rows >= 1
    return 200


def split(rows, **more):
    names = list(rows[0])
    return {"dataframe_split": {"columns": names, "data": [[row[n] for n in names] for row in rows], **more}}


FORMS = {
    "dataframe_split": split,
    "dataframe_records": lambda rows: {"dataframe_records": rows},
    "instances": lambda rows: {"instances": rows},
    "inputs": lambda rows: {"inputs": {name: [row[name] for row in rows] for name in rows[0]}},
    "inputs as records": lambda rows: {"inputs": rows},
}


@pytest.mark.parametrize("form", FORMS)
def test_parse_reads_every_form_alike(form):
    rows = [GOOD, {"x": None, "colour": None, "z": True}]
    found = read(FORMS[form](rows)).features
    assert columns(found).keys() == KINDS.keys()
    np.testing.assert_array_equal(found.numbers, [[1.5, math.nan], [-2, 1]])
    assert found.texts == {"colour": ["red", None]}


NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6).map(repr),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)  # numpy cuts NUL off


@st.composite
def tables(draw):
    """A form's name and rows for it, with extra columns and in another order."""
    form = draw(st.sampled_from(list(FORMS)))
    # MLflow reads a null text in tensors as the category 'None'; for Keel it is missing
    texts = TEXTS | st.none() if form.startswith("dataframe") else TEXTS
    extra = draw(st.sampled_from([{}, {"other": 3}]))
    row = st.fixed_dictionaries({"z": NUMBERS, "colour": texts, "x": NUMBERS})
    return form, [{**extra, **row} for row in draw(st.lists(row, min_size=1, max_size=4))]


@pytest.fixture(scope="module")
def schema():
    from mlflow.types import ColSpec, Schema

    return Schema([ColSpec("double", "x"), ColSpec("string", "colour"), ColSpec("double", "z")])


@given(tables())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parse_of_json_gives_the_values_of_mlflow(schema, table):
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    form, rows = table
    payload = FORMS[form](rows)
    expected = _enforce_schema(infer_and_parse_data(json.loads(json.dumps(payload)), schema), schema)
    found = read(payload).features
    for name, values in columns(found).items():
        theirs = expected[name].tolist()
        if KINDS[name] == "numeric":
            np.testing.assert_array_equal(np.array(values), np.array(theirs, dtype=float))
        else:
            assert values == [None if pd.isna(text) else category_in(str(text)) for text in theirs]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"x": st.none() | st.floats(allow_infinity=False), "colour": st.none() | TEXTS, "z": st.integers()}
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parse_of_csv_gives_the_values_of_mlflow(schema, rows):
    from mlflow.pyfunc.scoring_server import parse_csv_input

    text = pd.DataFrame(rows, columns=list(KINDS)).to_csv(index=False)
    assume("\r" not in text)  # pandas writes it unquoted but reads it as the end of a line
    expected = parse_csv_input(io.StringIO(text), schema)
    found = columns(read(text.encode(), "text/csv; charset=utf-8").features)
    for name in ("x", "z"):
        np.testing.assert_array_equal(np.array(found[name]), expected[name].to_numpy(dtype=float))
    # MLflow's reader guesses that a category of the name NA, None or null is missing
    assert found["colour"] == [category_in(row["colour"]) if row["colour"] else None for row in rows]


def test_parse_reads_a_category_that_is_a_whole_number_larger_than_any_float():
    rows = read({"dataframe_records": [GOOD, {**GOOD, "colour": -(10**400)}]})
    assert columns(rows.features)["colour"] == ["red", "-1" + "0" * 400]


@pytest.mark.parametrize("form", ["dataframe_split", "inputs"])
def test_parse_of_a_number_larger_than_any_float_is_422_and_names_the_row(form):
    status, message = rejected(FORMS[form]([GOOD, {**GOOD, "x": 10**400}]))
    assert (status, "column 'x', row 1: 1000" in message) == (422, True)


def test_parse_reads_parquet():
    table = pa.table({"z": [1, 2], "other": [[1], [2]], "colour": ["red", None], "x": [0.5, None]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    found = columns(read(buffer.getvalue(), "application/vnd.apache.parquet").features)
    assert found["z"] == [1, 2]
    assert found["colour"] == ["red", None]
    assert math.isnan(found["x"][1])
    status, message = rejected(b"PAR1", "application/vnd.apache.parquet")
    assert status == 400
    assert "Parquet" in message


@pytest.mark.parametrize(
    ("payload", "status", "reason"),
    [
        (b" ", 400, "the body is empty: send an object with one of dataframe_split"),
        (b'{"inputs": ', 400, "line 1, column 12 (character 11)"),
        (b"\xff\xfe{", 400, "not UTF-8"),
        (b'{"inputs": {"colour": ["\\ud800"]}}', 400, "half a surrogate pair"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"x": ' + b"9" * 5000 + b"}", 400, "malformed JSON: Exceeds the limit"),
        (b"[1]", 400, "must be an object"),
        (b'{"dataframe_recods": []}', 400, "did you mean 'dataframe_records'?"),
        ({"inputs": [GOOD], "instances": [GOOD]}, 400, "instances and inputs"),
        ({"dataframe_records": []}, 422, "no row"),
        ({"dataframe_split": {"columns": list(KINDS), "data": []}}, 422, "no row"),
        ({"inputs": {name: [] for name in KINDS}}, 422, "no row"),
        ({"dataframe_records": [GOOD] * 101}, 413, "send at most 100 (serving.max_rows)"),
        ({"inputs": {name: [value] * 101 for name, value in GOOD.items()}}, 413, "101 rows"),
        (split([GOOD] * 101), 413, "101 rows"),
        ({"dataframe_records": [{"x": 1, "color": "red", "z": 2}]}, 422, "'colour' (the request has 'color'); "),
        ({"dataframe_records": [GOOD, {**GOOD, "x": "hot"}]}, 422, "column 'x', row 1: 'hot' is not a number"),
        ({"dataframe_records": [{**GOOD, "x": [1]}]}, 422, "column 'x', row 0: a list is not a number"),
        ({"inputs": {"x": [[1]], "z": [[1]], "colour": ["red"]}}, 422, "column 'x', row 0: a list is not a number"),
        ({"dataframe_records": [{**GOOD, "x": {}}]}, 422, "column 'x', row 0: an object is not a number"),
        ({"dataframe_records": [{**GOOD, "colour": [3]}]}, 422, "column 'colour', row 0: a list is no category"),
        ({"dataframe_records": [{**GOOD, "x": "1_000"}]}, 422, "column 'x', row 0: '1_000' is not a number"),
        ({"dataframe_records": [{**GOOD, "x": "NA"}]}, 422, "send null, in CSV an empty field, for a missing value"),
        ({"dataframe_records": [{**GOOD, "z": math.inf}]}, 422, "column 'z', row 0: inf is not a finite number"),
        ({"dataframe_records": [{**GOOD, "z": "-inf"}]}, 422, "column 'z', row 0: -inf"),
        (b'{"dataframe_records": [{"x": 1e999, "colour": "a", "z": 1}]}', 422, "column 'x', row 0: inf"),
        ({"dataframe_records": [{**GOOD, "x": 10**400}]}, 422, "column 'x', row 0: 1000"),
        ({"dataframe_records": [GOOD, 3]}, 400, "row 1 is 3, not an object"),
        ({"dataframe_records": {"x": [1]}}, 400, "list of objects"),
        ({"dataframe_split": {"columns": list(KINDS), "data": [[1, "a", 2], [1, "a"]]}}, 400, "row 1 has 2 values"),
        ({"dataframe_split": {"columns": list(KINDS), "data": [1, 2]}}, 400, "row 0 is 1"),
        ({"dataframe_split": {"columns": ["x", "colour", "z", "x"], "data": [[1, "a", 2, 3]]}}, 400, "'x' appears"),
        ({"dataframe_split": {"columns": [["x"]], "data": [[1]]}}, 400, "names must be texts"),
        ({"dataframe_split": {"data": [[1, "a", 2]]}}, 422, "missing columns 'x', 'colour', 'z'"),
        ({"dataframe_split": {"columns": list(KINDS)}}, 400, "columns and data"),
        (split([GOOD], index=[1, 2]), 400, "dataframe_split.index"),
        (split([GOOD], names=1), 400, "dataframe_split.names: unknown key"),
        ({"inputs": {"x": [1, 2], "colour": ["a"], "z": [1, 2]}}, 400, "unequal length: 'x' 2, 'colour' 1, 'z' 2"),
        ({"instances": [[1, "a", 2]]}, 422, "a list without column names"),
        ({"inputs": 3}, 400, "list of objects"),
    ],
)
def test_parse_of_an_invalid_payload_names_the_place(payload, status, reason):
    assert (found := rejected(payload))[0] == status, found
    assert reason in found[1]


PARQUET = "application/vnd.apache.parquet"


def parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [1.0] * 100, "z": [1.0] * 100, **columns}), file, compression="zstd")
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("y" * 10**6, pa.string()),
        ("y" * 10**6, pa.large_string()),
        ("y" * 10**6, pa.dictionary(pa.int32(), pa.string())),
    ],
    ids=str,
)
def test_parse_of_parquet_that_unpacks_to_too_much_is_413(text, types):
    packed = parquet(colour=pa.array([text] * 100).cast(types))
    assert len(packed) < 10_000
    status, message = rejected(packed, PARQUET)
    assert status == 413
    assert "unpacks to more than" in message


@pytest.mark.parametrize("types", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_parse_reads_parquet_texts_of_every_encoding(types):
    rows = read(parquet(colour=pa.array(["red", "blue", None, ""] * 25).cast(types)), PARQUET)
    assert rows.features.texts["colour"] == ["red", "blue", None, ""] * 25


def test_parse_of_parquet_that_understates_its_size_is_413():
    plain = io.BytesIO()
    table = pa.table({"x": [1.0] * 70, "colour": ["r" * 1_000_000] * 70, "z": [1.0] * 70})
    pq.write_table(table, plain, use_dictionary=False, compression="zstd", write_statistics=False)
    stated = pq.ParquetFile(plain).metadata.row_group(0).column(1).total_uncompressed_size
    assert stated > 64 * 2**20
    lies = plain.getvalue().replace(varint(stated), varint(1000, len(varint(stated))))
    assert pq.ParquetFile(io.BytesIO(lies)).metadata.row_group(0).column(1).total_uncompressed_size == 1000
    status, message = rejected(lies, PARQUET)
    assert status == 413
    assert "unpacks to more than" in message


def varint(number, size=0):
    """Return a number as in Parquet's metadata, in at least so many bytes."""
    digits = []
    number *= 2
    while number or len(digits) < size or not digits:
        digits.append(number & 0x7F)
        number >>= 7
    return bytes([digit | 0x80 for digit in digits[:-1]] + digits[-1:])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "cut off"),
        (b"\x00", "no page starts"),
        (b"\x25\x02\x15\x01\x00", "no page starts"),
        (b"\x19" * 100_000, "nested too deeply"),
        (b"\x1c" * 100_000, "nested too deeply"),
        (b"\x19\xf1" + b"\xff" * 8 + b"\x7f" + b"\x00" * 20, "cut off"),
        (b"\x19\xf7" + b"\xff" * 8 + b"\x7f", "cut off"),
        (b"\x18\xff\xff\x03", "cut off"),
        (b"\x15" + b"\xff" * 20, "too many digits"),
        (b"\x1f", "kind 15"),
    ],
)
def test_unpacked_size_of_invalid_page_headers_raises_with_the_reason(header, reason):
    with pytest.raises(ValueError, match=reason):
        unpacked_size(header, 0, len(header) + (not header))


@pytest.mark.parametrize("value", [["red"], {"a": 1}, b"red"], ids=str)
def test_parse_of_parquet_columns_of_other_types_is_422(value):
    status, message = rejected(parquet(colour=[value] * 100), PARQUET)
    assert status == 422
    assert "column 'colour' is of type" in message


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": [*KINDS, *["x"] * 60_000], "data": []}},
        {"dataframe_split": {"columns": [f"xx{i}" for i in range(60_000)], "data": []}},
        {"inputs": {**GOOD, "x": [1], "z": [1, 2], **{f"x{i}": [1] for i in range(60_000)}}},
        {f"x{i}": 1 for i in range(60_000)},
        {"dataframe" * 1_500_000: 1},
        {"inputs": {**GOOD, "x": [1], "z": [1, 2], "x" * 5_000_000: [1]}},
        {"dataframe_split": {"columns": list(KINDS), "data": [[1, "red", 2]], "x" * 5_000_000: 1}},
        {"inputs": GOOD, "keel": {"ids" * 2_000_000: 1}},
    ],
    ids=["named often", "many names", "many lengths", "many keys", "a long key", "long name", "split", "Keel's own"],
)
def test_parse_error_of_a_request_with_many_names_is_quick_and_short(payload):
    began = time.process_time()
    _, message = rejected(payload)
    assert time.process_time() - began < 1  # minutes if every name is compared with every other
    assert len(message) < 1_000


@pytest.mark.parametrize(
    ("payload", "status", "reason"),
    [
        (b" \n", 400, "the CSV is empty"),
        (b"x,colour,z\n", 422, "no row"),
        (b"x,colour\n1,red\n", 422, "missing column 'z'"),
        (b"x,colour,z,x\n1,red,2,3\n", 400, "'x' appears"),
        (b"x,colour,z\n1,red,2\n1,red,2,3\n", 400, "row 1 has 4 values for 3 columns"),
        (b"x,colour,z\n1,red,2,3\n1,red,2,3\n", 400, "row 0 has 4 values"),  # pandas takes the first for an index
        (b"x,colour,z\n1,red\n", 400, "row 0 has 2 values"),
        (b"x,colour,z\n1,red,2\nhot,red,2\n", 422, "column 'x', row 1: 'hot' is not a number"),
        (b"x,colour,z\n1,red,inf\n", 422, "column 'z', row 0: inf"),
        (b"x,colour,z\n1,\xff,2\n", 400, "not UTF-8: byte 13"),
        (b"x,colour,z\n" + b"1,red,2\n" * 101, 413, "101 rows"),
        (b"x,colour,z\n" + b"1,red,hot\n" * 101, 413, "101 rows"),
    ],
)
def test_parse_of_an_invalid_csv_names_the_place(payload, status, reason):
    assert (found := rejected(payload, "text/csv"))[0] == status, found
    assert reason in found[1]


def test_parse_of_csv_accepts_blank_lines_and_quoted_line_breaks():
    file = b'\n  \nx,colour,z\n1,"red, or\nso",2\n\n \n,,\n'
    assert read(file, "text/csv").features.texts["colour"] == ["red, or\nso", None]


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/json; charset=latin-1", "text/csv; header=yes"]
)
def test_parse_of_another_content_type_is_415(content_type):
    assert rejected(split([GOOD]), content_type)[0] == 415


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
def test_parse_accepts_content_types_as_clients_write_them(content_type):
    assert len(read(split([GOOD]), content_type)) == 1


def test_parse_without_a_feature_that_no_version_needs_marks_it_absent():
    inputs = Inputs("toy", KINDS, frozenset({"x", "colour"}))
    found = read({"dataframe_records": [{"x": 1, "colour": "red"}]}, inputs=inputs).features
    assert found.absent == {"z"}
    assert columns(found) == {"x": [1.0], "colour": ["red"]}


def test_parse_reads_a_bare_list_as_the_only_needed_column():
    inputs = Inputs("toy", {"x": "numeric"}, frozenset({"x"}))
    assert columns(read({"instances": [1, 2]}, inputs=inputs).features) == {"x": [1.0, 2.0]}
    assert read({"dataframe_split": {"columns": ["x"], "data": [1, 2]}}, inputs=inputs).features.rows == 2


def test_parse_generates_times_and_ids_by_default():
    rows = read({"dataframe_records": [GOOD, GOOD]})
    assert rows.times == [to_micros(NOW), to_micros(NOW) + 1]
    assert len(set(rows.ids)) == 2
    assert all(len(identity) == 32 for identity in rows.ids)
    assert {int(identity[:12], 16) for identity in rows.ids} == {to_micros(NOW) // 1000}, "ids sort by time"
    assert rows.entities is None


def with_keel(size=2, **keel):
    return {"dataframe_records": [GOOD] * size, "keel": keel}


def test_parse_uses_the_given_ids_times_and_entities():
    early = NOW - timedelta(minutes=30)
    request = with_keel(ids=["a", None], times=[early.isoformat(), None], entities=["ann", 42])
    rows = read(request)
    assert rows.ids == ["a", prediction_id("toy", "42", NOW + timedelta(microseconds=1))]
    assert rows.times == [to_micros(early), to_micros(NOW) + 1]
    assert rows.entities == ["ann", "42"]


@pytest.mark.parametrize("entity", ["who", "x"])
def test_parse_reads_entities_from_the_entity_column(entity):
    inputs = Inputs("toy", KINDS, frozenset(KINDS), entity_column=entity)
    rows = [{**GOOD, "x": 7, "who": 7}, {**GOOD, "x": None, "who": None}]
    expected = prediction_id("toy", "7", NOW)
    for payload in (FORMS["dataframe_split"](rows), FORMS["inputs"](rows)):
        found = read(payload, inputs=inputs)
        assert found.entities == ["7", None]
        assert found.ids[0] == expected
        assert len(found.ids[1]) == 32
    csv = pd.DataFrame(rows).to_csv(index=False).encode()  # pandas writes the column as floats
    assert read(csv, "text/csv", inputs=inputs).ids[0] == expected
    assert "who" not in columns(found.features)


@pytest.mark.parametrize(
    ("sent", "entity"),
    [
        (["True", None], "True"),
        (["17.0", None], "17"),
        ([17.0, None], "17"),
        ([17, 18], "17"),
        ([0.5, None], None),
        ([True, None], None),
    ],
)
def test_parse_reads_an_entity_that_is_a_category_alike_from_every_form(sent, entity):
    inputs = Inputs("toy", KINDS, frozenset(KINDS), entity_column="colour")
    frame = {"x": [1.5, 1.5], "z": [1.5, 1.5], "colour": sent}
    file = io.BytesIO()
    pq.write_table(pa.table(frame), file)
    requests = [({"inputs": frame}, JSON), (file.getvalue(), "application/vnd.apache.parquet")]
    if isinstance(sent[0], str):
        requests.append((pd.DataFrame(frame).to_csv(index=False).encode(), "text/csv"))
    for payload, kind in requests:
        if entity is None:
            status, message = rejected(payload, kind, inputs)
            assert (status, "column 'colour', row 0" in message) == (422, True), kind
        else:
            rows = read(payload, kind, inputs)
            assert rows.entities[0] == entity, kind
            assert columns(rows.features)["colour"][0] == ("true" if entity == "True" else entity), kind


def test_parse_of_csv_reads_entities_as_text():
    inputs = Inputs("toy", KINDS, frozenset(KINDS), entity_column="who")
    entities = ["007", "12345678901234567891", "9007199254740993", "1e3", "12.0", "-3.0", "", "1.0.0"]
    csv = "x,z,colour,who\n" + "".join(f"1,2,red,{entity}\n" for entity in entities)
    found = read(csv.encode(), "text/csv", inputs=inputs)
    assert found.entities == ["007", "12345678901234567891", "9007199254740993", "1e3", "12", "-3", None, "1.0.0"]


@pytest.mark.parametrize(
    ("keel", "reason"),
    [
        ({"ids": ["a"]}, "keel.ids: must be a list of 2"),
        ({"ids": "ab"}, "keel.ids: must be a list of 2"),
        ({"ids": ["a", "a"]}, "keel.ids[1]: 'a' is also the id of row 0"),
        ({"ids": ["a", ""]}, "keel.ids[1]"),
        ({"ids": ["a", 1.5]}, "keel.ids[1]"),
        ({"ids": ["a", "b" * 2000]}, "keel.ids[1]"),
        ({"ids": ["a", "\x00"]}, "keel.ids[1]"),
        ({"id": ["a", "b"]}, "keel.id: unknown key; did you mean 'ids'?"),
        ({"entities": [True, "b"]}, "keel.entities[0]"),
        ({"times": [None, "yesterday"]}, "keel.times[1]: 'yesterday' is not an ISO 8601 time"),
        ({"times": [None, 1_700_000_000]}, "keel.times[1]: 1700000000 is not"),
        ({"times": [None, "2026-05-01T12:00:00"]}, "keel.times[1]: '2026-05-01T12:00:00' has no time zone"),
        ({"times": [None, "2026-05-01T12:05:01Z"]}, "keel.times[1]: '2026-05-01T12:05:01Z' is in the future"),
        ({"times": [None, "2026-05-01T10:59:59Z"]}, "is older than serving.max_age (1h"),
        ({"entities": ["a", "a"], "times": ["2026-05-01T12:00:00Z"] * 2}, "the same entity 'a' at the same time"),
    ],
)
def test_parse_of_invalid_ids_times_or_entities_names_key_and_row(keel, reason):
    status, message = rejected(with_keel(**keel))
    assert status == 422
    assert reason in message


def test_parse_of_a_keel_key_that_is_no_object_is_rejected():
    assert "keel: must be an object" in rejected({"dataframe_records": [GOOD], "keel": [1]})[1]


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_parse_of_any_bytes_reads_or_rejects_them(body):
    for content_type in (JSON, "text/csv"):
        assert status_of(body, content_type) in (200, 400, 413, 422)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KINDS, "data", "columns"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]), JUNK, JUNK)
@settings(max_examples=300, deadline=None)
def test_parse_of_any_json_reads_or_rejects_it(form, value, own):
    assert status_of({form: value, "keel": own}, JSON) in (200, 400, 413, 422)


@pytest.mark.parametrize("wrap", [lambda names: names, lambda names: {"inputs": names}], ids=["keys", "columns"])
def test_parse_rejects_many_names_about_as_fast_as_it_reads_them(wrap):
    body = json.dumps(wrap({f"name {i}": 1 for i in range(300_000)})).encode()
    began = time.thread_time()
    json.loads(body)
    read = time.thread_time() - began
    began = time.thread_time()
    assert rejected(body)[0] in (400, 422)
    assert time.thread_time() - began < 5 * read + 1.0
