"""Labels: late, early, repeated and contradictory ones each have one outcome."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.errors import SchemaError
from keel.store import LabelResult, PredictionLog, Store
from keel.store.database.tables import label_conflicts
from keel.store.database.tables import labels as labels_table
from tests.support.store_fixtures import EVER, FEATURES, MICROSECONDS, NOON, batch, labels

LATER = NOON + timedelta(days=400)


@pytest.fixture
def log(store: Store) -> PredictionLog:
    return store.predictions("flight_delay", FEATURES)


def labelled(log: PredictionLog) -> dict[str, float]:
    table = log.labelled(*EVER)
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def test_late_label_joins_its_prediction(log: PredictionLog) -> None:
    log.append(batch(range(3)))
    assert log.label_rate(*EVER) == 0
    assert log.add_labels(labels({"p1": 1.0}, observed_at=LATER)) == LabelResult(1, 0, 0, 0)
    assert labelled(log) == {"p1": 1.0}
    assert log.label_rate(*EVER) == pytest.approx(1 / 3)
    assert log.label_counts(*EVER) == (3, 1)


def test_early_label_joins_when_its_prediction_is_stored(log: PredictionLog) -> None:
    assert log.add_labels(labels({"p0": 1.0})) == LabelResult(1, 0, 0, 1)
    assert labelled(log) == {}
    log.append(batch(range(1)))
    assert labelled(log) == {"p0": 1.0}


def test_same_label_again_is_a_duplicate(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(1)))
    log.add_labels(labels({"p0": 1.0}))
    assert log.add_labels(labels([("p0", 1.0), ("p0", 1.0)], observed_at=LATER)) == LabelResult(0, 2, 0, 0)
    with store.connect() as connection:
        assert connection.execute(sa.select(labels_table.c.observed_at)).scalar_one() == int(NOON.timestamp()) * 10**6


def test_contradicting_label_is_a_conflict(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(1)))
    log.add_labels(labels({"p0": 1.0}))
    for _ in range(2):
        assert log.add_labels(labels({"p0": 0.0})) == LabelResult(0, 0, 1, 0)
    assert labelled(log) == {"p0": 1.0}
    with store.connect() as connection:
        rows = connection.execute(sa.select(label_conflicts.c.id, label_conflicts.c.label)).all()
    assert rows == [("p0", 0.0)]


def test_first_label_of_a_batch_counts(log: PredictionLog) -> None:
    log.append(batch(range(1)))
    assert log.add_labels(labels([("p0", 1.0), ("p0", 0.0), ("p0", 1.0), ("p0", 0.0)])) == LabelResult(1, 1, 2, 0)
    assert labelled(log) == {"p0": 1.0}


def test_storing_the_same_batch_again_changes_nothing(store: Store, log: PredictionLog) -> None:
    mixed = labels([("p0", 1.0), ("p1", 0.0), ("p0", 0.0), ("orphan", 1.0)])
    log.append(batch(range(2)))
    assert log.add_labels(mixed) == LabelResult(3, 0, 1, 1)
    with store.connect() as connection:
        before = [connection.execute(sa.select(t)).all() for t in (labels_table, label_conflicts)]
    assert log.add_labels(mixed) == LabelResult(0, 3, 1, 0)
    with store.connect() as connection:
        assert [connection.execute(sa.select(t)).all() for t in (labels_table, label_conflicts)] == before


def test_labels_make_no_hour_dirty(log: PredictionLog) -> None:
    log.append(batch(range(1)))
    log.mark_counted(1, [(NOON, 1)])
    log.add_labels(labels({"p0": 1.0}))
    assert log.dirty_hours(EVER[1]) == []


def test_labels_of_two_models_are_separate(store: Store, log: PredictionLog) -> None:
    other = store.predictions("other", FEATURES)
    for each in (log, other):
        each.append(batch(range(1)))
    log.add_labels(labels({"p0": 1.0}))
    assert labelled(other) == {}
    assert other.add_labels(labels({"p0": 0.0})) == LabelResult(1, 0, 0, 0)
    assert labelled(log) == {"p0": 1.0}


def test_labelled_reads_features_on_request(log: PredictionLog) -> None:
    log.append(batch(range(3)))
    log.add_labels(labels({"p1": 1.0, "p2": 0.0}))
    outputs = ["id", "time", "version", "score", "prediction", "label"]
    everything = log.labelled(*EVER)
    assert everything.column_names == [*outputs, *FEATURES]
    assert log.labelled(*EVER, features=False) == everything.select(outputs)


def test_labelled_by_arrival_orders_by_maturity(log: PredictionLog) -> None:
    hour = timedelta(hours=1)
    log.append(batch(range(5), step=hour))  # labels are due a day later, so p0 at noon of the next day
    log.add_labels(labels({"p3": 1.0, "p2": 0.0}, observed_at=NOON))  # before they are due
    log.add_labels(labels({"p0": 1.0}, observed_at=NOON + 26.5 * hour))  # late: between p2 and p3
    log.add_labels(labels({"p1": 0.0}, observed_at=NOON + 25 * hour))
    found = log.labelled(*EVER, by_arrival=24 * hour)
    assert found["id"].to_pylist() == ["p1", "p2", "p0", "p3"]
    assert found.column_names[5:7] == ["label", "observed_at"]
    assert found["observed_at"].to_pylist()[2] == NOON + 26.5 * hour
    assert found.drop_columns(["observed_at"]).sort_by("time") == log.labelled(*EVER)


@pytest.mark.parametrize("seed", range(5))
def test_labelled_by_arrival_appends_rows_later(log: PredictionLog, seed: int) -> None:
    rng = random.Random(seed)
    hour, delay, rows = timedelta(hours=1), timedelta(hours=24), 40
    log.append(batch(range(rows), step=hour))
    observed = {f"p{i}": NOON + i * hour + rng.choice([0, 1, 24, 24, 30, 60]) * hour for i in range(rows)}
    looks: list[list[str]] = [[]]
    for hours in range(0, rows + 70, 7):
        now = NOON + hours * hour
        for name, at in observed.items():
            if now - 7 * hour < at <= now:
                log.add_labels(labels({name: 1.0}, observed_at=at))
        looks.append(log.labelled(EVER[0], now - delay, by_arrival=delay)["id"].to_pylist())
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(looks))
    assert len(looks[-1]) == rows


@pytest.mark.parametrize("table", [pa.table({}), labels({})], ids=["no columns", "no rows"])
def test_store_empty_labels_stores_nothing(log: PredictionLog, table: pa.Table) -> None:
    assert log.add_labels(table) == LabelResult(0, 0, 0, 0)


def test_labels_may_be_booleans_or_text(log: PredictionLog) -> None:
    times = pa.array([NOON, NOON], MICROSECONDS)
    log.append(batch(range(4)))
    log.add_labels(pa.table({"id": ["p0", "p1"], "label": [True, False], "observed_at": times}))
    log.add_labels(pa.table({"id": ["p2", "p3"], "label": ["1", "2.5"], "observed_at": times}))
    assert labelled(log) == {"p0": 1.0, "p1": 0.0, "p2": 1.0, "p3": 2.5}


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("id", pa.array(["a", None]), "'id' has 1 null"),
        ("label", pa.array([1.0, None]), "'label' has 1 null"),
        ("label", pa.array([1.0, math.nan]), "'label' has 1 null"),
        ("label", pa.array([1.0, math.inf]), "'label' has inf in row 1"),
        ("label", pa.array(["1", "late"]), "'label' has 'late' in row 1"),
        ("observed_at", pa.array([NOON, NOON], pa.timestamp("us")), "'observed_at' has no time zone"),
        ("observed_at", pa.array([NOON, None], MICROSECONDS), "'observed_at' has 1 null"),
        ("observed_at", None, "0 columns named 'observed_at'"),
        ("label", None, "0 columns named 'label'"),
    ],
)
def test_store_unusable_labels_raises_and_stores_nothing(
    log: PredictionLog, column: str, values: Any, says: str
) -> None:
    table = labels({"a": 1.0, "b": 0.0}).drop_columns([column])
    with pytest.raises(SchemaError, match=says):
        log.add_labels(table if values is None else table.append_column(column, values))
    log.append(batch(["a", "b"]))
    assert labelled(log) == {}


def test_labelled_is_one_typed_table_with_null_for_invalid_and_absent(log: PredictionLog) -> None:
    log.append(batch(["invalid"], temp=pa.array(["hot"])))
    log.append(batch(["absent"], temp=..., carrier=...))
    log.append(batch(["history"], version=..., score=..., prediction=...))
    log.add_labels(labels({"invalid": 1.0, "absent": 0.0, "history": 1.0}))
    table = log.labelled(*EVER)
    assert table.column_names == ["id", "time", "version", "score", "prediction", "label", "temp", "carrier"]
    assert table.schema.field("temp").type == pa.float64()
    rows = {row["id"]: (row["temp"], row["carrier"]) for row in table.to_pylist()}
    assert rows == {"invalid": (None, "AA"), "absent": (None, None), "history": (0.0, "AA")}
    assert log.labelled(*EVER, version=1).num_rows == 2
    assert log.labelled(NOON, NOON).num_rows == 0


def test_labelled_excludes_quarantined_rows(store: Store, log: PredictionLog) -> None:
    hour = timedelta(hours=1)
    log.append(batch(range(4), step=hour))
    log.add_labels(labels({f"p{i}": 1.0 for i in range(4)}))
    store.quarantine("flight_delay", NOON + hour, NOON + 2 * hour, "schema broke", NOON)
    store.quarantine("flight_delay", NOON + hour, NOON + 3 * hour, "overlaps", NOON)
    store.quarantine("other", NOON, NOON + 4 * hour, "not ours", NOON)
    assert set(labelled(log)) == {"p0", "p3"}
    assert log.labelled(*EVER, exclude_quarantined=False).num_rows == 4
    assert log.labelled(*EVER, decided_before=NOON + 2 * hour).num_rows == 4
    assert set(log.labelled(*EVER, decided_before=NOON + 3 * hour)["id"].to_pylist()) == {"p0", "p2", "p3"}
    assert store.release_quarantine("flight_delay", NOON + 2 * hour, NOON + 3 * hour)
    assert set(labelled(log)) == {"p0", "p2", "p3"}


def test_expire_deletes_the_labels_of_rows(store: Store, log: PredictionLog) -> None:
    log.append(batch(["old"], version=...))
    log.add_labels(labels({"old": 1.0}, observed_at=LATER))
    log.add_labels(labels({"orphan": 0.0}, observed_at=NOON + timedelta(hours=2)))
    assert log.expire(NOON + timedelta(hours=1)) == 1
    assert log.delete_unmatched_labels(NOON + timedelta(hours=1)) == 0
    with store.connect() as connection:
        assert connection.execute(sa.select(labels_table.c.id)).scalars().all() == ["orphan"], "may come yet"


@pytest.mark.parametrize(
    ("target", "label", "wanted"),
    [("binary", 2.0, "0 or 1"), ("binary", 0.5, "0 or 1"), ("regression", math.inf, "a finite number"),
     (None, -math.inf, "a finite number")],
)  # fmt: skip
def test_label_that_the_target_cannot_have_is_refused_with_its_row(
    store: Store, target: Any, label: float, wanted: str
) -> None:
    log = store.predictions("flight_delay", FEATURES, target=target)
    with pytest.raises(SchemaError, match=f"'label' has {label:g} in row 1 .*must be {wanted}.*nothing was stored"):
        log.add_labels(labels({"p0": 1.0, "p1": label}))
    assert log.add_labels(labels({"p0": 1.0})) == LabelResult(1, 0, 0, 1)


@pytest.mark.parametrize("known_from", ["the new table", "earlier labels"])
def test_log_without_a_target_takes_the_labels_of_the_one_that_the_store_knows(store: Store, known_from: str) -> None:
    if known_from == "earlier labels":
        store.predictions("flight_delay", FEATURES)  # as a store of an earlier release, which kept no targets
        store.predictions("flight_delay", FEATURES, target="binary").add_labels(labels({"p0": 1.0}))
    else:
        store.predictions("flight_delay", FEATURES, target="binary")
    log = store.predictions("flight_delay", FEATURES)
    with pytest.raises(SchemaError, match="'label' has 2 in row 0 .*must be 0 or 1"):
        log.add_labels(labels({"p1": 2.0}))
    assert log.add_labels(labels({"p1": 1.0})).stored == 1
    changed = store.predictions("flight_delay", FEATURES, target="regression")
    assert changed.add_labels(labels({"p2": 2.0})).stored == 1
    assert log.add_labels(labels({"p3": 2.0})).stored == 1


def test_label_hours_sum_the_labels_of_each_hour(log: PredictionLog) -> None:
    log.append(batch(range(6), step=timedelta(minutes=25)))
    times = {
        name: at
        for table in log.read(*EVER)
        for name, at in zip(*table.select(["id", "time"]).to_pydict().values(), strict=True)
    }
    values = {"p0": 1.0, "p1": 0.0, "p3": 1.0}
    late = max(times.values()) + timedelta(hours=30)
    log.add_labels(labels(values, observed_at=late))
    found = log.label_hours(*EVER, delay=timedelta(hours=24), centre=0.25)
    assert found.rows.sum() == 6
    assert found.labelled.sum() == found.late.sum() == 3
    assert found.total.sum() == pytest.approx(2 - 3 * 0.25)
    assert found.squares.sum() == pytest.approx(2 * 0.75**2 + 0.25**2)
    known = found.take(found.labelled > 0)
    assert (min(known.lowest), max(known.highest)) == (0.0, 1.0)
    assert found.delay.sum() == pytest.approx(sum((late - times[name]).total_seconds() for name in values))
    hours = {at.replace(minute=0, second=0, microsecond=0, tzinfo=None) for at in times.values()}
    assert set(found.hour.astype("datetime64[us]").tolist()) == hours
    assert len(log.label_hours(NOON - timedelta(days=9), NOON - timedelta(days=8), delay=timedelta(0))) == 0
    assert log.label_hours(*EVER, delay=timedelta(hours=900), history=False).late.sum() == 0
