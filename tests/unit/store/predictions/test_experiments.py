"""Rows of experiments: stored with whom they are about, read one an entity, in the order in which labels came."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.errors import SchemaError
from keel.store.predictions.experiment_rows import ALWAYS, OUTPUTS
from tests.support.store_fixtures import EVER, FEATURES, NOON, batch, labels

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


def first_rows(log: PredictionLog, experiment: str = "e", *between: datetime) -> tuple[list[Any], list[Any]]:
    """Return the labels of first rows, and of first rows with an arm."""
    first, assigned = log.experiment_rows(experiment, *(between or EVER), ())
    return first["label"].to_pylist(), assigned["label"].to_pylist()


def test_experiment_columns_are_read_back(log: PredictionLog) -> None:
    shadow = {
        "shadow_version": pa.array([7.0, math.nan]),
        "shadow_score": pa.array([0.75, None]),
        "shadow_prediction": pa.array([1.0, math.nan]),
    }
    assert log.append(in_experiment(range(2), ["a", "b"], arm=..., allocation=..., **shadow)).extra_columns == []
    log.add_labels(labels({"p0": 1.0}))
    found, assigned = log.experiment_rows("e", *EVER, tuple(OUTPUTS))
    assert found.schema == pa.schema([*ALWAYS.items(), *OUTPUTS.items()])
    assert found.drop_columns(["entity"]).to_pylist() == [
        {
            "time": NOON, "arm": None, "allocation": None, "version": 1, "label": 1.0, "observed_at": NOON,
            "score": 0.25, "prediction": 0.0, "shadow_version": 7, "shadow_score": 0.75, "shadow_prediction": 1.0,
        },
        {
            "time": NOON + timedelta(seconds=1), "arm": None, "allocation": None, "version": 1, "label": None,
            "observed_at": None, "score": 0.25, "prediction": 0.0, "shadow_version": None, "shadow_score": None,
            "shadow_prediction": None,
        },
    ]  # fmt: skip
    assert assigned.num_rows == 0, "nobody has an arm in shadow mode"
    assert log.experiment_rows("e", *EVER, ("score",))[0].column_names == [*ALWAYS, "score"]


@pytest.mark.parametrize(
    ("entities", "kept", "invalid"),
    [
        (["True", "", "1e+16", "17.0", None], ["True", None, None, "17", None], {1: "", 2: "1e+16"}),
        ([17.0, 0.5, 2.0**54, 4.0, math.nan], ["17", None, None, "4", None], {1: "0.5", 2: "1.8014398509481984e+16"}),
        ([True, False, None, None, None], [None] * 5, {0: "True", 1: "False"}),
    ],
    ids=["texts", "floats", "truths"],
)
def test_append_value_that_is_no_entity_is_kept_beside_its_row_alone(
    store: Store, log: PredictionLog, entities: list[Any], kept: list[Any], invalid: dict[int, str]
) -> None:
    result = log.append(in_experiment(range(5), [None] * 5, entity=pa.array(entities)))
    assert (result.stored, result.invalid) == (5, {"entity": len(invalid)})
    with store.connect() as connection:
        columns = (log.table.c.entity, log.table.c.invalid)
        rows = connection.execute(sa.select(*columns).order_by(log.table.c.id)).all()
    assert [row.entity for row in rows] == kept
    assert {i: json.loads(row.invalid)["entity"] for i, row in enumerate(rows) if row.invalid} == invalid
    assert sum(part.num_rows for part in log.read(*EVER)) == log.experiment_rows("e", *EVER, ())[0].num_rows == 5


def test_append_shadow_version_that_is_no_number_raises(log: PredictionLog) -> None:
    with pytest.raises(SchemaError, match="'shadow_version' must hold whole numbers"):
        log.append(in_experiment(range(2), ["a", "b"], shadow_version=pa.array(["7", "seven"])))
    assert log.count(*EVER) == 0


def test_entity_counts_once_with_its_first_row(log: PredictionLog) -> None:
    log.append(in_experiment(["x1", "y1", "x2", "none1", "none2"], ["x", "y", "x", None, None]))
    log.append(in_experiment(["x0"], ["x"], start=NOON - HOUR, arm=pa.array(["challenger"])))
    log.append(in_experiment(["z"], ["z"], experiment=pa.array(["other"])))
    log.append(batch(["outside"]))
    log.add_labels(labels({"x1": 1.0, "y1": 2.0, "x2": 3.0, "none2": 4.0, "z": 5.0, "outside": 6.0}))
    found, assigned = log.experiment_rows("e", *EVER, ())
    assert found is assigned
    assert found["label"].to_pylist() == [None, 2.0, None, 4.0], "x's first row has no label, so x has no outcome yet"
    assert found["arm"].to_pylist() == ["challenger", "challenger", "challenger", "champion"]
    assert first_rows(log, "e", NOON, EVER[1])[0] == [1.0, 2.0, None, 4.0]
    assert first_rows(log, "e", NOON - HOUR, NOON) == ([None], [None])
    assert first_rows(log, "nothing") == ([], [])


def test_entity_arm_is_that_of_its_first_row_with_an_arm(log: PredictionLog) -> None:
    arms = pa.array([None, "champion", "challenger", None])
    log.append(in_experiment(range(4), ["x", "x", "x", "y"], arm=arms))
    log.add_labels(labels({f"p{i}": float(i) for i in range(4)}))
    assert first_rows(log) == ([0.0, 3.0], [1.0])


def test_rows_of_one_time_are_in_order_of_bytes_of_id(log: PredictionLog) -> None:
    log.append(in_experiment(["b", "B", "é", "a"], ["same", "same", "other", "other"], step=timedelta(0)))
    log.add_labels(labels({"B": 1.0, "a": 0.0, "b": 2.0, "é": 3.0}))
    assert first_rows(log)[0] == [1.0, 0.0]


def test_rows_without_experiment_are_not_returned(log: PredictionLog) -> None:
    log.append(batch(range(3)))
    log.append(in_experiment(["e1"], ["a"]))
    log.add_labels(labels({"e1": 1.0}))
    assert first_rows(log)[1] == [1.0]
    assert log.append(in_experiment(["e1"], ["changed"])).duplicates == 1
    assert first_rows(log)[1] == [1.0]
