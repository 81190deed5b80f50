"""Hours that are to be summed are marked by their labels, and sums outlive the rows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from tests.support.store_fixtures import EVER, FEATURES, NOON, batch, labels

if TYPE_CHECKING:
    from keel.store import PredictionLog, Store

HOUR = timedelta(hours=1)
MODEL = "flight_delay"


@pytest.fixture
def log(store: Store) -> PredictionLog:
    return store.predictions(MODEL, FEATURES)


def stale(store: Store) -> list[tuple[int, int, int]]:
    return [(version, (hour - NOON) // HOUR, revision) for version, hour, revision in store.performance.stale(MODEL)]


def test_label_marks_the_hour_of_its_prediction(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(4), step=timedelta(minutes=30), version=pa.array([1, 1, 1, 2])))
    assert stale(store) == []
    log.add_labels(labels({"p0": 1.0, "p1": 0.0, "p3": 1.0}, observed_at=NOON + 50 * HOUR))
    assert stale(store) == [(1, 0, 1), (2, 1, 1)]
    log.add_labels(labels({"p2": 1.0}))
    assert stale(store) == [(1, 0, 1), (1, 1, 1), (2, 1, 1)]
    assert store.performance.stale(MODEL, NOON + HOUR, NOON + 2 * HOUR) == [(1, NOON + HOUR, 1), (2, NOON + HOUR, 1)]
    assert store.performance.stale("other") == []


def test_labels_without_effect_mark_no_hour(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(2)))
    log.add_labels(labels({"p0": 1.0}))
    for again in ({"p0": 1.0}, {"p0": 0.0}, {"orphan": 1.0}):
        log.add_labels(labels(again))
        assert stale(store) == [(1, 0, 1)]
    log.add_labels(labels([("p1", 1.0), ("p1", 0.0), ("p0", 1.0)]))
    assert stale(store) == [(1, 0, 2)]


def test_early_label_marks_the_hour_when_its_prediction_is_stored(store: Store, log: PredictionLog) -> None:
    log.add_labels(labels({"p1": 1.0, "history": 0.0}))
    assert stale(store) == []
    log.append(batch(range(3), step=HOUR))
    log.append(batch(["history"], version=...))
    assert stale(store) == [(1, 1, 1)]
    log.append(batch(range(3), step=HOUR))
    assert stale(store) == [(1, 1, 1)], "what was stored before is no news"


def test_early_labels_of_another_model_mark_no_hour(store: Store, log: PredictionLog) -> None:
    store.predictions("other", FEATURES).add_labels(labels({"p0": 1.0}))
    log.append(batch(range(1)))
    assert stale(store) == []


def test_label_stored_during_summing_keeps_the_hour_stale(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(2)))
    log.add_labels(labels({"p0": 1.0}))
    [(version, hour, revision)] = store.performance.stale(MODEL)
    log.add_labels(labels({"p1": 1.0}))
    store.performance.put_hours(MODEL, version, [(hour, 1, "of one", revision)])
    assert stale(store) == [(1, 0, 2)]
    store.performance.put_hours(MODEL, version, [(hour, 2, "of two", 2)])
    assert stale(store) == []
    assert store.performance.get(MODEL, *EVER) == [(1, NOON, 2, "of two")]


@pytest.mark.parametrize("revision", [0, 1, 2, 4])
def test_sums_of_an_old_or_unknown_revision_are_ignored(store: Store, log: PredictionLog, revision: int) -> None:
    log.append(batch(range(3)))
    for name in ("p0", "p1"):
        log.add_labels(labels({name: 1.0}))
    store.performance.put_hours(MODEL, 1, [(NOON, 2, "of two", 2)])
    log.add_labels(labels({"p2": 1.0}))
    store.performance.put_hours(MODEL, 1, [(NOON, 0, "slow", revision)])
    assert store.performance.get(MODEL, *EVER) == [(1, NOON, 2, "of two")]
    assert stale(store) == [(1, 0, 3)]


def test_sums_are_read_by_time_and_version(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(6), step=HOUR, version=pa.array([1, 2, 1, 2, 1, 2])))
    log.add_labels(labels({f"p{i}": 1.0 for i in range(6)}))
    for i in range(5):
        store.performance.put_hours(MODEL, 1 + i % 2, [(NOON + i * HOUR, 1, str(i), 1)])
    found = store.performance.get(MODEL, NOON + HOUR, NOON + 9 * HOUR)
    assert [body for *_, body in found] == ["2", "4", "1", "3"], "the last hour was never summed"
    assert [body for *_, body in store.performance.get(MODEL, *EVER, version=2)] == ["1", "3"]
    assert store.performance.get(MODEL, NOON, NOON + HOUR) == [(1, NOON, 1, "0")]
    with pytest.raises(ValueError, match="not the start of an hour"):
        store.performance.put_hours(MODEL, 1, [(NOON + HOUR / 2, 1, "", 1)])
