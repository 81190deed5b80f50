"""Questions are answered by the right index. SQLite has no statistics: rows of an hour need not read every label."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.store import Store
from keel.store.database.connections import Database
from keel.store.database.tables import counts, hours
from keel.store.database.tables import labels as labels_table
from keel.store.database.times import HOUR, to_micros
from keel.store.predictions.arrow_session import ArrowSession, reading
from keel.store.predictions.layout import find_layout
from keel.store.predictions.log import window
from tests.support.store_fixtures import EVER, FEATURES, NOON, batch, labels


@pytest.mark.parametrize("version", [None, 1])
def test_labelled_rows_are_searched_by_time_first(tmp_path: Path, version: int | None) -> None:
    with Store.open(f"sqlite:///{tmp_path}/keel.db") as store:
        log = store.predictions("m", FEATURES)
        log.append(batch(range(1000), step=timedelta(minutes=1)))
        log.add_labels(labels({f"p{i}": 1.0 for i in range(1000)}))
        with store.connect() as connection:
            layout = find_layout(connection, "m", FEATURES)
        assert layout is not None
        rows = layout.table
        same = sa.and_(labels_table.c.model == "m", labels_table.c.id == rows.c.id)
        span = window(rows, to_micros(NOON), to_micros(NOON + timedelta(hours=1)), version)
        query = sa.select(rows.c.id, labels_table.c.label).join_from(rows, labels_table, same).where(span)
        with closing(Database(store.engine.url, 5)) as database, reading(database) as session:
            plan = session.fetch(sa.text(f"EXPLAIN QUERY PLAN {session.sql(query)}"))["detail"].to_pylist()
            assert session.fetch(query).num_rows == 60
    assert "(time>? AND time<?)" in plan[0]
    assert "(model=? AND id=?)" in plan[1]


@pytest.mark.parametrize("analysed", [False, True])
def test_pages_of_arrivals_are_read_along_the_numbers(
    store: Store, analysed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = store.predictions("m", FEATURES)
    for start, version in ((0, 2), (4_000, 1), (4_100, 2)):
        ids = range(start, start + (100 if version == 1 else 4_000))
        log.append(batch(ids, version=pa.array([version] * len(ids))))
        log.add_labels(labels({f"p{i}": 1.0 for i in ids}))
    if analysed:
        store.compact()
    asked: list[str] = []
    fetch = ArrowSession.fetch

    def note(session: ArrowSession, statement: Any) -> Any:
        asked.append(session.sql(statement))
        return fetch(session, statement)

    monkeypatch.setattr(ArrowSession, "fetch", note)
    last = log.last_arrival()
    assert log.arrived(1, after=0, limit=50).num_rows == 50
    assert log.settled(1, after=0, mature=EVER[1], labels_until=last, limit=50)[1].num_rows == 50
    assert log.late_labels(1, predictions_until=last, after=8_100, limit=50)[1].num_rows == 50
    explain = "EXPLAIN (COSTS OFF)" if store.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with store.connect() as connection:
        found = [connection.exec_driver_sql(f"{explain} {one}").all() for one in asked]
    plans = ["\n".join(str(line[-1]) for line in plan) for plan in found]
    of_rows, of_first, of_waiting, of_pairs, of_labels = plans
    assert "keel_arrival_" in of_rows
    for plan in (of_first, of_waiting, of_pairs):
        assert "keel_arrival_" in plan
    assert "labels_by_arrival" in of_labels
    for plan in plans:
        # a page that is a large part of a small table is joined by its hash, which needs no index of labels
        assert "Seq Scan on predictions" not in plan
        assert "SCAN predictions" not in plan
        assert "SCAN labels" not in plan
        assert "TEMP B-TREE" not in plan


def test_hourly_rows_takes_linear_time(tmp_path: Path) -> None:
    start, seconds = to_micros(NOON), {}
    with Store.open(f"sqlite:///{tmp_path}/keel.db") as store:
        log = store.predictions("m", FEATURES)
        for known in (1_000, 4_000):
            keys = [{"model": "m", "version": 1, "hour": start + i * HOUR, "revision": 1} for i in range(known)]
            with store.begin() as connection:
                for table, rest in ((hours, {"counted": 1}), (counts, {"grid_id": "g", "n": 7, "payload": b"-" * 500})):
                    connection.execute(sa.delete(table))
                    connection.execute(sa.insert(table), [{**key, **rest} for key in keys])
            took = []
            for _ in range(3):
                before = time.process_time()
                assert len(log.hourly_rows(NOON, NOON + timedelta(days=400))) == known
                took.append(time.process_time() - before)
            seconds[known] = min(took)
    assert seconds[4_000] < 9 * seconds[1_000], "to look at all hours for each takes 16 times as long"


def test_decisions_are_found_by_the_end_of_their_window(store: Store) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    with store.begin() as connection:
        if connection.dialect.name == "postgresql":
            row = "'m', 'retrain', '', '{}', 0"
            connection.exec_driver_sql(
                "INSERT INTO decisions (decision_id, window_end, model, action, sentence, body, created_at) "
                f"SELECT n::text, n, {row} FROM generate_series(1, 5000) AS n"
            )
            connection.exec_driver_sql("ANALYZE decisions")
    sa.event.listen(store.engine, "before_cursor_execute", note)
    store.decisions.last_window_end("m", "retrain", until=NOON, without={"d"})
    store.decisions.notified("m", 1, "retrain", after=NOON, until=NOON)
    sa.event.remove(store.engine, "before_cursor_execute", note)
    asked = [each for each in statements if "FROM decisions" in each[0]]
    assert len(asked) == 2
    explain = "EXPLAIN" if store.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with store.connect() as connection:
        for statement, parameters in asked:
            plan = "\n".join(map(str, connection.exec_driver_sql(f"{explain} {statement}", parameters)))
            assert "decisions_by_window" in plan, plan
