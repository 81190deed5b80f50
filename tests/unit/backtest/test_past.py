"""The past of a backtest: from a model's own store or its pipeline, by time, and labels by when they were observed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.backtest.past import Past, record_past
from keel.errors import ConfigError
from tests.support.backtest.late_labels import log_late_labels
from tests.support.backtest.plans import past_config, plan_of
from tests.support.pipelines import past as pipeline
from tests.support.toy import DAY, START, toy_rows


@pytest.fixture
def own_store(store, store_url):
    """The URL of a store with late labels, and a day of odd rows without one."""
    log_late_labels(store)
    odd = toy_rows(START + 40 * DAY, days=1, per_hour=1, seed=5).drop_columns(["label", "z"])
    log = store.predictions("toy", dict(past_config().features))
    log.append(odd.set_column(odd.schema.get_field_index("x"), "x", pa.array(["far"] * odd.num_rows)))
    return store_url


def test_record_past_of_a_pipeline_gives_rows_by_time_and_labels_after_their_delay(tmp_path):
    plan = plan_of()
    source, *_ = record_past(plan, tmp_path / "past", source="auto", store_url=None)
    past = Past.open(tmp_path / "past")
    assert source == "pipeline"
    [rows] = past.rows(plan.start, plan.start + DAY)
    assert rows.column_names == ["id", "time", "x", "z", "colour"]
    assert rows.num_rows == 24 * pipeline.PER_HOUR
    labels = past.observed(plan.start + DAY, plan.start + 2 * DAY)
    assert labels["id"].to_pylist() == rows["id"].to_pylist()
    assert past.rows(None, plan.history_start) == []


def test_record_past_prefers_the_store_and_keeps_odd_shapes_and_the_times_of_labels(tmp_path, own_store):
    plan = plan_of()
    source, *_ = record_past(plan, tmp_path / "past", source="auto", store_url=own_store)
    past = Past.open(tmp_path / "past")
    assert source == "store"
    shapes = past.rows(plan.start, plan.end)
    assert [table.column_names for table in shapes] == [
        ["id", "time", "x", "z", "colour"],
        ["id", "time", "x", "colour"],
    ]
    assert shapes[1]["x"].to_pylist() == ["far"] * 24
    observed = past.observed(plan.start, plan.start + DAY)
    assert observed.num_rows == 24
    assert min(observed["observed_at"].to_pylist()) == plan.start
    assert np.isnan(past.labels_of(shapes[1]["id"])).all()
    assert np.isfinite(past.labels_of(shapes[0]["id"])).all()  # those observed after the span too


def test_record_past_of_a_store_of_an_earlier_release_leaves_out_labels_that_the_target_cannot_have(
    tmp_path, store, store_url
):
    config = past_config()
    log = store.predictions(config.model, dict(config.features))  # which did not know the kind of the target
    rows = toy_rows(days=60, per_hour=1)
    log.append(rows.drop_columns(["label"]))
    wrong = pa.array([*rows["label"].to_pylist()[:-2], 2.0, 0.5])
    log.add_labels(rows.select(["id"]).append_column("label", wrong).append_column("observed_at", rows["time"]))
    recorded = record_past(plan_of(config=config), tmp_path / "past", source="store", store_url=store_url)
    assert recorded.impossible_labels == 2
    known = Past.open(tmp_path / "past").observed(None, plan_of().end)["label"]
    assert set(known.to_pylist()) == {0.0, 1.0}


def test_record_past_leaves_the_store_as_it_is(tmp_path, own_store, store):
    def content():
        tables = sa.inspect(store.engine).get_table_names()
        with store.connect() as connection:
            return {name: sorted(map(str, connection.execute(sa.text(f"SELECT * FROM {name}")))) for name in tables}

    config = past_config(features={"x": "numeric", "z": "numeric", "colour": "categorical", "new": "numeric"})
    before = content()
    assert len(before["labels"]) == 60 * 24
    record_past(plan_of(config=config), tmp_path / "past", source="store", store_url=own_store)
    assert content() == before


def test_record_past_creates_no_store_where_there_is_none(tmp_path):
    nowhere = tmp_path / "no" / "keel.db"
    record_past(plan_of(), tmp_path / "past", source="auto", store_url=f"sqlite:///{nowhere}")
    assert not nowhere.parent.exists()


def test_record_past_of_another_past_has_another_digest_and_of_the_same_the_same(tmp_path, monkeypatch):
    first = record_past(plan_of(), tmp_path / "a", source="auto", store_url=None)
    assert record_past(plan_of(), tmp_path / "b", source="auto", store_url=None) == first
    monkeypatch.setattr(pipeline, "labelled_history", lambda config: toy_rows(days=60, per_hour=5, seed=9))
    assert record_past(plan_of(), tmp_path / "c", source="auto", store_url=None) != first


def test_record_past_takes_the_first_row_of_an_id(tmp_path, monkeypatch):
    twice = pa.concat_tables([toy_rows(days=60, per_hour=1), toy_rows(days=60, per_hour=1)])
    monkeypatch.setattr(pipeline, "labelled_history", lambda config: twice)
    plan = plan_of()
    record_past(plan, tmp_path / "past", source="pipeline", store_url=None)
    [rows] = Past.open(tmp_path / "past").rows(plan.start, plan.end)
    assert rows.num_rows == 24 * 25


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (toy_rows(days=10, per_hour=1), "no rows from 2026-02-05 to 2026-03-02"),
        (
            toy_rows(days=60, per_hour=1).set_column(2, "label", pa.nulls(60 * 24, pa.float64())),
            "no labels from 2026-02-05 to 2026-03-02",
        ),
    ],
)
def test_record_past_without_rows_or_labels_in_the_span_says_so(history, message, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "labelled_history", lambda config: history)
    with pytest.raises(ConfigError, match=message):
        record_past(plan_of(), tmp_path / "past", source="auto", store_url=None)


def test_record_past_from_the_store_only_is_refused_where_it_has_none(tmp_path):
    with pytest.raises(ConfigError, match="the store has no predictions of this model"):
        record_past(plan_of(), tmp_path / "past", source="store", store_url=f"sqlite:///{tmp_path / 'keel.db'}")
