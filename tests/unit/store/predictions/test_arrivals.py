"""Rows and labels are numbered as they are stored, and followed by their numbers: each once, in order, none missed."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.store.database.tables import labels as labels_table
from keel.store.predictions.arrivals import OF_PAIR, OF_ROW
from keel.store.predictions.encoding import LABEL_ARRIVAL
from keel.store.predictions.layout import ARRIVAL
from tests.support.store_fixtures import EVER, FEATURES, NOON, batch, labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keel.store import PredictionLog, Store

HOUR = timedelta(hours=1)
LATER = NOON + 1000 * HOUR


@pytest.fixture
def log(store: Store) -> PredictionLog:
    return store.predictions("m", FEATURES)


def followed(log: PredictionLog, version: int, *, limit: int, after: int = 0) -> Iterator[tuple[int, str]]:
    while (page := log.arrived(version, after=after, limit=limit)).num_rows:
        assert page.num_rows <= limit
        yield from zip(page[ARRIVAL].to_pylist(), page["id"].to_pylist(), strict=True)
        after = page[ARRIVAL][-1].as_py()


def test_arrived_returns_rows_in_the_order_in_which_they_were_stored(log: PredictionLog) -> None:
    log.append(batch(["c", "a", "b"], start=NOON))
    log.append(batch(["z", "a", "y", "z"], start=NOON - 5 * HOUR))
    log.append(batch(["other"], version=pa.array([2])))
    log.append(batch(["never scored"], version=...))
    found = list(followed(log, 1, limit=2))
    assert [name for _, name in found] == ["c", "a", "b", "z", "y"]
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert [name for _, name in followed(log, 2, limit=9)] == ["other"]


def test_arrived_returns_features_in_their_own_types(store: Store) -> None:
    log = store.predictions("m", {**FEATURES, "arrival": "numeric"})
    log.append(batch(["a"], temp=pa.array(["warm"]), arrival=pa.array([7.5])))
    log.append(batch(["b"], carrier=..., arrival=pa.array([float("inf")])))
    found = log.arrived(1, after=0, limit=10)
    assert found.column_names == [*OF_ROW, "temp", "carrier", "arrival"]
    assert found.schema.field(ARRIVAL).type == pa.int64()
    assert found.select(["temp", "carrier", "arrival"]).to_pylist() == [
        {"temp": None, "carrier": "AA", "arrival": 7.5},
        {"temp": 0.0, "carrier": None, "arrival": float("inf")},
    ]


def test_arrived_with_packed_features_returns_their_values(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from keel.store.predictions import layout

    monkeypatch.setattr(layout, "COLUMN_BYTES", 8)
    log = store.predictions("m", {"one": "numeric", "two": "numeric", "word": "categorical"})
    values = {"one": pa.array([1.0]), "two": pa.array([2.0]), "word": pa.array(["w"])}
    log.append(batch(["a"], temp=..., carrier=..., **values))
    [row] = log.arrived(1, after=0, limit=10).select(["id", "one", "two", "word"]).to_pylist()
    assert row == {"id": "a", "one": 1.0, "two": 2.0, "word": "w"}


def test_arrived_behind_the_last_number_is_empty(log: PredictionLog) -> None:
    assert log.arrived(1, after=0, limit=10).num_rows == 0
    log.append(batch(range(3)))
    found = log.arrived(1, after=log.last_arrival(), limit=10)
    assert found.num_rows == 0
    assert found.column_names == [*OF_ROW, *FEATURES]


def test_last_arrival_does_not_move_with_what_was_stored_before(store: Store, log: PredictionLog) -> None:
    assert (log.last_arrival(), store.live.arrivals()) == (0, {})
    log.append(batch(range(3)))
    log.add_labels(labels({"p0": 1.0}))
    last = log.last_arrival()
    log.append(batch(range(3)))
    log.append(batch([]))
    log.add_labels(labels({"p0": 1.0}))
    log.add_labels(labels({"p0": 0.0}))
    assert log.last_arrival() == last
    log.add_labels(labels({"p1": 1.0, "p0": 0.0}))
    assert log.last_arrival() > last


def test_live_arrivals_returns_every_model_that_has_rows(store: Store) -> None:
    for model, rows in (("one", 2), ("two", 5)):
        store.predictions(model, FEATURES).append(batch(range(rows)))
    store.predictions("three", FEATURES)
    assert store.live.arrivals() == {"one": 2, "two": 5}


def test_numbers_are_unique_over_predictions_and_labels(store: Store, log: PredictionLog) -> None:
    for i in range(4):
        log.append(batch([f"a{i}", f"b{i}"]))
        log.add_labels(labels([(f"a{i}", 1.0), (f"b{i}", 0.0), (f"a{i}", 0.0)]))
    with store.connect() as connection:
        of_labels = connection.execute(sa.select(labels_table.c.arrival)).scalars().all()
    numbers = [*of_labels, *log.arrived(1, after=0, limit=100)[ARRIVAL].to_pylist()]
    assert len(numbers) == len(set(numbers)) == 16
    assert max(numbers) <= log.last_arrival()


def test_numbers_of_expired_rows_are_not_given_again(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(3)))
    last = log.last_arrival()
    for version, hour, revision in log.dirty_hours(EVER[1]):
        log.mark_counted(version, [(hour, revision)])
    assert log.expire(NOON + HOUR) == 3
    log.append(batch(["new"], start=NOON + 9 * HOUR))
    assert [name for _, name in followed(log, 1, limit=9, after=last)] == ["new"]
    assert store.verify() == []


def test_settled_stops_before_the_first_row_that_is_too_young(log: PredictionLog) -> None:
    log.append(batch(["a", "b"], start=NOON))
    log.append(batch(["young"], start=NOON + 5 * HOUR))
    log.append(batch(["late"], start=NOON))
    log.add_labels(labels({"a": 1.0, "young": 1.0, "late": 0.0}))
    until, pairs = log.settled(1, after=0, mature=NOON + HOUR, labels_until=log.last_arrival(), limit=10)
    assert pairs.column_names == list(OF_PAIR)
    assert pairs["id"].to_pylist() == ["a"]
    assert until == 2, "the row without a label has settled too"
    again = log.settled(1, after=until, mature=NOON + HOUR, labels_until=log.last_arrival(), limit=10)
    assert (again[0], again[1].num_rows) == (until, 0)
    _, pairs = log.settled(1, after=until, mature=NOON + 5 * HOUR, labels_until=log.last_arrival(), limit=10)
    assert pairs["id"].to_pylist() == ["young", "late"]


def test_settled_takes_rows_up_to_a_number_for_mature_whatever_their_time(log: PredictionLog) -> None:
    log.append(batch(["a"], start=NOON + 100 * HOUR))
    log.append(batch(["b"], start=NOON))
    log.append(batch(["c"], start=NOON + HOUR))
    log.add_labels(labels({"a": 1.0, "b": 1.0, "c": 1.0}))
    last = log.last_arrival()
    assert log.settled(1, after=0, mature=NOON, labels_until=last, limit=10)[0] == 0
    until, pairs = log.settled(1, after=0, mature=NOON, labels_until=last, limit=10, mature_until=1)
    assert pairs["id"].to_pylist() == ["a", "b"]
    assert until == 2


def test_waiting_counts_labels_where_somebody_reads_them(log: PredictionLog) -> None:
    log.append(batch(range(5)))
    log.add_labels(labels({"p0": 1.0, "p1": 1.0}))
    assert log.waiting(1, after=2, labels_after=6) == (3, 1)
    assert log.waiting(1, after=2, labels_after=None) == (3, 0)


def test_count_arrived_is_that_of_the_versions_rows_up_to_a_limit(log: PredictionLog) -> None:
    log.append(batch(range(5)))
    log.append(batch(range(5, 9), version=pa.array([2] * 4)))
    log.add_labels(labels({"p0": 1.0}))
    assert [log.count_arrived(1, after=after, limit=limit) for after, limit in ((0, 9), (2, 9), (0, 3))] == [5, 3, 3]


def test_settled_with_unlabelled_rows_returns_them_with_a_null(log: PredictionLog) -> None:
    log.append(batch(["a", "b", "c"]))
    log.add_labels(labels({"b": 1.0}))
    _, rows = log.settled(1, after=0, mature=LATER, labels_until=log.last_arrival(), limit=10, unlabelled=True)
    assert rows["label"].to_pylist() == [None, 1.0, None]
    _, rows = log.settled(1, after=0, mature=LATER, labels_until=3, limit=10, unlabelled=True)
    assert rows["label"].to_pylist() == [None, None, None], "the label came later"


def test_late_labels_returns_labels_of_settled_rows_alone(log: PredictionLog) -> None:
    log.append(batch(["early", "a", "b", "young"]))
    before = log.last_arrival()
    log.append(batch(["other"], version=pa.array([2])))
    log.add_labels(labels({"b": 1.0, "unmatched": 1.0, "young": 1.0, "other": 1.0, "a": 0.0, "early": 1.0}))
    until, pairs = log.late_labels(1, predictions_after=1, predictions_until=before - 1, after=before, limit=100)
    assert pairs["id"].to_pylist() == ["b", "a"]
    assert pairs["label"].to_pylist() == [1.0, 0.0]
    assert pairs[LABEL_ARRIVAL].to_pylist() == sorted(pairs[LABEL_ARRIVAL].to_pylist())
    assert until == log.last_arrival()
    assert log.late_labels(1, predictions_until=before, after=until, limit=9)[0] == until


def test_late_labels_page_is_bounded_by_labels_of_any_version(log: PredictionLog) -> None:
    log.append(batch(range(4)))
    log.append(batch(range(4, 8), version=pa.array([2] * 4)))
    log.add_labels(labels({f"p{i}": 1.0 for i in reversed(range(8))}))
    last, until, pages = log.last_arrival(), 0, []
    while until < last:
        until, pairs = log.late_labels(1, predictions_until=last, after=until, limit=3)
        pages.append(pairs["id"].to_pylist())
    assert pages == [[], ["p3", "p2"], ["p1", "p0"]]


def test_corrected_label_is_no_new_arrival(store: Store, log: PredictionLog) -> None:
    log.append(batch(["read", "waiting"]))
    log.add_labels(labels({"read": 1.0, "waiting": 1.0}))
    last = log.last_arrival()
    until, pairs = log.settled(1, after=0, mature=LATER, labels_until=last, limit=1)
    assert pairs["label"].to_pylist() == [1.0]
    with store.begin() as connection:  # as keel.feedback.correct does
        connection.execute(sa.update(labels_table).values(label=0.0))
    assert log.last_arrival() == last
    assert log.late_labels(1, predictions_until=until, after=last, limit=9)[1].num_rows == 0
    _, pairs = log.settled(1, after=until, mature=LATER, labels_until=last, limit=9)
    assert pairs.select(["id", "label"]).to_pylist() == [{"id": "waiting", "label": 0.0}]


def test_label_stored_before_there_were_numbers_belongs_to_its_prediction(store: Store, log: PredictionLog) -> None:
    log.add_labels(labels({"a": 1.0}))
    with store.begin() as connection:
        connection.execute(sa.update(labels_table).values(arrival=None))
    log.append(batch(["a"]))
    _, pairs = log.settled(1, after=0, mature=LATER, labels_until=0, limit=9)
    assert pairs["id"].to_pylist() == ["a"]
    assert log.late_labels(1, predictions_until=9, after=0, limit=9)[1].num_rows == 0


@pytest.mark.parametrize("seed", range(2))
def test_pairs_are_read_once_whatever_comes_first(log: PredictionLog, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"p{i}" for i in range(40)]
    versions = {name: 1 + chance.randrange(2) for name in names}
    rows, truths = chance.sample(names, 40), chance.sample(names, 30)
    start = predictions, of_labels = 0, 0
    read: list[str] = []
    while rows or truths or (predictions, of_labels) != start:
        for _ in range(chance.randrange(4)):
            if some := [rows.pop() for _ in range(min(len(rows), chance.randrange(8)))]:
                ages = [timedelta(hours=chance.randrange(3)) for _ in some]
                times = pa.array([NOON + age for age in ages], pa.timestamp("us", tz="UTC"))
                log.append(batch(some, time=times, version=pa.array([versions[name] for name in some])))
            if some := [truths.pop() for _ in range(min(len(truths), chance.randrange(6)))]:
                log.add_labels(labels(dict.fromkeys(some, 1.0)))
        start = predictions, of_labels
        mature = NOON + timedelta(hours=chance.randrange(3)) if rows or truths else LATER
        predictions, pairs = log.settled(
            1, after=predictions, mature=mature, labels_until=of_labels, limit=chance.randrange(1, 20)
        )
        read += pairs["id"].to_pylist()
        of_labels, pairs = log.late_labels(
            1, predictions_until=predictions, after=of_labels, limit=chance.randrange(1, 20)
        )
        read += pairs["id"].to_pylist()
    assert len(read) == len(set(read))
    assert sorted(read) == sorted(log.labelled(*EVER, version=1)["id"].to_pylist())


def test_verify_numbers_beyond_their_counter_is_a_fault(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(3)))
    log.add_labels(labels({"p0": 1.0}))
    assert store.verify() == []
    with store.begin() as connection:
        connection.execute(sa.update(labels_table).values(arrival=1_000))
    [fault] = store.verify()
    assert "arrival number 1,000, and the counter stands at 4" in fault
