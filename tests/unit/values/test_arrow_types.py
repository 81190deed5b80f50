"""Every Arrow type at every door that takes a table: a value is read, or refused by name."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from keel.cli.standalone import replay
from keel.errors import BadRequest, SchemaError
from keel.feedback import prediction_id
from keel.feedback.parse_columns import ReadOptions, parse_labels
from keel.grid.column_grid import fit_categorical, fit_numeric
from keel.grid.kernel import assign_rows, count_column
from keel.registry.scoring_model import to_model_input
from keel.serving.http.json_requests import PARQUET, parse
from keel.serving.models.input_schema import Inputs
from keel.store.database.times import to_micros
from keel.store.predictions.casting import to_ids, to_kind, to_times
from keel.values.columns import INVALID, decoded, name_texts, read_categories, read_column, read_numbers
from tests.support.toy import toy_config

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CONFIG = toy_config(features={"x": "numeric"})
TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
DICTIONARIES = [
    pa.dictionary(index, value)
    for index in (pa.int8(), pa.uint16(), pa.int32(), pa.int64())
    for value in (pa.string(), pa.large_string())
]
DECIMALS = [pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(20, 2), pa.decimal256(40, 2)]
STAMPS = [pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ("UTC", "Europe/Berlin", "+02:00")]
NAIVE = [pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")]


class Tagged(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.string(), "keel.tests.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


def texts(kind: Any, values: list[str | None]) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array([None if v is None else v.encode() for v in values] if "binary" in str(kind) else values, kind)


COLUMNS = {
    **{str(kind): texts(kind, ["1.5", None, "17"]) for kind in (*TEXT_TYPES, *DICTIONARIES)},
    **{str(kind): pa.array([Decimal("1.5"), None, Decimal(17)], kind) for kind in DECIMALS},
    **{str(kind): pa.array([1.5, None, 17], kind) for kind in (pa.float16(), pa.float32(), pa.float64())},
    "run-end encoded": pc.run_end_encode(pa.array(["1.5", None, "17"])),
    "extension": pa.ExtensionArray.from_storage(Tagged(), pa.array(["1.5", None, "17"])),
    "views in a dictionary": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1], pa.int32()), pa.array(["1.5", "17"], pa.string_view())
    ),
    "decimals in a dictionary": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1], pa.int32()), pa.array([Decimal("1.5"), Decimal(17)], pa.decimal64(9, 2))
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_number_is_read_from_every_type_at_every_door(name: str) -> None:
    column = COLUMNS[name]
    assert to_kind(decoded(column), "numeric").values.to_pylist() == [1.5, None, 17.0]
    assert to_kind(decoded(column), "categorical").values.to_pylist() == ["1.5", None, "17"]
    table = pa.table({"x": pa.chunked_array([column, column])})
    np.testing.assert_array_equal(to_model_input(table, CONFIG)["x"], [1.5, np.nan, 17] * 2)
    names = to_model_input(table, toy_config(features={"x": "categorical"}))["x"]
    assert names.dropna().tolist() == ["1.5", "17"] * 2
    numbers, words = fit_numeric("x", np.array([1.5, 17])), fit_categorical("x", pa.array(["1.5", "17", "17"]))
    for grid, cells in ((numbers, [0, 1, 0, 1, 0]), (words, [1, 1, 0])):
        column = read_column(pa.table({"x": COLUMNS[name]}), "x")
        counts = count_column(grid, column, 3)
        assert (counts.cells.tolist(), counts.missing) == (cells, 1)
        positions = np.bincount(assign_rows(grid, column, 3), minlength=grid.size)[: grid.size]
        assert positions.tolist() == cells


@pytest.mark.parametrize(
    "name", sorted(COLUMNS.keys() - {"run-end encoded", "views in a dictionary"})
)  # pyarrow writes neither
@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_parquet_request_of_every_type_is_read_or_refused_by_name(name: str, kind: Any) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": COLUMNS[name]}), file)
    inputs = Inputs("toy", {"x": kind}, frozenset({"x"}))
    if "binary" in name:
        with pytest.raises(BadRequest, match="column 'x' is of type"):
            parse(file.getvalue(), PARQUET, inputs, clock=lambda _: to_micros(NOW))
        return
    found = parse(file.getvalue(), PARQUET, inputs, clock=lambda _: to_micros(NOW)).features
    if kind == "numeric":
        np.testing.assert_array_equal(found.numbers, [[1.5, np.nan, 17]])
    else:
        assert found.texts["x"] == ["1.5", None, "17"]


TIMES = {
    **{str(kind): pa.array([NOW, NOW], pa.timestamp("us", "UTC")).cast(kind) for kind in STAMPS},
    "dictionary": pa.array([NOW, NOW], pa.timestamp("us", "UTC")).dictionary_encode(),
    "run-end encoded": pc.run_end_encode(pa.array([NOW, NOW], pa.timestamp("ns", "UTC"))),
}
AUTUMN = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
"""In Berlin 02:30, an hour that occurs twice."""


@pytest.mark.parametrize("name", TIMES)
def test_time_is_read_from_every_type_with_a_zone_at_every_door(name: str) -> None:
    column = TIMES[name]
    assert to_times(pa.table({"time": column}), "time").to_pylist() == [to_micros(NOW)] * 2
    labels = {"entity": ["a", "b"], "time": column, "label": [0, 1], "observed_at": column}
    found = parse_labels(pa.table(labels), ReadOptions(CONFIG, NOW), 1)
    assert found["id"].to_pylist() == [prediction_id("toy", each, NOW) for each in "ab"]
    assert found["observed_at"].to_pylist() == [NOW, NOW]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_time_in_an_hour_that_occurs_twice_is_read_at_every_door(unit: str, zone: str) -> None:
    hours = [AUTUMN + timedelta(minutes=30 * i) for i in range(16)]  # New York's change is at 06:00 UTC a week later
    hours += [AUTUMN + timedelta(days=7, minutes=30 * i) for i in range(16)]
    column = pa.array(hours, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, zone))
    expected = list(map(to_micros, hours))
    assert to_times(pa.table({"time": column}), "time").to_pylist() == expected
    labels = pa.table({"id": list(map(str, range(32))), "label": [1] * 32, "observed_at": column})
    found = parse_labels(labels, ReadOptions(CONFIG, NOW), 1)["observed_at"]
    assert found.cast(pa.int64()).to_pylist() == expected


def test_nanoseconds_are_rounded_down_before_and_after_1970() -> None:
    column = pa.array([1_999, -1, -1_001], pa.timestamp("ns", "Europe/Berlin"))
    assert to_times(pa.table({"time": column}), "time").to_pylist() == [1, -1, -2]


NO_TIMES = {
    **{str(kind): pa.array([NOW.replace(tzinfo=None)], kind) for kind in NAIVE},
    "date32": pa.array([date(2026, 5, 1)], pa.date32()),
    "date64": pa.array([date(2026, 5, 1)], pa.date64()),
    "time32": pa.array([time_of_day(12)], pa.time32("s")),
    "time64": pa.array([time_of_day(12)], pa.time64("ns")),
    "duration": pa.array([timedelta(1)], pa.duration("us")),
    "interval": pa.array([pa.MonthDayNano([1, 2, 3])]),
    "int64": pa.array([1]),
    "float64": pa.array([1.5]),
    "bool": pa.array([True]),
    "decimal": pa.array([Decimal(1)]),
    "list": pa.array([[1]]),
}


@pytest.mark.parametrize("name", NO_TIMES)
def test_column_that_is_no_time_with_a_zone_is_refused_by_name(name: str) -> None:
    column = NO_TIMES[name]
    with pytest.raises(SchemaError, match="column 'time'"):
        to_times(pa.table({"time": column}), "time")
    with pytest.raises(BadRequest, match="column 'time'"):
        parse_labels(pa.table({"entity": ["a"], "time": column, "label": [1]}), ReadOptions(CONFIG, NOW), 1)


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
@pytest.mark.parametrize("name", [*NO_TIMES, *TIMES])
def test_time_as_a_feature_is_counted_as_it_is_stored(name: str, kind: str) -> None:
    column = (NO_TIMES | TIMES)[name]
    cast = to_kind(decoded(column), kind)
    read = read_column(pa.table({"x": column}), "x")
    grid = (fit_numeric if kind == "numeric" else fit_categorical)("x", read)
    of_column, of_stored = (count_column(grid, each, len(column)) for each in (read, cast.values))
    assert of_column.cells.tolist() == of_stored.cells.tolist()
    assert of_column.invalid == of_stored.missing == len(cast.invalid)
    table, config = pa.table({"x": column}), toy_config(features={"x": kind})
    if cast.invalid:
        with pytest.raises(SchemaError, match="feature 'x' cannot be read as"):
            to_model_input(table, config)
    else:
        assert to_model_input(table, config)["x"].tolist() == cast.values.to_pylist()


@pytest.mark.parametrize("values", [["a", "a", "True"], [1.0, 1.0, None], [True, True, False]], ids=str)
def test_run_end_encoded_column_has_the_categories_of_the_plain_one(values: Any) -> None:
    column = pa.array(values)
    encoded, expected = read_categories(pc.run_end_encode(column)), read_categories(column)
    assert [encoded.labels[code] for code in encoded.codes] == [expected.labels[code] for code in expected.codes]
    assert (INVALID in encoded.labels, encoded.numbers) == (False, expected.numbers)
    assert name_texts(pc.run_end_encode(column))[0].to_pylist() == name_texts(column)[0].to_pylist()
    numbers, _ = read_numbers(pc.run_end_encode(column))
    np.testing.assert_array_equal(numbers, read_numbers(column)[0])


IDS = [*TEXT_TYPES[:3], *DICTIONARIES, pa.int8(), pa.uint64(), pa.float64(), pa.decimal128(9, 0), pa.decimal32(5, 2)]


@pytest.mark.parametrize("kind", IDS, ids=str)
def test_identity_is_read_from_every_type_at_every_door(kind: Any) -> None:
    is_text = pa.types.is_dictionary(kind) or "string" in str(kind)
    column = (
        texts(kind, ["17", "4"])
        if is_text
        else pa.array(list(map(Decimal if "decimal" in str(kind) else int, (17, 4))), kind)
    )
    assert to_ids(pa.table({"id": column})).to_pylist() == ["17", "4"]
    found = parse_labels(pa.table({"id": column, "label": [0, 1]}), ReadOptions(CONFIG, NOW), 1)
    assert found["id"].to_pylist() == ["17", "4"]
    assert to_kind(decoded(column), "categorical", "entity").values.to_pylist() == ["17", "4"]


@pytest.mark.parametrize("kind", [*TEXT_TYPES[:3], *DICTIONARIES], ids=str)
def test_label_is_read_from_every_text_type(kind: Any) -> None:
    for words, skip in ((["true", "0", "1.0"], False), (["True", "", "1"], True)):
        labels = pa.table({"id": ["a", "b", "c"], "label": texts(kind, words)})
        found = parse_labels(labels, ReadOptions(CONFIG, NOW, skip_missing=skip), 1)
        assert found["label"].to_pylist() == ([1.0, 1.0] if skip else [1.0, 0.0, 1.0])


@pytest.mark.parametrize("text", [*TEXT_TYPES[:3], *DICTIONARIES[:1]], ids=str)
@pytest.mark.parametrize("time", [pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("s", "UTC")], ids=str)
def test_history_of_every_type_is_moved_and_cut(text: Any, time: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    times = pa.array([AUTUMN, AUTUMN + timedelta(hours=1)], pa.timestamp("us", "UTC")).cast(time)
    offered = pa.table({"id": texts(text, ["a", "b"]), "time": times, "label": [1.0, float("nan")], "x": [1.0, 2.0]})
    monkeypatch.setattr("tests.support.pipelines.toy.labelled_history", lambda _: offered, raising=False)
    rows = replay.labelled_history(CONFIG, shift=timedelta(days=30))
    start = AUTUMN + timedelta(days=30)
    assert rows["id"].to_pylist() == ["a+2592000s", "b+2592000s"]
    assert replay.between(rows, start, start + timedelta(hours=1))["id"].to_pylist() == ["a+2592000s"]
    delay = CONFIG.target.label_delay
    labels = replay.labels_between(CONFIG, rows, start + delay, start + delay + timedelta(days=1))
    assert labels["label"].to_pylist() == [1.0]
