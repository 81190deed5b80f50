"""Labels as they lie in files and tables: read whatever the types, and what is wrong named by row and column."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from keel.errors import BadRequest
from keel.feedback import label_table, prediction_id
from keel.feedback.parse_columns import ReadOptions, parse_labels
from tests.support.store_fixtures import MICROSECONDS
from tests.support.toy import toy_config

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATE = datetime(2026, 4, 30, 23, 30, tzinfo=UTC)
CONFIG = toy_config()
REGRESSION = toy_config(target={"name": "bought", "kind": "regression"}, performance={"metric": "mae"})


def read(columns: dict[str, Any], *, first_row: int = 1, config: Any = CONFIG, **how: Any) -> pa.Table:
    return parse_labels(pa.table(columns), ReadOptions(config, NOW, **how), first_row)


@pytest.mark.parametrize(
    "label",
    [
        pa.array([0, 1], pa.int8()),
        pa.array([0.0, 1.0], pa.float32()),
        pa.array([False, True]),
        pa.array(["0", "1"]),
        pa.array(["0.0", " 1 "]),
        pa.array(["False", "TRUE"]),
        pa.array(["false", "1"]).dictionary_encode(),
        pa.array(["0", "1"], pa.large_string()),
        pa.array([Decimal("0.0"), Decimal("1.0")]),
    ],
)
def test_binary_label_accepts_numbers_booleans_and_text(label: pa.Array) -> None:
    table = read({"id": ["a", "b"], "label": label})
    assert table["label"].to_pylist() == [0.0, 1.0]
    assert table.schema.types == [pa.string(), pa.float64(), MICROSECONDS]
    assert table["observed_at"].to_pylist() == [NOW, NOW]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([NOW - timedelta(hours=1)], MICROSECONDS),
        pa.array([NOW - timedelta(hours=1)], pa.timestamp("ns", "America/New_York")),
        pa.array([NOW - timedelta(hours=1)], pa.timestamp("s", "UTC")),
        pa.array(["2026-05-01T11:00:00Z"]),
        pa.array([" 2026-05-01 13:00:00+02:00 "]),
    ],
)
def test_time_accepts_any_type_with_a_zone(times: pa.Array) -> None:
    table = read({"entity": pa.array([7]), "time": times, "label": [1], "observed_at": times})
    assert table.to_pylist() == [
        {
            "id": prediction_id("toy", "7", NOW - timedelta(hours=1)),
            "label": 1.0,
            "observed_at": NOW - timedelta(hours=1),
        }
    ]


@pytest.mark.parametrize("times", [pa.array(["2026-04-30 23:30:00"]), pa.array([LATE.replace(tzinfo=None)])])
def test_time_without_zone_needs_the_zone_option(times: pa.Array) -> None:
    columns = {"id": ["a"], "label": [1], "observed_at": times}
    found = read(columns, zone=ZoneInfo("Europe/Berlin"))
    assert found["observed_at"].to_pylist() == [datetime(2026, 4, 30, 21, 30, tzinfo=UTC)]
    with pytest.raises(BadRequest, match="observed_at.*has no time zone; name it with --zone"):
        read(columns)


def test_observed_at_defaults_to_now() -> None:
    known = ["2026-04-30T00:00:00Z", "", None]
    found = read({"id": ["a", "b", "c"], "label": [1, 0, 1], "observed_at": known})
    assert found["observed_at"].to_pylist() == [datetime(2026, 4, 30, tzinfo=UTC), NOW, NOW]
    assert read({"id": ["a"], "label": [1], "observed_at": pa.nulls(1)})["observed_at"].to_pylist() == [NOW]


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("id", ["a", "", "c"], "row 12, column 'request': must be of 1 to 1024 bytes"),
        ("id", ["a", None, "c"], "row 12, column 'request': must be of 1 to 1024 bytes"),
        ("id", ["a", "b", "c" * 1025], "row 13, column 'request': must be of 1 to 1024 bytes"),
        ("id", ["a", "b\x00", "c"], "row 12, column 'request': holds a NUL"),
        ("id", [1.5, 2.5, 3.5], "row 11, column 'request': must be a text or a whole number, not a fraction"),
        ("label", ["1", "1", "late"], "row 13, column 'label': must be 0 or 1 .*got 'late'"),
        ("label", [0, 1, 2], "row 13, column 'label': must be 0 or 1 .*got 2"),
        ("label", [0.0, float("nan"), 1.0], "row 12, column 'label': is missing"),
        ("label", [0.0, float("inf"), 1.0], "row 12, column 'label': must be 0 or 1"),
        ("label", ["0", "", "1"], "row 12, column 'label': is missing"),
        ("label", pa.nulls(3), "row 11, column 'label': is missing"),
        ("label", [NOW] * 3, "column 'label': must be numbers, not timestamp"),
        ("label", [[1], [0], [1]], "row 11, column 'label': must be 0 or 1"),
        ("observed_at", ["2026-05-01T11:00:00Z", "noon", None], "row 12, column 'observed_at': must be an ISO 8601"),
        ("observed_at", ["2026-05-01T12:05:01Z", "", ""], "row 11, column 'observed_at'.*lies in the future"),
        ("observed_at", ["2026-05-01T11:00:00Z", "2026-05-01T11:00", ""], "row 12.*no time zone"),
        ("observed_at", ["0001-01-01T00:00:00+05:00", "", ""], "row 11.*before the year 1"),
        ("observed_at", [1, 2, 3], "column 'observed_at': must be times with a zone.*not int64"),
        ("observed_at", [date(2026, 5, 1)] * 3, "column 'observed_at': must be times with a zone.*not date32"),
        ("observed_at", pa.array([-(2**62), 0, 0], pa.timestamp("s", "UTC")), "times outside the years 1 to 9999"),
        ("observed_at", pa.array([0, -(2**62), 0], pa.timestamp("us", "UTC")), "row 12.*before the year 1"),
    ],
)
def test_invalid_value_names_row_and_source_column(column: str, values: Any, says: str) -> None:
    good = {"id": ["a", "b", "c"], "label": [0, 1, 0]}
    with pytest.raises(BadRequest, match=says):
        read({**good, column: values}, first_row=11, source_names={"id": "request"})


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("entity", ["ann", ""], "row 2, column 'entity': must be of 1 to 1024"),
        ("time", ["2026-05-01T11:00:00Z", ""], "row 2, column 'time': is missing"),
        ("time", ["2026-05-01T11:00:00Z", "2026-05-02T11:00:00Z"], "row 2, column 'time'.*lies in the future"),
    ],
)
def test_entity_without_time_raises(column: str, values: list[str], says: str) -> None:
    good = {"entity": ["ann", "bob"], "time": ["2026-05-01T11:00:00Z"] * 2, "label": [0, 1]}
    with pytest.raises(BadRequest, match=says):
        read({**good, column: values})


def test_regression_label_may_be_any_finite_number() -> None:
    found = read({"id": ["a", "b"], "label": ["1e3", "-0.1"]}, config=REGRESSION)
    assert found["label"].to_pylist() == [1000.0, -0.1]
    for wrong, says in (
        (["1", "inf"], "finite"),
        (["1", "true"], "'true'"),
        ([1.0, None], "missing"),
    ):
        with pytest.raises(BadRequest, match=f"row 2.*{says}"):
            read({"id": ["a", "b"], "label": wrong}, config=REGRESSION)
    with pytest.raises(BadRequest, match="is true or false, and the target a number"):
        read({"id": ["a"], "label": [True]}, config=REGRESSION)


def test_skip_missing_keeps_row_numbers() -> None:
    columns = {"id": ["", "b", "c", ""], "label": [None, 1.0, float("nan"), None]}
    found = read(columns, skip_missing=True)
    assert found.select(["id", "label"]).to_pylist() == [{"id": "b", "label": 1.0}]
    with pytest.raises(BadRequest, match="row 5, column 'label': must be 0 or 1"):
        read({"id": list("abcde"), "label": ["", "1", "", "0", "2"]}, skip_missing=True)
    assert read({"id": ["a"], "label": pa.nulls(1)}, skip_missing=True).num_rows == 0


def test_file_and_request_give_the_same_labels() -> None:
    rows = [{"entity": f"e{i}", "time": f"2026-04-{i + 1:02}T00:00:00+05:45", "label": i % 2} for i in range(20)]
    assert read({key: [row[key] for row in rows] for key in rows[0]}) == label_table(rows, CONFIG, now=NOW)


@pytest.mark.parametrize("kind", [pa.string(), pa.timestamp("us"), pa.timestamp("ns")])
def test_time_skipped_by_dst_raises_and_a_repeated_one_is_the_first(kind: Any) -> None:
    def of(*hours: datetime) -> dict[str, Any]:
        times = pa.array([f"{hour:%Y-%m-%dT%H:%M}" for hour in hours] if kind == pa.string() else hours, kind)
        return {"entity": ["ann"] * len(hours), "time": times, "label": [1] * len(hours)}

    zone = ZoneInfo("Europe/Berlin")
    twice = read(of(datetime(2025, 10, 26, 2, 30)), zone=zone)  # noqa: DTZ001
    assert twice["id"].to_pylist() == [prediction_id("toy", "ann", datetime(2025, 10, 26, 0, 30, tzinfo=UTC))]
    with pytest.raises(BadRequest, match="row 2, column 'time': 2026-03-29.*is no time in Europe/Berlin.*put forward"):
        read(of(datetime(2026, 3, 29, 1, 59), datetime(2026, 3, 29, 2, 30)), zone=zone)  # noqa: DTZ001
