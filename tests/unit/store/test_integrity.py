"""Retention, compaction and verification of a store."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel.alerts.delivery import send_due
from keel.alerts.door import observe_in
from keel.alerts.records import Answer
from keel.config import Kind, Severity
from keel.store import Store, integrity
from keel.store.database import adbc
from keel.store.database.alert_tables import alerts, deliveries, delivery_tries, messages
from keel.store.database.connections import Database
from keel.store.database.tables import counts, hours, label_conflicts, label_sums
from keel.store.database.tables import labels as labels_table
from keel.store.predictions import retention
from tests.support.alerts.observations import MONDAY, alerting, finding, seen, told_plainly
from tests.support.alerts.story import Receiver
from tests.support.store_fixtures import EVER, FEATURES, NOON, batch, labels

if TYPE_CHECKING:
    from keel.store import PredictionLog

HOUR = timedelta(hours=1)
MODEL = "flight_delay"


@pytest.fixture
def log(store: Store) -> PredictionLog:
    return store.predictions(MODEL, FEATURES)


def settle(store: Store, log: PredictionLog) -> None:
    """Count and sum every hour as of now, as the loop and `keel.monitoring.performance_history` do."""
    for version, hour, revision in log.dirty_hours(EVER[1]):
        store.counts.put(MODEL, version, hour, "grid", log.count(hour, hour + HOUR, version), b"", revision=revision)
        log.mark_counted(version, [(hour, revision)])
    for version, hour, revision in store.performance.stale(MODEL):
        n = log.labelled(hour, hour + HOUR, version=version, exclude_quarantined=False).num_rows
        store.performance.put_hours(MODEL, version, [(hour, n, f"sums of {n}", revision)])


def ids(log: PredictionLog) -> list[str]:
    return sorted(name for table in log.read(*EVER) for name in table["id"].to_pylist())


def stored(store: Store, table: sa.Table) -> list[str]:
    with store.connect() as connection:
        return sorted(connection.execute(sa.select(table.c.id)).scalars())


def test_expire_keeps_rows_with_unsummed_labels(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(4), step=HOUR, version=pa.array([1, 1, 2, 2])))
    settle(store, log)
    log.add_labels(labels({"p0": 1.0, "p3": 0.0}))
    assert log.expire(NOON + 9 * HOUR) == 2
    assert ids(log) == ["p0", "p3"]
    settle(store, log)
    assert log.expire(NOON + 9 * HOUR) == 2
    assert [body for *_, body in store.performance.get(MODEL, *EVER)] == ["sums of 1"] * 2


def test_late_rows_of_an_expired_hour_keep_its_sums(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(3)))
    log.add_labels(labels({"p0": 1.0, "p1": 0.0}))
    settle(store, log)
    stale_before = store.performance.stale(MODEL)
    assert log.expire(NOON + HOUR) == 3
    log.add_labels(labels({"p2": 1.0, "early": 1.0}))
    log.append(batch(["early", "late"]))
    log.add_labels(labels({"late": 1.0}))
    assert store.performance.stale(MODEL) == stale_before == []
    settle(store, log)
    assert store.performance.get(MODEL, *EVER) == [(1, NOON, 2, "sums of 2")]
    assert store.verify() == []
    assert log.expire(NOON + HOUR) == 2, "and the late rows go too"


def test_sums_of_an_empty_read_are_ignored_after_expiry(store: Store, log: PredictionLog) -> None:
    log.append(batch(range(1)))
    log.add_labels(labels({"p0": 1.0}))
    [(version, hour, revision)] = store.performance.stale(MODEL)
    settle(store, log)
    log.expire(NOON + HOUR)
    store.performance.put_hours(MODEL, version, [(hour, 0, "nothing", revision)])
    assert store.performance.get(MODEL, *EVER) == [(1, NOON, 1, "sums of 1")]


def test_expire_deletes_labels_conflicts_and_unmatched_labels(store: Store, log: PredictionLog) -> None:
    store.predictions("other", FEATURES).add_labels(labels({"theirs": 1.0}))
    log.append(batch(["old", "new"], step=10 * HOUR, version=...))
    for value in (1.0, 0.0):
        log.add_labels(labels({"old": value, "new": value, "orphan": value}, observed_at=NOON + 3 * HOUR))
        log.add_labels(labels({"young": value}, observed_at=NOON + 6 * HOUR))
    assert (log.expire(NOON + 5 * HOUR), log.delete_unmatched_labels(NOON + 5 * HOUR)) == (1, 1)
    assert stored(store, labels_table) == ["new", "theirs", "young"]
    assert stored(store, label_conflicts) == ["new", "young"]


def test_expire_deletes_many_rows_in_steps(store: Store, log: PredictionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 10)
    log.append(batch(range(100), step=timedelta(minutes=10)))
    log.append(batch(["stray"], start=NOON - 9000 * HOUR))
    settle(store, log)
    log.append(batch(["uncounted"], start=NOON + 2 * HOUR))
    steps: list[int] = []
    take_step = retention.expire_until
    monkeypatch.setattr(retention, "expire_until", lambda *a: steps.append(a[-1]) or take_step(*a))
    assert log.expire(NOON + 15 * HOUR) == 1 + 15 * 6 - 6
    assert steps == sorted(set(steps))
    assert 7 <= len(steps) <= 10
    assert len(ids(log)) == 100 - 90 + 6 + 1
    assert log.expire(NOON + 15 * HOUR) == 0


def grown(store: Store, log: PredictionLog) -> None:
    """Ten thousand rows come and go."""
    log.append(batch(range(20_000), step=timedelta(seconds=1), version=...))
    log.expire(NOON + 5 * HOUR)


def test_compact_frees_space_and_keeps_rows(store: Store, log: PredictionLog) -> None:
    grown(store, log)
    left = ids(log)
    before, after = store.compact()
    assert len(left) == 2000
    if store.engine.dialect.name != "sqlite":  # whose tables keep the space, for the next rows
        log.append(batch(range(15_000), start=NOON + 20 * HOUR, version=...))
        assert store.compact()[1] < after + 0.4 * before, "15,000 new rows where 18,000 have been"
        return
    assert after < 0.6 * before
    assert ids(log) == left
    assert store.verify(thorough=True) == []
    assert store.compact()[1] <= after


def test_compact_lets_others_write(store: Store, log: PredictionLog) -> None:
    grown(store, log)
    written: list[int] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            written.append(log.append(batch([f"w{len(written)}"], start=NOON + 9 * HOUR)).stored)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        store.compact()
    finally:
        done.set()
        thread.join()
    assert sum(written) == len(written) == log.count(NOON + 9 * HOUR, EVER[1]) > 0
    assert store.verify(thorough=True) == []


def test_compact_rewrites_an_older_sqlite_store_once(tmp_path: Path) -> None:
    path = tmp_path / "keel.db"
    older = adbc.connect_sqlite(str(path), 5)
    for line in ("PRAGMA journal_mode=wal", "CREATE TABLE something (x)"):
        older.execute(line)
    older.close()
    with Store.open(f"sqlite:///{path}") as store:
        log = store.predictions(MODEL, FEATURES)
        before, after = store.compact()
        assert before <= after
        grown(store, log)
        before, after = store.compact()
        assert after < 0.6 * before
        with closing(Database(store.engine.url, 5)) as database, database.arrow() as connection:
            assert integrity.pragma(connection, "auto_vacuum") == integrity.INCREMENTAL
        assert store.verify() == []


def test_verify_finds_no_fault_during_writes(store: Store, log: PredictionLog) -> None:
    assert store.verify() == []
    log.append(batch(range(10), step=HOUR))
    log.add_labels(labels({f"p{i}": 1.0 for i in range(5)}))
    assert store.verify() == []
    settle(store, log)
    assert store.verify() == []
    log.append(batch(["late"]))
    log.add_labels(labels({"p7": 1.0, "orphan": 1.0}))
    assert store.verify(thorough=True) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (sa.delete(hours).where(hours.c.hour == int(NOON.timestamp()) * 10**6), "has 1 rows that no check will ever"),
        (sa.update(counts).values(n=counts.c.n + 1), "has 1 rows, but counts of 2"),
        (sa.update(label_sums).values(n=7), "has 1 labelled rows, but sums of 7"),
    ],
)
def test_verify_names_the_hour_of_a_fault(store: Store, log: PredictionLog, change: Any, says: str) -> None:
    log.append(batch(range(20), step=HOUR))
    log.add_labels(labels({f"p{i}": 1.0 for i in range(20)}))
    settle(store, log)
    with store.begin() as connection:
        connection.execute(change)
    found = store.verify()
    assert found[0].startswith("flight_delay: the hour 2024-03-01 12:00 of version 1 has")
    assert says in found[0]
    if len(found) > 1:
        assert found[integrity.MAX_NAMED :] == ["flight_delay: 10 more hours have the same fault"]


def test_verify_names_what_alerts_and_messages_have_lost(store: Store) -> None:
    toy = alerting(email=["ann@example.com", "bob@example.com"])
    observe_in(store, toy, seen(finding(), at=MONDAY), told_plainly, now=MONDAY)
    warns = finding(Kind.DATA_QUALITY, "x", Severity.WARNING)
    observe_in(store, toy, seen(finding(), warns, at=MONDAY + HOUR), told_plainly, now=MONDAY)
    send_due(
        store, {"email": Receiver(Answer(accepted=True, detail="250 OK"))}, Receiver(OSError()), now=MONDAY, limit=1
    )
    assert store.verify() == []

    waits, told = (row["alert_id"] for row in store.alerts.list())
    gone = {"delivery_id": "gone", "number": 1, "at": 0, "accepted": True, "answer": "", "milliseconds": 0}
    sent, pending = sorted(store.outbox.deliveries(), key=lambda row: -row["tries"])
    of_sent = delivery_tries.c.delivery_id == sent["delivery_id"]
    mine = deliveries.c.delivery_id == pending["delivery_id"]
    copy = [sa.literal("copy") if column is alerts.c.alert_id else column for column in alerts.c]
    faults: list[tuple[Any, list[str]]] = [
        (sa.update(alerts).values(state="resolved"), [f"toy: the alert {told} is open and resolved at once"]),
        (sa.update(alerts).values(message_id="?"), [f"toy: the alert {told} is open, and the message that told of it"]),
        (sa.schema.DropIndex(next(each for each in alerts.indexes if each.unique)), []),
        (
            sa.insert(alerts).from_select(list(alerts.c.keys()), sa.select(*copy).where(alerts.c.alert_id == told)),
            [f"toy: several alerts of the fingerprint {store.alerts.list()[1]['fingerprint']} are open"],
        ),
        (
            sa.delete(alerts).where(alerts.c.alert_id == waits),
            [
                f"toy: the alert {waits} waits for a digest, and is missing",
                f"all models: the alert {waits} has a history, and is missing",
            ],
        ),
        (
            sa.update(deliveries).where(mine).values(next_try_at=None),
            [f"toy: the delivery {pending['delivery_id']} waits, and for no time"],
        ),
        (
            sa.delete(messages),
            [f"toy: the delivery {sent['delivery_id']} has no message"],
        ),
        (
            sa.delete(delivery_tries).where(of_sent),
            [f"toy: the delivery {sent['delivery_id']} has other tries"],
        ),
        (
            sa.insert(delivery_tries).values(**gone),
            ["all models: the delivery gone has tries, and is missing"],
        ),
    ]
    for change, says in faults:
        before = store.verify()
        with store.begin() as connection:
            connection.execute(change)
        found = [each for each in store.verify() if each not in before]
        for sentence in says:
            assert any(each.startswith(sentence) for each in found), (sentence, found)
        assert all(each.endswith("was the store changed outside Keel?") for each in found)


def test_verify_finds_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "keel.db"
    with Store.open(f"sqlite:///{path}") as store:
        log = store.predictions(MODEL, FEATURES)
        log.append(batch(range(2000)))
        with store.connect() as connection:
            query = "SELECT rootpage FROM sqlite_master WHERE name = 'predictions_flight_delay'"
            page = connection.exec_driver_sql(query).scalar_one()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with Store.open(f"sqlite:///{path}") as store:
        assert "restore the file from a backup" in store.verify()[0]
