"""A store of an earlier Keel, with what is in it, becomes one of this Keel."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from pandas.util import hash_array
from sqlalchemy.sql.elements import quoted_name

from keel.errors import ConfigError
from keel.store import Store
from keel.store.database import migrations
from keel.store.database.connections import Database, parse_url
from keel.store.predictions.layout import EXPERIMENT
from tests.support.store_fixtures import EVER, NOON, batch, labels

HOUR = timedelta(hours=1)
MODEL = 'odd "model": 100%'
FEATURES = {"temp": "numeric", "entity": "categorical", "Shadow_Score": "numeric", "Keel_Arrival": "numeric"}
FIRST, LAST = 1, 4
"""Hours of the rows, one each; the first is of those that have expired since."""


@pytest.fixture
def at_0002(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store as Keel wrote it before predictions had entities: features could be called so."""
    with monkeypatch.context() as earlier:
        earlier.setattr(migrations, "HEAD", "0002")
        database = Database(parse_url(store_url), 20)
        database.prepare_file()
        migrations.migrate(database.engine)
    with database.begin() as connection:
        rows = old_table(connection)
        connection.execute(sa.insert(rows), [old_row(number) for number in range(FIRST, LAST + 1)])
        connection.execute(sa.insert(rows).values({**old_row(9), "version": None}))
        for number in (1, 2, 3, 9):
            label = {"model": MODEL, "id": f"p{number}", "label": 1.0, "observed_at": 0}
            connection.execute(table("labels", *label).insert().values(label))
    database.close()
    return store_url


def table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(quoted_name(name, True), *(sa.column(quoted_name(column, True)) for column in columns))


def old_table(connection: sa.Connection) -> sa.Table:
    name = f"predictions_{MODEL}"
    texts = {"id", "arm", "absent", "invalid", "entity"}
    whole = {"time", "version"}
    names = ["id", "time", "version", "score", "prediction", "arm", "allocation", "absent", "invalid", *FEATURES]
    kinds = [sa.Text if n in texts else sa.BigInteger if n in whole else sa.Double for n in names]
    columns = [sa.Column(quoted_name(n, True), kind) for n, kind in zip(names, kinds, strict=True)]
    made = sa.Table(quoted_name(name, True), sa.MetaData(), *columns, sa.PrimaryKeyConstraint("id"))
    made.create(connection)
    entry: dict[str, Any] = {"model": MODEL, "table_name": name, "expired_before": micros(NOON + 2 * HOUR)}
    connection.execute(table("model_tables", *entry).insert().values(entry))
    for feature, kind in FEATURES.items():
        entry = {"model": MODEL, "feature": feature, "column_name": feature, "kind": kind}
        connection.execute(table("model_columns", *entry).insert().values(entry))
    return made


def old_row(number: int) -> dict[str, Any]:
    return {
        "id": f"p{number}", "time": micros(NOON + number * HOUR), "version": 1, "score": 0.5, "prediction": 1.0,
        "temp": float(number), "entity": f"kind {number}", "Shadow_Score": -float(number),
        "Keel_Arrival": 10.0 * number,
    }  # fmt: skip


def micros(moment: Any) -> int:
    return int(moment.timestamp()) * 1_000_000


def test_migration_keeps_values_and_adds_nulls(at_0002: str) -> None:
    with Store.open(at_0002, timeout=20) as store:
        log = store.predictions(MODEL, {"temp": "numeric", "Shadow_Score": "numeric"})
        [rows] = log.read(*EVER)
        assert rows["temp"].to_pylist() == [1.0, 2.0, 3.0, 4.0, 9.0]
        assert rows["Shadow_Score"].to_pylist() == [-1.0, -2.0, -3.0, -4.0, -9.0]
        new = {name: pa.array(["x"] if kind == "categorical" else [3]) for name, kind in EXPERIMENT.items()}
        log.append(batch(["new"], start=NOON + 5 * HOUR, carrier=..., Shadow_Score=pa.array([8.0]), **new))
        log.add_labels(labels({"new": 1.0}))
        [found] = log.experiment_rows("x", *EVER, ("shadow_version", "shadow_score"))[0].to_pylist()
        of_x = hash_array(np.array(["x"], dtype=object), categorize=False)[0]
        assert (found["entity"], found["shadow_version"], found["shadow_score"]) == (of_x, 3, 3.0)
        assert log.read(*EVER)[-1]["Shadow_Score"].to_pylist()[-2:] == [8.0, -9.0]
        assert log.experiment_rows("x", NOON, NOON + 5 * HOUR, ())[1].num_rows == 0


def test_feature_with_a_newly_reserved_name_must_be_renamed_and_keeps_values(at_0002: str) -> None:
    with Store.open(at_0002, timeout=20) as store:
        with pytest.raises(ConfigError, match="'entity'.*rename it"):
            store.predictions(MODEL, FEATURES)
        store.rename_feature(MODEL, "entity", "what")
        log = store.predictions(MODEL, {"what": "categorical"})
        assert log.read(*EVER)[0]["what"].to_pylist() == [f"kind {i}" for i in (1, 2, 3, 4, 9)]


def test_migration_marks_labelled_hours_that_have_not_expired(at_0002: str) -> None:
    with Store.open(at_0002, timeout=20) as store:
        assert store.performance.stale(MODEL) == [(1, NOON + 2 * HOUR, 1), (1, NOON + 3 * HOUR, 1)]


def test_migration_numbers_what_arrives_from_then_on(at_0002: str) -> None:
    with Store.open(at_0002, timeout=20) as store:
        log = store.predictions(MODEL, {"Keel_Arrival": "numeric"})
        assert log.read(*EVER)[0]["Keel_Arrival"].to_pylist() == [10.0, 20.0, 30.0, 40.0, 90.0]
        assert (log.last_arrival(), log.arrived(1, after=0, limit=9).num_rows) == (0, 0)
        assert log.settled(1, after=0, mature=EVER[1], labels_until=9, limit=9)[1].num_rows == 0
        log.append(batch(["new"], temp=..., carrier=..., Keel_Arrival=pa.array([7.0])))
        log.add_labels(labels({"new": 1.0, "p4": 0.0}))
        [row] = log.arrived(1, after=0, limit=9).select(["keel_arrival", "id", "Keel_Arrival"]).to_pylist()
        assert row == {"keel_arrival": 1, "id": "new", "Keel_Arrival": 7.0}
        _, pairs = log.late_labels(1, predictions_until=1, after=0, limit=9)
        assert pairs["id"].to_pylist() == ["new"]
        assert not [fault for fault in store.verify() if "arrival number" in fault]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("nothing", "what", "no feature 'nothing'; it has Keel_Arrival, Shadow_Score, entity, temp"),
        ("entity", "temp", "'temp' is stored already"),
        ("temp", "label", "cannot be called 'label'"),
    ],
)
def test_rename_feature_missing_or_taken_raises(at_0002: str, old: str, new: str, says: str) -> None:
    with Store.open(at_0002, timeout=20) as store, pytest.raises(ConfigError, match=says):
        store.rename_feature(MODEL, old, new)
