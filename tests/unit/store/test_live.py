"""What the live monitors keep is stored whole or not at all, once, and bounded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from keel.store import live
from keel.store.database.live_tables import live_trajectory
from keel.store.live import TrajectoryPoint
from tests.support.chaos.live_commits import STATE
from tests.support.store_fixtures import NOON

if TYPE_CHECKING:
    from keel.store import Store

HOUR = timedelta(hours=1)


def alarm(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "alarm_id": name, "model": "m", "version": 3, "kind": "shift", "subject": name, "opened_at": NOON.isoformat(),
        "block": 12, "since": (NOON - HOUR).isoformat(), "rows_since": 300, "evidence": 9.5, "bound": 9.0,
        "sentence": "The hours differ.", "judged_by": None, **changes,
    }  # fmt: skip


def points(*blocks: int) -> list[TrajectoryPoint]:
    return [TrajectoryPoint(block, NOON + block * HOUR, {"temp": block / 10, "loss": -1.5}) for block in blocks]


def commit(store: Store, revision: int, **more: Any) -> bool:
    return store.live.commit("m", revision, STATE, **more)


def test_commit_is_read_back_unchanged(store: Store) -> None:
    assert store.live.read("m") is None
    assert commit(store, 0)
    assert store.live.read("m") == replace(STATE, revision=1)
    later = replace(STATE, rows=400, state=None, started_at=None, version=None, seen_until=None)
    assert store.live.commit("m", 1, later)
    assert store.live.read("m") == replace(later, revision=2)
    assert store.live.read("other") is None


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_commit_of_another_revision_stores_nothing(store: Store, expected: int) -> None:
    assert commit(store, 0)
    assert commit(store, 1)
    before = store.live.read("m")
    changed = replace(STATE, rows=999)
    more: dict[str, Any] = {"alarms": [alarm("temp")], "trajectory": points(1), "reference": b"other"}
    assert not store.live.commit("m", expected, changed, **more)
    assert store.live.read("m") == before
    assert store.live.open_alarms("m") == store.live.trajectory("m") == []
    assert store.live.reference("m") is None


def test_commit_of_an_unknown_model_at_a_later_revision_stores_nothing(store: Store) -> None:
    assert not commit(store, 2)
    assert store.live.read("m") is None


def test_set_paused_outlives_commits_and_is_no_revision(store: Store) -> None:
    store.live.set_paused("m", True, now=NOON)
    paused = store.live.read("m")
    assert paused is not None
    assert (paused.paused, paused.revision, paused.state, paused.version) == (True, 0, None, None)
    assert commit(store, 0)
    assert store.live.read("m") == replace(STATE, revision=1, paused=True)
    store.live.set_paused("m", False, now=NOON)
    assert commit(store, 1), "resuming does not undo what a process has read"
    assert store.live.read("m") == replace(STATE, revision=2)


def test_commit_opens_updates_and_does_not_reopen_alarms(store: Store) -> None:
    commit(store, 0, alarms=[alarm("temp"), alarm("carrier")])
    store.live.rang(["temp"], NOON + HOUR)
    commit(store, 1, alarms=[alarm("temp", evidence=12.0, rows_since=500)])
    carrier, temp = store.live.open_alarms("m")
    assert (carrier["rings"], carrier["ring_evidence"], carrier["ring_rows"]) == (0, None, None)
    assert (temp["evidence"], temp["rows_since"]) == (12.0, 500)
    assert (temp["rings"], temp["last_ring_at"]) == (1, NOON + HOUR)
    assert (temp["ring_evidence"], temp["ring_rows"]) == (9.5, 300)
    assert (temp["opened_at"], temp["since"]) == (NOON, NOON - HOUR)
    assert store.live.judge("m", {"temp": "confirmed"}, "d1") == 1
    commit(store, 2, alarms=[alarm("temp", evidence=20.0)])
    [judged] = store.live.alarms_of(["temp"])
    assert (judged["judged_by"], judged["verdict"], judged["evidence"]) == ("d1", "confirmed", 12.0)
    assert [each["alarm_id"] for each in store.live.open_alarms("m")] == ["carrier"]


def test_commit_opens_one_alarm_of_a_monitor_at_a_time(store: Store) -> None:
    first, second = alarm("first", subject="temp"), alarm("second", subject="temp")
    commit(store, 0, alarms=[first, second])
    assert [each["alarm_id"] for each in store.live.open_alarms("m")] == ["first"]
    store.live.judge("m", {"first": "confirmed"}, "d1")
    others = [alarm("of a newer version", subject="temp", version=4), alarm("of labels", subject="temp", kind="harm")]
    commit(store, 1, alarms=[second, *others])
    opened = {each["alarm_id"] for each in store.live.open_alarms("m")}
    assert opened == {"second", "of a newer version", "of labels"}


def test_judge_closes_open_alarms_of_its_model_once(store: Store) -> None:
    commit(store, 0, alarms=[alarm("a"), alarm("b"), alarm("c", model="other")])
    assert store.live.judge("m", {}, "d0") == 0
    assert store.live.judge("m", {"a": "confirmed", "c": "confirmed", "unknown": "confirmed"}, "d1") == 1
    assert store.live.judge("m", {"a": "confirmed", "b": "confirmed"}, "d2") == 1
    assert [each["judged_by"] for each in store.live.alarms("m")] == ["d1", "d2"]
    assert [each["alarm_id"] for each in store.live.open_alarms("other")] == ["c"]


def test_alarms_returns_the_latest_in_order_of_time(store: Store) -> None:
    hours = {"b": 1, "a": 3, "c": 2}
    commit(store, 0, alarms=[alarm(name, opened_at=(NOON + n * HOUR).isoformat()) for name, n in hours.items()])
    assert [each["alarm_id"] for each in store.live.alarms("m")] == ["b", "c", "a"]
    assert [each["alarm_id"] for each in store.live.alarms("m", limit=2)] == ["c", "a"]
    assert [each["alarm_id"] for each in store.live.alarms_of(["a", "b"])] == ["b", "a"]


def test_judged_alarms_of_a_version_have_what_their_monitors_had_come_to(store: Store) -> None:
    later = [alarm(f"column {i}", opened_at=(NOON + i * HOUR).isoformat()) for i in range(1, 130)]
    harm, other = alarm("loss", kind="harm", resume={"until": 7}), alarm("other", version=4)
    commit(store, 0, alarms=[harm, other, *later])
    commit(store, 1, alarms=[{**harm, "resume": {"until": 8}}, alarm("open")])
    commit(store, 2, alarms=[alarm("loss", kind="harm")])  # without news
    store.live.judge(
        "m", {name: "confirmed" for name in ("loss", "other", *(each["alarm_id"] for each in later))}, "d1"
    )
    first, *others = store.live.judged("m", 3)
    assert first == {"kind": "harm", "subject": "loss", "verdict": "confirmed", "resume": {"until": 8}}
    assert [(each["subject"], each["resume"]) for each in others] == [(f"column {i}", {}) for i in range(1, 130)]
    assert store.live.judged("m", 5) == store.live.judged("other", 3) == []


def test_add_fault_opens_one_alarm_about_the_same(store: Store) -> None:
    fault = alarm("f1", kind="fault", subject="store", evidence=None, bound=None)
    assert store.live.add_fault(fault)
    assert not store.live.add_fault(fault)
    assert not store.live.add_fault({**fault, "alarm_id": "f2"})
    store.live.judge("m", {"f1": "confirmed"}, "d1")
    assert store.live.add_fault({**fault, "alarm_id": "f2"})
    assert [each["evidence"] for each in store.live.open_alarms("m")] == [None]


def test_reword_fault_changes_what_an_open_one_says_and_no_judged_one(store: Store) -> None:
    for name in ("first", "second"):
        assert store.live.add_fault(alarm(name, kind="fault", subject="monitoring"))
        if name == "first":
            store.live.judge("m", {"first": "confirmed"}, "d1")
    commit(store, 0, alarms=[alarm("monitoring")])

    assert store.live.reword_fault("m", "monitoring", "It works again.") == 1

    said = {each["alarm_id"]: each["sentence"] for each in store.live.alarms("m")}
    assert said == {"first": "The hours differ.", "second": "It works again.", "monitoring": "The hours differ."}
    assert store.live.reword_fault("other", "monitoring", "") == 0


def test_trajectory_is_read_back_and_thinned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LONGEST_TRAJECTORY", 8)
    commit(store, 0, trajectory=points(*range(1, 9)))
    assert store.live.trajectory("m") == points(*range(1, 9))
    commit(store, 1, trajectory=points(9))
    assert [each.block for each in store.live.trajectory("m")] == [2, 4, 6, 8]
    commit(store, 2, trajectory=points(10, 11))
    commit(store, 3, trajectory=points(11, 12, 13))
    assert [each.block for each in store.live.trajectory("m")] == [2, 4, 6, 8, 10, 12]
    commit(store, 4, trajectory=points(*range(14, 1_000)))
    kept = [each.block for each in store.live.trajectory("m")]
    assert kept == list(range(128, 1_000, 128))


def test_trajectory_of_a_new_run_begins_again_and_old_ones_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LONGEST_TRAJECTORY", 4)
    monkeypatch.setattr(live, "RUNS_KEPT", 2)
    for run in range(3):
        started = replace(STATE, started_at=NOON + run * HOUR)
        assert store.live.commit("m", run, started, trajectory=points(*range(1, 4 + 4 * (run < 2))))
    assert [each.block for each in store.live.trajectory("m")] == [1, 2, 3]
    assert [each.block for each in store.live.trajectory("m", NOON + HOUR)] == [2, 4, 6]
    assert store.live.trajectory("m", NOON) == []


def test_trajectory_without_a_number_in_it_is_refused_whole(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        commit(store, 0, alarms=[alarm("a")], trajectory=[TrajectoryPoint(1, NOON, {"temp": float("nan")})])
    assert store.live.read("m") is None
    assert store.live.open_alarms("m") == []


def test_reference_stays_until_another_run_brings_its_own(store: Store) -> None:
    commit(store, 0, reference=b"one")
    commit(store, 1)
    assert store.live.reference("m") == b"one"
    commit(store, 2, reference=b"two")
    assert (store.live.reference("m"), store.live.reference("other")) == (b"two", None)


def test_trajectory_is_bounded_whatever_is_committed(store: Store) -> None:
    for i in range(3):
        commit(store, i, trajectory=points(*range(1 + 400 * i, 401 + 400 * i)))
    with store.connect() as connection:
        n = connection.execute(sa.select(sa.func.count()).select_from(live_trajectory)).scalar_one()
    assert live.LONGEST_TRAJECTORY // 2 <= n <= live.LONGEST_TRAJECTORY
