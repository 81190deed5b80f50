"""Counts, reports, decisions, quarantines and the ledger: idempotent puts, evidence that cannot be rewritten."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from keel.store.database.tables import deployments, ledger, quarantines
from tests.support.store_fixtures import NOON

if TYPE_CHECKING:
    from keel.store import Store

HOUR = timedelta(hours=1)
NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001


def report(store: Store, report_id: str = "r1", **changes: Any) -> None:
    values = {
        "model": "m", "version": 3, "kind": "drift", "window_start": NOON - 6 * HOUR, "window_end": NOON,
        "status": "ok", "body": {"n": 1}, "created_at": NOON,
    }  # fmt: skip
    store.reports.put(report_id, **{**values, **changes})


def decision(store: Store, decision_id: str = "d1", **changes: Any) -> None:
    values = {
        "model": "m", "version": 3, "window_start": NOON - 6 * HOUR, "window_end": NOON, "action": "retrain",
        "sentence": "Loss rose.", "body": {"why": ["loss"]}, "run_id": "run", "created_at": NOON,
    }  # fmt: skip
    store.decisions.put(decision_id, **{**values, **changes})


def test_counts_are_stored_by_hour_and_replaced(store: Store) -> None:
    payload = bytes(range(256)) * 40
    for hour in (NOON + HOUR, NOON, NOON - HOUR):
        store.counts.put("m", 1, hour, "grid", 10, b"first")
    store.counts.put("m", 1, NOON, "grid", 11, payload)
    store.counts.put("m", 1, NOON, "other grid", 12, b"")
    store.counts.put("m", 2, NOON, "grid", 13, b"2")
    assert store.counts.get("m", 1, "grid", NOON, NOON + 2 * HOUR) == [(NOON, payload), (NOON + HOUR, b"first")]
    assert store.counts.get("m", 1, "other grid", NOON, NOON + HOUR) == [(NOON, b"")]
    assert store.counts.get("m", 1, "no grid", NOON, NOON + HOUR) == []


def test_counts_of_an_older_revision_are_ignored(store: Store) -> None:
    store.counts.put("m", 1, NOON, "g", 2, b"later", revision=2)
    store.counts.put("m", 1, NOON, "g", 1, b"slow", revision=1)
    assert store.counts.get("m", 1, "g", NOON, NOON + HOUR) == [(NOON, b"later")]
    store.counts.put("m", 1, NOON, "g", 2, b"again", revision=2)
    assert store.counts.get("m", 1, "g", NOON, NOON + HOUR) == [(NOON, b"again")]


def test_counts_are_of_full_hours(store: Store) -> None:
    with pytest.raises(ValueError, match="not the start of an hour"):
        store.counts.put("m", 1, NOON + timedelta(minutes=1), "g", 1, b"")
    with pytest.raises(ValueError, match="no time zone"):
        store.counts.get("m", 1, "g", NAIVE, NOON)


def test_report_is_returned_as_stored_in_utc(store: Store) -> None:
    body = {"z": 1, "a": [None, 0.1, "é\x00"], "features": {"b": 1, "a": 2}}
    report(store, body=body, window_end=NOON.astimezone(timezone(2 * HOUR)))
    found = store.reports.get("r1")
    assert found == {
        "report_id": "r1", "model": "m", "version": 3, "kind": "drift", "window_start": NOON - 6 * HOUR,
        "window_end": NOON, "status": "ok", "body": body, "created_at": NOON,
    }  # fmt: skip
    assert list(found["body"]["features"]) == ["b", "a"], "the order is a ranking"
    assert store.reports.get("nothing") is None


def test_report_put_again_keeps_created_at(store: Store) -> None:
    report(store)
    report(store, status="drift", body={"n": 2}, created_at=NOON + HOUR)
    [found] = store.reports.list("m")
    assert (found["status"], found["body"], found["created_at"]) == ("drift", {"n": 2}, NOON)


def test_reports_are_listed_newest_first_by_kind_and_limit(store: Store) -> None:
    for i in range(5):
        report(store, f"r{i}", kind="drift" if i % 2 else "quality", created_at=NOON + i * HOUR, version=None)
    report(store, "other", model="n")
    assert [r["report_id"] for r in store.reports.list("m")] == ["r4", "r3", "r2", "r1", "r0"]
    assert [r["report_id"] for r in store.reports.list("m", "drift")] == ["r3", "r1"]
    assert [r["report_id"] for r in store.reports.list("m", limit=2)] == ["r4", "r3"]
    assert len(store.reports.list("m", limit=None)) == 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_report_body_that_is_not_json_raises(store: Store, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        report(store, body={"x": value})
    assert store.reports.list("m") == []


def test_naive_times_raise(store: Store) -> None:
    for call in (
        lambda: report(store, created_at=NAIVE),
        lambda: report(store, window_start=NAIVE),
        lambda: decision(store, window_end=NAIVE),
        lambda: store.quarantine("m", NAIVE, NOON, "", NOON),
    ):
        with pytest.raises(ValueError, match="no time zone"):
            call()


def test_decision_put_again_keeps_created_at_and_outcome(store: Store) -> None:
    decision(store)
    store.decisions.set_outcome("d1", {"promoted": 4})
    decision(store, sentence="Loss rose again.", created_at=NOON + HOUR)
    found = store.decisions.get("d1")
    assert found is not None
    assert (found["sentence"], found["outcome"], found["created_at"]) == ("Loss rose again.", {"promoted": 4}, NOON)
    assert found["body"] == {"why": ["loss"]}


def test_latest_decision_is_found_by_action(store: Store) -> None:
    assert store.decisions.latest("m") is None
    decision(store, "d1")
    decision(store, "d2", action="all_clear", created_at=NOON + HOUR)
    latest, retrain = store.decisions.latest("m"), store.decisions.latest("m", "retrain")
    assert latest is not None
    assert retrain is not None
    assert (latest["decision_id"], retrain["decision_id"]) == ("d2", "d1")
    assert [d["decision_id"] for d in store.decisions.list("m")] == ["d2", "d1"]


def test_set_outcome_of_an_unknown_decision_raises(store: Store) -> None:
    with pytest.raises(LookupError, match="no decision has the id 'nothing'"):
        store.decisions.set_outcome("nothing", {})


def test_quarantine_is_stored_once_and_its_release_stays(store: Store) -> None:
    for reason, at in (("first", NOON), ("second", NOON + HOUR)):
        store.quarantine("m", NOON, NOON + HOUR, reason, at)
    assert store.quarantines("m") == [
        {"start": NOON, "end": NOON + HOUR, "decided_until": NOON + HOUR, "reason": "first", "released": False,
         "created_at": NOON, "about": "data"}
    ]  # fmt: skip
    [released] = store.release_quarantine("m", NOON, NOON + HOUR)
    assert (released["start"], released["end"]) == (NOON, NOON + HOUR)
    assert not store.release_quarantine("m", NOON, NOON + HOUR)
    store.quarantine("m", NOON, NOON + HOUR, "a retry of the same check", NOON)
    assert store.quarantines("m") == []
    with store.connect() as connection:
        assert connection.execute(sa.select(quarantines.c.reason)).scalars().all() == ["first"]


def spans(store: Store, **which: Any) -> list[tuple[int, int]]:
    return [((q["start"] - NOON) // HOUR, (q["end"] - NOON) // HOUR) for q in store.quarantines("m", **which)]


def test_quarantine_around_a_released_one_leaves_it_released(store: Store) -> None:
    store.quarantine("m", NOON + 2 * HOUR, NOON + 4 * HOUR, "a break", NOON)
    assert store.release_quarantine("m", NOON, NOON + 9 * HOUR)
    for start, end in ((3, 4), (2, 4)):
        store.quarantine("m", NOON + start * HOUR, NOON + end * HOUR, "within", NOON)
    assert spans(store) == []
    for _ in range(2):
        store.quarantine("m", NOON, NOON + 6 * HOUR, "around", NOON)
        assert spans(store) == [(0, 2), (4, 6)]
    assert spans(store, with_released=True) == [(0, 2), (2, 4), (4, 6)]


def test_quarantines_never_overlap(store: Store) -> None:
    for start, end, until in ((2, 4, 4), (3, 6, 7), (0, 3, 3)):
        store.quarantine("m", NOON + start * HOUR, NOON + end * HOUR, "", NOON, decided_until=NOON + until * HOUR)
    assert spans(store) == [(0, 2), (2, 4), (4, 6)]
    assert spans(store, decided_before=NOON + 4 * HOUR) == [(0, 2)]
    assert spans(store, decided_before=NOON + 7 * HOUR) == [(0, 2), (2, 4)]
    assert store.release_quarantine("m", NOON + 3 * HOUR, NOON + 4 * HOUR) == []
    assert len(store.release_quarantine("m", NOON + HOUR, NOON + 6 * HOUR)) == 2
    assert spans(store) == [(0, 2)]


def test_quarantine_of_an_empty_range_raises(store: Store) -> None:
    with pytest.raises(ValueError, match="is empty"):
        store.quarantine("m", NOON, NOON, "", NOON)


def entry(store: Store, number: int) -> None:
    row = {
        "model": "m", "at": number, "actor": "a", "action": "promote", "generation_from": 0, "generation_to": 1,
        "body": json.dumps({}), "previous_hash": f"h{number - 1}", "hash": f"h{number}",
    }  # fmt: skip
    with store.begin() as connection:
        connection.execute(sa.insert(ledger).values(**row))


@pytest.mark.parametrize("statement", ["UPDATE ledger SET actor = 'b'", "DELETE FROM ledger"])
def test_ledger_rejects_update_and_delete(store: Store, statement: str) -> None:
    entry(store, 1)
    with pytest.raises(DBAPIError, match="append-only"), store.begin() as connection:
        connection.exec_driver_sql(statement)
    with store.connect() as connection:
        assert connection.execute(sa.select(ledger.c.seq, ledger.c.actor)).all() == [(1, "a")]


def test_ledger_rejects_truncate(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    entry(store, 1)
    with pytest.raises(DBAPIError, match="append-only"), store.begin() as connection:
        connection.exec_driver_sql("TRUNCATE ledger")


def test_ledger_numbers_rows_and_rejects_two_successors(store: Store) -> None:
    for number in (1, 2):
        entry(store, number)
    with pytest.raises(IntegrityError):
        entry(store, 2)
    with store.connect() as connection:
        assert connection.execute(sa.select(ledger.c.seq).order_by(ledger.c.seq)).scalars().all() == [1, 2]


def test_update_returns_whether_it_changed_a_row(store: Store) -> None:
    row = {"model": "m", "production": 1, "generation": 1, "updated_at": 0}
    with store.begin() as connection:
        connection.execute(sa.insert(deployments).values(**row))
    swap = sa.update(deployments).where(deployments.c.generation == 1).values(generation=2)
    with store.begin() as connection:
        assert connection.execute(swap).rowcount == 1
        assert connection.execute(swap).rowcount == 0


def test_transaction_is_rolled_back_by_an_error(store: Store) -> None:
    row = {"model": "m", "generation": 1, "updated_at": 0}
    with pytest.raises(IntegrityError), store.begin() as connection:
        connection.execute(sa.insert(deployments), [row, {**row, "model": "n"}, row])
    with store.connect() as connection:
        assert connection.execute(sa.select(deployments)).all() == []


def many_later_decisions(store: Store, *, days: int) -> None:
    """Add two hundred decisions that were made after all others, on windows that end so many days from noon."""
    for number in range(200):
        end = NOON + timedelta(days=days, hours=number % 24)
        decision(
            store, f"later-{number}", action="retrain" if number % 2 else "raise_alert", window_start=end - HOUR,
            window_end=end, created_at=NOON + timedelta(days=90, minutes=number),
        )  # fmt: skip
        store.decisions.set_outcome(f"later-{number}", {"notified": ["outbox"]})


@pytest.mark.parametrize("days", [-30, 30], ids=["a backfill of older windows", "newer windows"])
def test_last_window_end_is_found_behind_many_decisions_made_later(store: Store, days: int) -> None:
    for hours in (2, 1):
        decision(store, f"d{hours}", window_end=NOON + hours * HOUR)
    many_later_decisions(store, days=days)
    last = store.decisions.last_window_end
    assert last("m", "retrain", until=NOON + 3 * HOUR) == NOON + 2 * HOUR
    assert last("m", "retrain", until=NOON + 2 * HOUR) == NOON + 2 * HOUR
    assert last("m", "retrain", until=NOON + 3 * HOUR, without={"d2"}) == NOON + HOUR
    assert last("m", "quarantine", until=NOON + 3 * HOUR) is None
    assert last("other", "retrain", until=NOON + 3 * HOUR) is None


def test_decisions_without_an_outcome_are_those_of_one_model_and_action(store: Store) -> None:
    for name in ("done", "d1", "d2"):
        decision(store, name)
    decision(store, "another action", action="raise_alert")
    decision(store, "another model", model="n")
    store.decisions.set_outcome("done", {"notified": []})
    assert store.decisions.without_outcome("m", "retrain") == {"d1", "d2"}


@pytest.mark.parametrize("days", [-30, 30], ids=["a backfill of older windows", "newer windows"])
def test_notified_decisions_are_found_behind_many_decisions_made_later(store: Store, days: int) -> None:
    outcomes: dict[str, Any] = {
        "d1": {"notified": ["outbox"]}, "d2": {"told": ["outbox"]}, "d3": {"notified": []}, "d4": None,
        "d5": {"notified": ["outbox"]},
    }  # fmt: skip
    for name, outcome in outcomes.items():
        decision(store, name, action="raise_alert", window_end=NOON + int(name[1]) * HOUR)
        if outcome is not None:
            store.decisions.set_outcome(name, outcome)
    decision(store, "other version", action="raise_alert", version=4, window_end=NOON + 2 * HOUR)
    store.decisions.set_outcome("other version", {"notified": ["outbox"]})
    many_later_decisions(store, days=days)

    def found(after: int, until: int, **which: Any) -> list[str]:
        spans = {"after": NOON + after * HOUR, "until": NOON + until * HOUR}
        return [d["decision_id"] for d in store.decisions.notified("m", 3, "raise_alert", **spans, **which)]

    assert found(0, 5) == ["d5", "d2", "d1"]
    assert found(1, 4) == ["d2"]
    assert found(0, 5, other_than="d5") == ["d2", "d1"]


def test_reports_are_listed_by_version_and_status_before_the_limit(store: Store) -> None:
    report(store, "old", version=7, status="undelivered")
    for number in range(60):
        report(store, f"r{number}", status="notified", created_at=NOON + HOUR)
    assert [r["report_id"] for r in store.reports.list("m", version=7)] == ["old"]
    assert [r["report_id"] for r in store.reports.list("m", statuses=["undelivered"])] == ["old"]
    assert len(store.reports.list("m", statuses=["undelivered", "notified"], limit=None)) == 61
