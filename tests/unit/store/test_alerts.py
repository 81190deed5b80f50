"""The tables of alerts and of the outbox: what expires, and what must stay."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from keel.alerts.digest import flush_digests
from keel.alerts.door import observe_in
from keel.config import Kind
from keel.maintenance import expire_rows
from keel.store.database import alert_tables as tables
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, WEEK, alerting, drift, finding, seen, told_plainly
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from pathlib import Path

    from keel.config import ModelConfig
    from keel.store import Store

CONFIG = alerting(resolve_after=1, fire_after=1)
BROKEN, OTHER = finding(), finding(Kind.LABEL_QUALITY)


def check(store: Store, day: float, *findings, config: ModelConfig = CONFIG, model: str = "toy") -> str | None:
    at = MONDAY + day * DAY
    return observe_in(store, config, seen(*findings, at=at, model=model), told_plainly, now=at).message_id


def deliver_all(store: Store, day: float) -> None:
    now = MONDAY + day * DAY
    while row := store.outbox.lease("test", now=now, until=now + HOUR):
        done = {**row, "state": "sent", "finished_at": now, "next_try_at": None}
        store.outbox.finish_try(done, {"at": now, "accepted": True, "answer": "ok", "milliseconds": 1})


def size(store: Store, table: sa.Table) -> int:
    with store.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_what_is_over_expires_with_all_that_hangs_on_it(store: Store) -> None:
    check(store, 0, BROKEN)
    check(store, 1)
    check(store, 2, OTHER)
    deliver_all(store, 2)

    assert store.alerts.expire("toy", MONDAY + 1 * DAY) == 0, "it was over at that time, not before it"
    assert store.alerts.expire("toy", MONDAY + 1.5 * DAY) == 1
    assert [row["kind"] for row in store.alerts.list()] == ["label_quality"]
    assert size(store, tables.alert_events) == 2
    assert size(store, tables.observations) == 1
    assert store.outbox.expire("toy", MONDAY + 3 * DAY) == 2, "that of the open alert stays"
    assert size(store, tables.deliveries) == size(store, tables.delivery_tries) == 1
    check(store, 3, BROKEN)
    assert store.outbox.expire("toy", MONDAY + 9 * DAY) == 0, "it is still on its way"


def test_the_newest_observation_of_a_source_stays_so_that_an_old_one_is_not_applied(store: Store) -> None:
    for day in range(3):
        check(store, day)
    store.alerts.expire("toy", MONDAY + 30 * DAY)

    assert size(store, tables.observations) == 1
    old = seen(BROKEN, at=MONDAY + DAY, name="checked again")
    assert observe_in(store, CONFIG, old, told_plainly, now=MONDAY + 30 * DAY).message_id is None
    assert store.alerts.list() == []


def test_digest_entries_expire(store: Store, tmp_path: Path) -> None:
    check(store, 0, drift())
    ws = Workspace(tmp_path, store, registry=None)  # type: ignore[arg-type]  # nothing here is about versions
    flush_digests(ws, [CONFIG], now=MONDAY + WEEK)
    check(store, 8)
    store.alerts.expire("toy", MONDAY + DAY)
    assert [row["alert_id"] for row in store.alerts.waiting("toy")] == [store.alerts.list()[0]["alert_id"]]
    assert size(store, tables.digest_entries) == 1


@pytest.mark.parametrize(("kept", "expected"), [("730d", (1, 2)), ("10d", (1, 2)), (None, (0, 0))])
def test_the_nightly_maintenance_deletes_old_alerts_and_messages(
    store: Store, tmp_path: Path, kept: str | None, expected: tuple[int, int]
) -> None:
    check(store, 0, BROKEN)
    check(store, 1)
    check(store, 0, finding(Kind.PIPELINE_FAILURE), model="", config=CONFIG)
    deliver_all(store, 1)
    config = toy_config(retention={"alerts": kept})
    ws = Workspace(tmp_path, store, registry=None)  # type: ignore[arg-type]  # no row is counted

    age = timedelta(days=732 if kept != "10d" else 12)
    done = expire_rows(ws, config, now=MONDAY + age)
    assert (done.alerts_deleted, done.messages_deleted) == expected
    assert ("older than retention.alerts" in done.sentence) == (kept is not None)
    assert len(store.alerts.list("")) == 1, "it is not over"
    again = expire_rows(ws, config, now=MONDAY + age)
    assert (again.alerts_deleted, again.messages_deleted) == (0, 0)
