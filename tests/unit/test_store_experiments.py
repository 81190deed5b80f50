"""Rows of experiments: stored with whom they are about, read one an entity, in the order in which labels came."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from keel.errors import SchemaError
from keel.store.outcomes import ASSIGNED, OUTCOMES
from tests.store_fixtures import EVER, FEATURES, MICROSECONDS, NOON, batch, labels

if TYPE_CHECKING:
    from keel.store import PredictionLog, Store

HOUR = timedelta(hours=1)


@pytest.fixture
def log(store: Store) -> PredictionLog:
    return store.predictions("flight_delay", FEATURES)


def in_experiment(ids: list[str] | range, entities: list[str | None], **columns: Any) -> pa.Table:
    size = len(entities)
    values = {
        "entity": pa.array(entities, pa.string()),
        "experiment": pa.array(["e"] * size),
        "arm": pa.array((["champion", "challenger"] * size)[:size]),
        "allocation": pa.array([0.5] * size),
        **columns,
    }
    return batch(ids, **values)


def test_what_an_experiment_adds_to_a_row_comes_back(log: PredictionLog) -> None:
    shadow = {
        "shadow_version": pa.array([7.0, math.nan]),
        "shadow_score": pa.array([0.75, None]),
        "shadow_prediction": pa.array([1.0, math.nan]),
    }
    assert log.append(in_experiment(range(2), ["a", "b"], arm=..., allocation=..., **shadow)).extra_columns == []
    log.add_labels(labels({"p0": 1.0, "p1": 0.0}))
    found = log.outcomes("e", *EVER, label_delay=HOUR)
    assert found.column_names == list(OUTCOMES)
    assert found.schema.field("shadow_version").type == found.schema.field("version").type == pa.int64()
    assert found.schema.field("observed_at").type == found.schema.field("time").type == MICROSECONDS
    assert found.to_pylist()[0] == {
        "id": "p0", "time": NOON, "version": 1, "arm": None, "allocation": None, "entity": "a", "score": 0.25,
        "prediction": 0.0, "label": 1.0, "observed_at": NOON, "shadow_version": 7, "shadow_score": 0.75,
        "shadow_prediction": 1.0,
    }  # fmt: skip
    assert [found[name][1].as_py() for name in shadow] == [None, None, None]
    assert log.assigned("e", *EVER).num_rows == 0, "nobody has an arm in shadow mode"


def test_a_shadow_version_that_is_no_number_is_refused_whole(log: PredictionLog) -> None:
    with pytest.raises(SchemaError, match="'shadow_version' must hold whole numbers"):
        log.append(in_experiment(range(2), ["a", "b"], shadow_version=pa.array(["7", "seven"])))
    assert log.count(*EVER) == 0


def test_an_entity_counts_once_by_its_first_row(log: PredictionLog) -> None:
    log.append(in_experiment(["x1", "y1", "x2", "none1", "none2"], ["x", "y", "x", None, None]))
    log.append(in_experiment(["x0"], ["x"], start=NOON - HOUR, arm=pa.array(["challenger"])))
    log.append(in_experiment(["z"], ["z"], experiment=pa.array(["other"])))
    log.append(batch(["outside"]))
    log.add_labels(labels({name: 1.0 for name in ("x1", "y1", "x2", "none2", "z", "outside")}))
    assigned = log.assigned("e", *EVER)
    assert assigned.column_names == list(ASSIGNED)
    assert assigned["entity"].to_pylist() == ["x", "y", "none1", "none2"]
    assert assigned["arm"].to_pylist() == ["challenger", "challenger", "challenger", "champion"]
    found = log.outcomes("e", *EVER, label_delay=HOUR)
    assert found["id"].to_pylist() == ["y1", "none2"], "x's first row has no label, so x has no outcome yet"
    assert log.outcomes("e", NOON, EVER[1], HOUR)["id"].to_pylist() == ["x1", "y1", "none2"]
    assert log.assigned("e", NOON - HOUR, NOON)["entity"].to_pylist() == ["x"]
    assert log.assigned("nothing", *EVER).num_rows == log.outcomes("nothing", *EVER, label_delay=HOUR).num_rows == 0


def test_rows_of_one_time_are_in_order_of_bytes_of_id(log: PredictionLog) -> None:
    log.append(in_experiment(["b", "B", "é", "a"], ["same", "same", "other", "other"], step=timedelta(0)))
    log.add_labels(labels({"B": 1.0, "a": 0.0, "b": 0.0, "é": 0.0}))
    assert log.outcomes("e", *EVER, label_delay=HOUR)["id"].to_pylist() == ["B", "a"]


def test_outcomes_come_as_their_labels_had_come_and_were_due(log: PredictionLog) -> None:
    log.append(in_experiment(range(4), ["a", "b", "c", "d"], step=HOUR))
    log.add_labels(labels({"p3": 1.0, "p2": 0.0}, observed_at=NOON))
    log.add_labels(labels({"p0": 1.0}, observed_at=NOON + 26.5 * HOUR))
    log.add_labels(labels({"p1": 0.0}, observed_at=NOON + 25 * HOUR))
    assert log.outcomes("e", *EVER, label_delay=24 * HOUR)["id"].to_pylist() == ["p1", "p2", "p0", "p3"]


def test_rows_of_before_say_nothing_of_experiments(log: PredictionLog) -> None:
    log.append(batch(range(3)))
    log.append(in_experiment(["e1"], ["a"]))
    assert log.assigned("e", *EVER)["entity"].to_pylist() == ["a"]
    assert log.append(in_experiment(["e1"], ["changed"])).duplicates == 1
    assert log.assigned("e", *EVER)["entity"].to_pylist() == ["a"]
