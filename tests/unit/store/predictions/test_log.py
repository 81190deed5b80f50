"""The prediction log: what goes in comes out, once, whatever it was."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.errors import SchemaError
from keel.store import AppendResult, PredictionLog, Store
from tests.support.store_fixtures import EVER, FEATURES, MICROSECONDS, NOON, batch

HOUR = timedelta(hours=1)


@pytest.fixture
def log(store: Store) -> PredictionLog:
    return store.predictions("flight_delay", FEATURES)


def only(tables: list[pa.Table]) -> pa.Table:
    assert len(tables) == 1
    return tables[0]


def test_append_is_read_back_in_order_of_time(log: PredictionLog) -> None:
    table = batch(range(100))
    assert log.append(table.take(list(reversed(range(100))))) == AppendResult(100, 0)
    read = only(log.read(*EVER))
    assert read.equals(table)
    assert read.schema.types == [
        pa.string(), MICROSECONDS, pa.int64(), pa.float64(), pa.float64(), pa.float64(), pa.string(),
    ]  # fmt: skip


def test_rows_of_one_time_are_in_order_of_bytes_of_id(log: PredictionLog) -> None:
    log.append(batch(["b", "B", "a", "é", "Z"], step=timedelta(0)))
    assert only(log.read(*EVER))["id"].to_pylist() == ["B", "Z", "a", "b", "é"]


def test_appending_again_changes_nothing(log: PredictionLog) -> None:
    log.append(batch(range(10)))
    before, dirty = only(log.read(*EVER)), log.dirty_hours(EVER[1])
    changed = batch(range(10), temp=pa.array([99.0] * 10))
    assert log.append(changed) == AppendResult(0, 10)
    assert only(log.read(*EVER)).equals(before)
    assert log.dirty_hours(EVER[1]) == dirty


def test_append_keeps_the_first_row_of_an_id(log: PredictionLog) -> None:
    table = batch(["a", "b", "a", "a"], temp=pa.array([1.0, 2.0, 3.0, 4.0]))
    assert log.append(table) == AppendResult(2, 2)
    assert only(log.read(*EVER))["temp"].to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize("table", [pa.table({}), batch([])], ids=["no columns", "no rows"])
def test_append_empty_table_stores_nothing(log: PredictionLog, table: pa.Table) -> None:
    result = log.append(table)
    assert (result.stored, result.duplicates) == (0, 0)
    assert only(log.read(*EVER)).num_rows == 0
    assert log.times() is None
    assert log.label_rate(*EVER) is None


def test_append_one_row_is_read_back(log: PredictionLog) -> None:
    assert log.append(batch(["only"])).stored == 1
    assert log.times() == (NOON, NOON)
    assert log.count(NOON, NOON + HOUR) == 1
    assert log.count(NOON - HOUR, NOON) == 0, "the end of a window is not in it"


def test_append_keeps_infinities_and_reads_nan_as_missing(log: PredictionLog) -> None:
    log.append(batch(range(5), temp=pa.array([math.inf, -math.inf, math.nan, None, 5e-324])))
    assert only(log.read(*EVER))["temp"].to_pylist() == [math.inf, -math.inf, None, None, 5e-324]


def test_read_column_with_thousands_of_nulls_keeps_its_type(log: PredictionLog) -> None:
    temp = pa.array([None] * 3000 + [1.5], pa.float64())
    carrier = pa.array([None] * 3000 + ["UA"], pa.string())
    log.append(batch(range(3001), temp=temp, carrier=carrier))
    read = only(log.read(*EVER))
    assert read["temp"].combine_chunks().equals(temp)
    assert read["carrier"].combine_chunks().equals(carrier)


def test_append_names_extra_columns_and_does_not_store_them(log: PredictionLog) -> None:
    result = log.append(batch(range(2), wind=pa.array([1, 2])))
    assert result.extra_columns == ["wind"]
    assert "wind" not in only(log.read(*EVER)).column_names


def test_read_missing_column_is_absent_and_an_empty_one_is_not(log: PredictionLog) -> None:
    assert log.append(batch(["without"], temp=...)).missing_columns == ["temp"]
    log.append(batch(["empty"], temp=pa.nulls(1)))
    shapes = {table["id"][0].as_py(): table.column_names for table in log.read_hour(1, NOON)}
    assert "temp" not in shapes["without"]
    assert "temp" in shapes["empty"]


def test_read_returns_invalid_values_as_text(log: PredictionLog) -> None:
    texts = ["12", " 1.5 ", "twelve", "", None, "-inf", "1_000", "1,5", "nan", "\x00"]
    result = log.append(batch(range(10), temp=pa.array(texts)))
    assert result.invalid == {"temp": 5}
    tables = log.read_hour(1, NOON)
    values = {i: v for t in tables for i, v in zip(t["id"].to_pylist(), t["temp"].to_pylist(), strict=True)}
    assert [values[f"p{i}"] for i in range(10)] == [
        12.0, 1.5, "twelve", "", None, -math.inf, "1_000", "1,5", None, "\x00",
    ]  # fmt: skip
    assert {t.schema.field("temp").type for t in tables} == {pa.float64(), pa.string()}


def test_read_valid_values_beside_invalid_ones_are_exact(store: Store) -> None:
    log = store.predictions("two", {"a": "numeric", "b": "numeric"})
    log.append(batch(range(2), a=pa.array(["x", "0.1"]), b=pa.array(["0.30000000000000004", "y"])))
    read = only(log.read(*EVER))
    assert read["a"].to_pylist() == ["x", "0.1"]
    assert [float(read["b"][0].as_py()), read["b"][1].as_py()] == [0.1 + 0.2, "y"]


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        (pa.array([1, 2], pa.int32()), [1.0, 2.0]),
        (pa.array([2**63 + 2048, None], pa.uint64()), [float(2**63 + 2048), None]),
        (pa.array([True, False]), [1.0, 0.0]),
        (pa.array([1, 2], pa.decimal128(9, 3)), [1.0, 2.0]),
        (pa.array([1.5, math.nan], pa.float32()), [1.5, None]),
        (pa.array(["1", "2"]).dictionary_encode(), [1.0, 2.0]),
        (pa.array(["1", "2"], pa.large_string()), [1.0, 2.0]),
        (pa.array(["1", "2"], pa.string_view()), [1.0, 2.0]),
    ],
)
def test_numeric_feature_accepts_any_number_type(log: PredictionLog, column: Any, stored: list[Any]) -> None:
    assert log.append(batch(range(2), temp=column)).invalid == {}
    assert only(log.read(*EVER))["temp"].to_pylist() == stored


@pytest.mark.parametrize(
    ("column", "kept"),
    [
        (pa.array([[1], None]), "[1]"),
        (pa.array([b"\xff", None]), "b'\\xff'"),
        (pa.array([{"a": 1}, None]), "{'a': 1}"),
    ],
)
def test_numeric_feature_of_another_type_is_invalid_and_kept(log: PredictionLog, column: Any, kept: str) -> None:
    assert log.append(batch(range(2), temp=column)).invalid == {"temp": 1}
    assert [t["temp"][0].as_py() for t in log.read(*EVER) if t["id"][0].as_py() == "p0"] == [kept]


def test_category_that_an_earlier_release_stored_as_written_is_read_by_its_name(
    log: PredictionLog, store: Store
) -> None:
    log.append(batch(range(4), carrier=pa.array(["AA", "true", "3", None])))
    with store.begin() as connection:
        for row, written in ((1, "True"), (2, "3.0")):
            connection.execute(
                sa.text(f"UPDATE predictions_flight_delay SET carrier = '{written}' WHERE id = 'p{row}'")
            )
    assert only(log.read(*EVER))["carrier"].to_pylist() == ["AA", "true", "3", None]


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        (pa.array([1, 2]), ["1", "2"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([1.0, math.nan]), ["1", None]),
        (pa.array(["AA", None]).dictionary_encode(), ["AA", None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_categorical_feature_is_text(log: PredictionLog, column: Any, stored: list[Any]) -> None:
    assert log.append(batch(range(2), carrier=column)).invalid == {}
    assert only(log.read(*EVER))["carrier"].to_pylist() == stored


def test_category_with_a_nul_is_read_back(log: PredictionLog) -> None:
    log.append(batch(range(2), carrier=pa.array(["A\x00A", "AA"])))
    assert sorted(v for t in log.read(*EVER) for v in t["carrier"].to_pylist()) == ["A\x00A", "AA"]


def test_rows_without_version_are_stored_and_not_counted(log: PredictionLog) -> None:
    log.append(batch(["old"], version=..., score=..., prediction=...))
    assert log.dirty_hours(EVER[1]) == []
    assert log.count(*EVER) == 1
    assert log.count(*EVER, version=1) == 0
    assert only(log.read(*EVER)).select(["version", "score"]).to_pylist() == [{"version": None, "score": None}]


def test_versions_may_be_floats_with_gaps_as_pandas_makes_them(log: PredictionLog) -> None:
    log.append(batch(range(2), version=pa.array([3.0, math.nan])))
    assert only(log.read(*EVER))["version"].to_pylist() == [3, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_and_zone_are_converted(log: PredictionLog, unit: str) -> None:
    local = datetime(2024, 3, 1, 13, 0, 7, tzinfo=timezone(HOUR))
    log.append(batch(["a"], time=pa.array([local], pa.timestamp(unit, tz="Europe/Paris"))))
    assert log.times() == (datetime(2024, 3, 1, 12, 0, 7, tzinfo=UTC),) * 2
    assert log.dirty_hours(EVER[1]) == [(1, NOON, 1)]


def test_nanoseconds_are_cut_off_downwards_before_1970_too(log: PredictionLog) -> None:
    log.append(batch(["a"], time=pa.array([-1], pa.timestamp("ns", tz="UTC"))))
    assert log.times() == (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),) * 2
    assert [hour for _, hour, _ in log.dirty_hours(EVER[1])] == [datetime(1969, 12, 31, 23, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"id": pa.array(["a", None])}, "'id' has 1 null.*row 1"),
        ({"id": pa.array(["a", ""])}, "'id', row 1: must be of 1 to 1024 bytes .has 0."),
        ({"id": pa.array(["a", "x" * 1025])}, "'id', row 1: must be of 1 to 1024 bytes .has 1025."),
        ({"id": pa.array(["a", "b\x00"])}, "'id'.*NUL"),
        ({"id": pa.array([0.5, 1.5])}, "'id', row 0: must be a text or a whole number, not a fraction"),
        ({"id": ...}, "0 columns named 'id'"),
        ({"time": ...}, "0 columns named 'time'"),
        ({"time": pa.array([NOON, None], MICROSECONDS)}, "'time' has 1 null.*row 1"),
        ({"time": pa.array([NOON, NOON], pa.timestamp("us"))}, "'time' has no time zone"),
        ({"time": pa.array([1, 2])}, "'time' must be a timestamp with a time zone, not int64"),
        ({"time": pa.array(["2024-01-01", "2024-01-02"])}, "'time' must be a timestamp.*string"),
        ({"time": pa.array([0, 2**62], pa.timestamp("s", tz="UTC"))}, "no microsecond timestamp can hold"),
        ({"time": pa.array([0, 2**40], pa.timestamp("s", tz="UTC"))}, "outside the years 1 to 9999"),
        ({"version": pa.array(["1", "two"])}, "'version' must hold whole numbers"),
        ({"version": pa.array([1.0, 1.5])}, "'version' must hold whole numbers"),
    ],
)
def test_append_unusable_ids_times_or_versions_raises(log: PredictionLog, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        log.append(batch(range(2), **columns))
    assert log.count(*EVER) == 0
    assert log.dirty_hours(EVER[1]) == []


def test_append_duplicate_column_raises(log: PredictionLog) -> None:
    table = batch(range(2))
    with pytest.raises(SchemaError, match="2 columns named 'temp'"):
        log.append(table.append_column("temp", table["temp"]))


def test_append_something_else_than_a_table_raises(log: PredictionLog) -> None:
    with pytest.raises(SchemaError, match="pyarrow Table, not list"):
        log.append([{"id": "a"}])
    with pytest.raises(SchemaError, match="pyarrow Table, not dict"):
        log.add_labels({"id": ["a"]})


def test_append_naive_times_raises(log: PredictionLog) -> None:
    naive = datetime(2024, 1, 1)  # noqa: DTZ001
    for call in (
        lambda: log.read(naive, NOON),
        lambda: log.labelled(NOON, naive),
        lambda: log.count(naive, NOON),
        lambda: log.dirty_hours(naive),
        lambda: log.read_hour(1, naive),
        lambda: log.expire(naive),
    ):
        with pytest.raises(ValueError, match="no time zone"):
            call()


def test_mark_counted_part_of_an_hour_raises(log: PredictionLog) -> None:
    with pytest.raises(ValueError, match="not the start of an hour"):
        log.read_hour(1, NOON + timedelta(minutes=30))


def test_hours_are_dirty_by_version_until_counted(log: PredictionLog) -> None:
    log.append(batch(range(4), step=timedelta(minutes=30), version=pa.array([1, 1, 1, 2])))
    assert log.dirty_hours(EVER[1]) == [(1, NOON, 1), (1, NOON + HOUR, 1), (2, NOON + HOUR, 1)]
    assert log.dirty_hours(NOON + HOUR) == [(1, NOON, 1)], "hours that begin before"
    assert sum(t.num_rows for t in log.read_hour(1, NOON + HOUR)) == 1
    log.mark_counted(1, [(NOON, 1)])
    log.mark_counted(1, [(NOON, 1)])
    assert [hour for _, hour, _ in log.dirty_hours(EVER[1])] == [NOON + HOUR, NOON + HOUR]


def test_mark_set_during_counting_stays(log: PredictionLog) -> None:
    log.append(batch(["a"]))
    [(version, hour, revision)] = log.dirty_hours(EVER[1])
    log.read_hour(version, hour)
    log.append(batch(["b"]))
    log.mark_counted(version, [(hour, revision)])
    assert log.dirty_hours(EVER[1]) == [(1, NOON, 2)]


def test_revision_is_never_used_twice(log: PredictionLog) -> None:
    log.append(batch(["a"]))
    log.mark_counted(1, [(NOON, 1)])
    log.append(batch(["b"]))
    log.mark_counted(1, [(NOON, 1)])  # by a slow counter that has not seen b
    assert log.dirty_hours(EVER[1]) == [(1, NOON, 2)]
    log.mark_counted(1, [(NOON, 7)])  # a revision that never was
    assert log.dirty_hours(EVER[1]) == [(1, NOON, 2)]


def test_models_do_not_share_rows(store: Store, log: PredictionLog) -> None:
    other = store.predictions("other", {"temp": "categorical"})
    log.append(batch(["a"]))
    assert other.append(batch(["a"], temp=pa.array(["hot"]))).stored == 1
    assert other.count(*EVER) == log.count(*EVER) == 1
    other.mark_counted(1, [(NOON, 1)])
    assert log.dirty_hours(EVER[1]) == [(1, NOON, 1)]


def test_allocations_are_read_back(log: PredictionLog) -> None:
    log.append(batch(range(2), arm=pa.array(["champion", None]), allocation=pa.array([0.9, None])))
    assert log.allocations(*EVER).to_pylist() == [
        {"id": "p0", "time": NOON, "version": 1, "arm": "champion", "allocation": 0.9}
    ]


def test_expire_keeps_counts_and_uncounted_hours(log: PredictionLog) -> None:
    log.append(batch(range(3), step=HOUR))
    log.append(batch(["history"], version=...))
    log.mark_counted(1, [(NOON, 1)])
    assert log.expire(NOON + 2 * HOUR + timedelta(minutes=59)) == 2, "p1's hour is not counted, p2's not over"
    assert only(log.read(*EVER))["id"].to_pylist() == ["p1", "p2"]
    assert log.expire(NOON) == 0
    log.append(batch(["late"]))
    assert [hour for _, hour, _ in log.dirty_hours(EVER[1])] == [NOON + HOUR, NOON + 2 * HOUR]
    log.append(batch(["current"], start=NOON + 2 * HOUR))
    assert log.dirty_hours(EVER[1])[-1] == (1, NOON + 2 * HOUR, 2)
