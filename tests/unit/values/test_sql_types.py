"""Labels from a table are read alike whatever SQL types the columns have, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from keel.errors import BadRequest, ConfigError
from keel.feedback import prediction_id
from keel.feedback.parse_columns import ReadOptions, parse_labels
from keel.sources.sql import open_table
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.store import Store

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CONFIG = toy_config()
REGRESSION = toy_config(target={"name": "bought", "kind": "regression"}, performance={"metric": "mae"})
ENTITIES = ["17", "CAST(17 AS bigint)", "CAST(17 AS numeric(10, 2))", "CAST(17 AS double precision)", "'17'", "'17.0'"]
LABELS = ["1", "1.0", "CAST(1 AS numeric(5, 2))", "CAST(1 AS real)", "'1'", "'True'", "true", "CAST('1' AS varchar(5))"]


def submitted(store: Store, columns: dict[str, str], config: object = CONFIG) -> pa.Table:
    """Read labels from a table with these SQL expressions as its columns."""
    with store.begin() as database:
        database.exec_driver_sql("DROP TABLE IF EXISTS outside")
        query = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
        database.exec_driver_sql(f"CREATE TABLE outside AS SELECT {query}")
    with open_table(store, "outside") as source:
        read = pa.concat_tables(source.read(source.columns))
    return parse_labels(read, ReadOptions(config, NOW), 1)  # type: ignore[arg-type]


def test_entity_is_one_identity_in_every_type(store: Store) -> None:
    for entity in ENTITIES:
        found = submitted(store, {"entity": entity, "time": "CAST('2026-05-01T12:00:00Z' AS text)", "label": "1"})
        assert found["id"].to_pylist() == [prediction_id("toy", "17", NOW)], entity


def test_label_is_one_number_in_every_type(store: Store) -> None:
    for label in LABELS:
        assert submitted(store, {"id": "'a'", "label": label})["label"].to_pylist() == [1.0], label


def test_label_that_is_none_is_refused_in_every_type(store: Store) -> None:
    wrong = (
        ["CAST('NaN' AS numeric)", "CAST('NaN' AS double precision)"]
        if store.engine.dialect.name == "postgresql"
        else []
    )
    for label, config in product([*wrong, "NULL", "'NA'", "'1_0'", "''"], (CONFIG, REGRESSION)):
        with pytest.raises((BadRequest, ConfigError), match="label"):
            submitted(store, {"id": "'a'", "label": label}, config)
