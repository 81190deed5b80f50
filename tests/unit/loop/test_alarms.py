"""Which alarms a run judges, in which window, and that one change is not retrained for twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keel import deployments, loop
from keel.monitoring import storage
from keel.monitoring.records import (
    Action,
    CountedWindow,
    DecisionRecord,
    LiveAlarm,
    StoredDriftReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.window import Window, now_utc
from keel.workspace import Workspace
from tests.support.live.alarms import HOUR, judged_by, live_alarm, open_alarms
from tests.support.loop_steps import told
from tests.support.toy import START, toy_config

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from keel.store import Store

CONFIG = toy_config()
RETRAIN = {"pipeline": "tests.support.pipelines.toy", "window": "30d", "holdout": "7d", "min_rows": 200}
HASTY = toy_config(retrain={**RETRAIN, "cooldown": "0s"})
NOON = START + 7 * timedelta(days=7) + 12 * HOUR
LOOKBACK = Window(NOON - timedelta(days=7), NOON)


@pytest.fixture
def ws(store: Store, tmp_path: Path) -> Workspace:
    """A store with version 1 in production."""
    put_into_production(store, 1)
    return Workspace(tmp_path, store, None)  # type: ignore[arg-type]  # nothing here reads the registry


def put_into_production(store: Store, version: int) -> None:
    current = deployments.read(store, "toy")
    new = replace(current, production=version)
    deployments.swap(store, current, new, actor="tests", action="promote", body={}, now=START)


def register(ws: Workspace, version: int, decision: DecisionRecord) -> None:
    """Add the ledger's row of the version that a decision to retrain led to."""
    body = {"artifacts": {"version": version}, "evidence": {"tags": {"keel.decision_id": decision.decision_id}}}
    deployments.append(ws.store, "toy", actor="tests", action="register", body=body, now=START)


def alarm(subject: str = "x", *, since: datetime = NOON - HOUR, **changes: Any) -> LiveAlarm:
    return live_alarm(subject, since=since, model="toy", **{"opened_at": since + HOUR, **changes})


def judged_in(
    ws: Workspace, window: Window = LOOKBACK, *, cause: Any, run_id: str = "run", config: Any = CONFIG
) -> Any:
    return loop.alarms_to_judge(ws, config, window, cause=cause, run_id=run_id, now=NOON + 365 * timedelta(days=1))


def check(
    ws: Workspace,
    window: Window,
    *alarms: LiveAlarm,
    x: str = "ok",
    harm: bool = False,
    n: int = 600,
    config: Any = CONFIG,
    version: int = 1,
    run_id: str = "run",
    since_alarms: bool = False,
) -> DecisionRecord:
    """Store the reports of a window, and decide on it."""
    counted = CountedWindow(
        model="toy", version=version, window=window, rows=n, counted_hours=0, counted_rows=0,
        alarms=tuple(each.alarm_id for each in alarms), since_alarms=since_alarms,
    )  # fmt: skip
    column = {"kind": "numeric", "role": "feature", "severity": x, "status": x}
    status = "insufficient" if x == "insufficient" else "warn" if x == "drift" else "ok"
    then, now = ({"brier": {"value": value, "standard_error": 0.004, "n": 3_000}} for value in (0.15, 0.25))
    measured = {
        "metric": "brier", "n": 3_000, "current": now, "reference": then, "max_degradation": 0.01, "alpha": 0.05,
        "increase": 0.1 if harm else 0.0, "p_value": 1e-9 if harm else 0.5, "status": "degraded" if harm else "ok",
    }  # fmt: skip
    drifted = {"status": status, "n": n, "min_rows": 200, "share_drifted": 0.0, "features": {"x": column}}
    for kind, report in (
        ("quality", StoredQualityReport.from_dict({"status": "ok", "n": n})),
        ("drift", StoredDriftReport.from_dict(drifted)),
        ("performance", StoredPerformanceReport.from_dict(measured)),
    ):
        storage.store_report(ws, kind, "toy", version, window, report)
    return loop.decide(ws, config, counted, run_id=run_id)


def test_run_by_an_alarm_has_the_time_since_the_earliest_change(ws: Workspace) -> None:
    open_alarms(ws.store, alarm(), alarm("z", since=NOON - 30 * HOUR - HOUR / 4), seen_until=NOON + HOUR / 4)
    found = judged_in(ws, cause="alarm")
    assert found.window == Window(NOON - 31 * HOUR, NOON + HOUR)
    assert (set(found.alarms), found.since_alarms) == ({"alarm-shift-x", "alarm-shift-z"}, True)


def test_window_of_a_harm_alarm_begins_where_the_labels_of_the_change_do(ws: Workspace) -> None:
    open_alarms(ws.store, alarm("loss", kind="harm", since=NOON - 30 * HOUR), seen_until=NOON)
    assert judged_in(ws, cause="alarm").window == Window(NOON - 6 * HOUR, NOON)


def test_window_of_an_alarm_is_no_longer_than_the_lookback_and_has_an_hour_at_least(ws: Workspace) -> None:
    open_alarms(ws.store, alarm(since=NOON - timedelta(days=40), opened_at=NOON))
    assert judged_in(ws, cause="alarm").window == LOOKBACK
    open_alarms(ws.store, alarm("loss", kind="harm", since=NOON - HOUR, opened_at=NOON), seen_until=NOON)
    ws.store.live.judge("toy", {"alarm-shift-x": "confirmed"}, "d")
    assert judged_in(ws, cause="alarm").window == Window(NOON - HOUR, NOON)


def test_rows_of_a_client_whose_clock_is_ahead_do_not_move_the_window(ws: Workspace) -> None:
    open_alarms(ws.store, alarm(), seen_until=NOON + timedelta(days=9000))
    found = loop.alarms_to_judge(ws, CONFIG, LOOKBACK, cause="alarm", run_id="run", now=NOON)
    assert found.window == Window(NOON - HOUR, NOON)


@pytest.mark.parametrize(
    ("cause", "ids"),
    [
        ("alarm", {"alarm-shift-x", "alarm-shift-z", "alarm-harm-loss", "alarm-fault-state"}),
        ("check", {"alarm-shift-x", "alarm-harm-loss", "alarm-fault-state"}),
        ("period", {"alarm-shift-x", "alarm-harm-loss"}),
        ("backfill", set()),
    ],
)
def test_alarms_that_a_run_judges(ws: Workspace, cause: str, ids: set[str]) -> None:
    open_alarms(
        ws.store,
        alarm(),
        alarm("z", since=NOON + HOUR),
        alarm("loss", kind="harm", since=LOOKBACK.start - HOUR, opened_at=NOON),
        alarm("state", kind="fault", since=NOON + 99 * HOUR),
    )
    assert set(judged_in(ws, cause=cause).alarms) == ids


def test_backfill_of_a_window_on_which_a_check_has_decided_keeps_what_it_decided_about_alarms(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    decision = check(ws, LOOKBACK, alarm(), x="drift")
    loop.record(ws, CONFIG, decision, None, channels=())
    open_alarms(ws.store, alarm("z"))
    assert judged_in(ws, cause="backfill").alarms == ("alarm-shift-x",)


def test_run_without_open_alarms_has_the_usual_window(ws: Workspace) -> None:
    assert judged_in(ws, cause="alarm").window == LOOKBACK


def test_alarms_that_are_open_when_the_monitors_are_turned_off_are_judged(ws: Workspace) -> None:
    off = toy_config(live=None)
    open_alarms(ws.store, alarm(), alarm("state", kind="fault"))
    assert judged_in(ws, cause="alarm", config=off) == judged_in(ws, cause="alarm")
    found = judged_in(ws, cause="check", config=off)
    decision = check(ws, found.window, alarm(), alarm("state", kind="fault"), x="drift", config=off)
    assert loop.next_check(ws, off, decision.decision_id, run_id="run") is not None
    loop.record(ws, off, decision, None, channels=())
    assert ws.store.live.open_alarms("toy") == []
    assert loop.next_check(ws, off, decision.decision_id, run_id="run") is None


def test_run_that_only_an_obsolete_alarm_starts_has_the_lookback_of_the_data(ws: Workspace) -> None:
    open_alarms(ws.store, alarm(version=7), seen_until=NOON)
    found = judged_in(ws, Window(NOON + 900 * HOUR, NOON + 901 * HOUR), cause="alarm")
    assert found.window == LOOKBACK
    decision = check(ws, found.window, alarm(version=7), since_alarms=True)
    assert decision.action is Action.ALL_CLEAR
    assert "was about version 7, which is not in production any more" in decision.sentence
    assert decision.alarms == ("alarm-shift-x",)


def test_record_closes_what_the_stored_decision_judged_and_nothing_else(ws: Workspace) -> None:
    x, z = alarm(), alarm("z")
    open_alarms(ws.store, x)
    decision = check(ws, Window(NOON - HOUR, NOON), x, x="drift", since_alarms=True)
    open_alarms(ws.store, z)
    forged = decision.model_copy(update={"alarms": (x.alarm_id, z.alarm_id)})

    for _ in range(2):
        loop.record(ws, CONFIG, forged, None, channels=())
        assert (judged_by(ws.store, x), judged_by(ws.store, z)) == (decision.decision_id, None)
        following = loop.next_check(ws, CONFIG, decision.decision_id, run_id="run")
        assert following == loop.next_check(ws, CONFIG, decision.decision_id, run_id="run")
        assert following != loop.next_check(ws, CONFIG, decision.decision_id, run_id="another run")
    ws.store.live.judge("toy", {z.alarm_id: "confirmed"}, "another decision")
    assert loop.next_check(ws, CONFIG, decision.decision_id, run_id="run") is None


def test_alarm_with_too_few_rows_stays_open_and_starts_no_further_check(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    decision = check(ws, Window(NOON - HOUR, NOON), alarm(), x="insufficient", n=50, since_alarms=True)
    loop.record(ws, CONFIG, decision, None, channels=())
    assert (decision.alarms, decision.open_alarms) == ((), ("alarm-shift-x",))
    assert judged_by(ws.store, alarm()) is None
    assert loop.next_check(ws, CONFIG, decision.decision_id, run_id="run") is None


def test_alarm_that_a_scheduled_window_hides_is_left_to_a_check_of_the_time_since(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    decision = check(ws, LOOKBACK, alarm())
    assert "stays open: this window tells too little of the time since" in decision.sentence
    assert loop.next_check(ws, CONFIG, decision.decision_id, run_id="run") is not None
    since = check(ws, Window(NOON - HOUR, NOON), alarm(), since_alarms=True)
    assert since.alarms == ("alarm-shift-x",)


def test_check_of_alarms_that_judges_none_starts_no_further_check(ws: Workspace) -> None:
    old, new = alarm(since=NOON - 60 * HOUR), alarm("z")
    open_alarms(ws.store, old, new)
    decision = check(ws, Window(NOON - 60 * HOUR, NOON), old, new, x="insufficient", since_alarms=True)
    assert (decision.alarms, set(decision.open_alarms)) == ((), {old.alarm_id, new.alarm_id})
    assert loop.next_check(ws, CONFIG, decision.decision_id, run_id="run") is None


def test_decision_with_ids_that_are_no_open_alarms_of_the_model_judges_none_of_them(ws: Workspace) -> None:
    closed, foreign = alarm(), live_alarm("x", since=NOON - HOUR, model="tide", alarm_id="of tide")
    open_alarms(ws.store, closed, foreign)
    ws.store.live.judge("toy", {closed.alarm_id: "confirmed"}, "an earlier decision")
    decision = check(ws, Window(NOON - HOUR, NOON), closed, foreign, alarm("never", since=NOON), x="drift")
    assert (decision.alarms, decision.open_alarms) == ((), ())
    assert "alarm" not in decision.sentence


def test_cleared_run_gets_the_alarms_and_the_window_of_its_decision_again(ws: Workspace) -> None:
    open_alarms(ws.store, alarm(), seen_until=NOON)
    first = judged_in(ws, cause="alarm", run_id="asset__1")
    decision = check(ws, first.window, alarm(), x="drift", run_id="asset__1", since_alarms=True)
    loop.record(ws, CONFIG, decision, None, channels=())
    open_alarms(ws.store, alarm("z"), seen_until=NOON + 30 * HOUR)

    again = judged_in(ws, cause="alarm", run_id="asset__1")

    assert again == first
    assert check(ws, again.window, alarm(), x="drift", run_id="asset__1", since_alarms=True) == decision
    assert judged_in(ws, cause="alarm", run_id="asset__2").alarms == ("alarm-shift-z",)


def test_cleared_scheduled_run_decides_the_same_about_alarms_that_it_has_judged(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    decision = check(ws, LOOKBACK, alarm(), x="drift")
    loop.record(ws, CONFIG, decision, None, channels=())
    open_alarms(ws.store, alarm("z"))
    ws.store.decisions.put(
        "watch-1", "toy", 1, LOOKBACK.start, LOOKBACK.end, "keep", "", {}, "run", now_utc()
    )  # a scheduled run of another DAG has the same id
    for cause in ("check", "period"):
        again = judged_in(ws, cause=cause)
        assert (again.window, again.alarms) == (LOOKBACK, ("alarm-shift-x",))
    assert check(ws, LOOKBACK, alarm(), x="drift") == decision


@pytest.mark.parametrize("cause", ["check", "alarm"])
def test_another_run_on_a_window_that_was_decided_on_judges_the_open_alarms_too(ws: Workspace, cause: str) -> None:
    open_alarms(ws.store, alarm())
    window = judged_in(ws, cause=cause).window
    loop.record(ws, CONFIG, check(ws, window, alarm(), x="drift", run_id="first"), None, channels=())
    open_alarms(ws.store, alarm("z"))
    found = judged_in(ws, cause=cause, run_id="second")
    assert (found.window, set(found.alarms)) == (window, {"alarm-shift-x", "alarm-shift-z"})


SINCE_ALARM = Window(NOON - HOUR, NOON + HOUR)
"""The window of an alarm of a change at eleven that opened shortly after noon."""


def test_scheduled_check_right_after_an_alarm_does_not_retrain_again(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    first = check(ws, SINCE_ALARM, alarm(), harm=True, config=HASTY, since_alarms=True)
    loop.record(ws, HASTY, first, None, channels=())
    second = check(ws, LOOKBACK, harm=True, config=HASTY)
    assert [first.action, second.action] == [Action.RETRAIN, Action.RAISE_ALERT]
    assert "No second retraining for the same change" in second.sentence
    later = Window(LOOKBACK.start + 24 * HOUR, LOOKBACK.end + 24 * HOUR)
    assert check(ws, later, harm=True, config=HASTY).action is Action.RETRAIN
    assert check(ws, SINCE_ALARM, alarm(), harm=True, config=HASTY, since_alarms=True) == first


def test_retraining_by_an_alarm_stays_what_it_was_after_a_later_one(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    first = check(ws, SINCE_ALARM, alarm(), harm=True, config=HASTY, since_alarms=True)
    soon = Window(LOOKBACK.start + 3 * HOUR, LOOKBACK.end + 3 * HOUR)
    assert check(ws, soon, harm=True, config=HASTY).action is Action.RETRAIN
    assert check(ws, SINCE_ALARM, alarm(), harm=True, config=HASTY, since_alarms=True) == first


def test_retraining_that_failed_does_not_keep_its_alarm_from_another(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    failed = check(ws, SINCE_ALARM, alarm(), harm=True, config=HASTY, since_alarms=True)
    later = Window(SINCE_ALARM.start, SINCE_ALARM.end + HOUR)
    assert judged_by(ws.store, alarm()) is None
    assert judged_in(ws, cause="alarm", run_id="next ring").alarms == failed.alarms
    second = check(ws, later, alarm(), harm=True, config=HASTY, since_alarms=True, run_id="next ring")
    assert [failed.action, second.action] == [Action.RETRAIN, Action.RETRAIN]
    loop.record(ws, HASTY, second, None, channels=())
    assert judged_by(ws.store, alarm()) == second.decision_id
    open_alarms(ws.store, alarm("z"))
    third = check(ws, Window(later.start, later.end + HOUR), alarm("z"), harm=True, config=HASTY)
    assert third.action is Action.RAISE_ALERT


def test_retraining_that_failed_starts_no_cooldown(ws: Workspace) -> None:
    open_alarms(ws.store, alarm("loss", kind="harm"))
    failed = check(ws, SINCE_ALARM, harm=True, since_alarms=True)
    second, third = (Window(SINCE_ALARM.start, SINCE_ALARM.end + hours * HOUR) for hours in (1, 12))
    again = check(ws, second, alarm("loss", kind="harm"), harm=True, since_alarms=True, run_id="next ring")
    assert [failed.action, again.action] == [Action.RETRAIN, Action.RETRAIN]
    loop.record(ws, CONFIG, again, None, channels=())
    assert "the last retrain is cooling down" in check(ws, third, harm=True).sentence


@pytest.mark.parametrize(
    ("hours", "config", "why"),
    [(1, HASTY, "No second retraining for the same change"), (12, CONFIG, "cooling down")],
    ids=["the same change", "the cooldown"],
)
def test_retraining_whose_outcome_could_not_be_recorded_is_not_repeated(
    ws: Workspace, hours: int, config: Any, why: str
) -> None:
    open_alarms(ws.store, alarm())
    first = check(ws, SINCE_ALARM, alarm(), harm=True, config=config, since_alarms=True)
    assert judged_by(ws.store, alarm()) is None
    register(ws, 2, first)
    later = Window(SINCE_ALARM.start, SINCE_ALARM.end + hours * HOUR)
    second = check(ws, later, alarm(), harm=True, config=config, since_alarms=True, run_id="next ring")
    assert [first.action, second.action] == [Action.RETRAIN, Action.RAISE_ALERT]
    assert why in second.sentence


def test_alarm_during_a_scheduled_check_that_retrains_does_not_retrain_again(ws: Workspace) -> None:
    first = check(ws, LOOKBACK, harm=True, config=HASTY)
    open_alarms(ws.store, alarm())
    loop.record(ws, HASTY, first, None, channels=())
    assert judged_by(ws.store, alarm()) is None
    second = check(ws, SINCE_ALARM, alarm(), harm=True, x="drift", config=HASTY, since_alarms=True)
    assert [first.action, second.action] == [Action.RETRAIN, Action.RAISE_ALERT]
    assert second.alarms == (alarm().alarm_id,)


def test_scheduled_check_that_retrains_judges_the_alarms_that_it_knew(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    found = judged_in(ws, cause="check")
    decision = check(ws, LOOKBACK, alarm(), harm=True, config=HASTY)
    loop.record(ws, HASTY, decision, None, channels=())
    assert found.alarms == decision.alarms == (alarm().alarm_id,)
    assert "answers the live alarm on x" in decision.sentence
    assert judged_in(ws, cause="alarm", run_id="asset__1").alarms == ()


def test_alarm_of_a_further_change_may_retrain(ws: Workspace) -> None:
    check(ws, LOOKBACK, harm=True, config=HASTY)
    new = alarm(since=NOON + HOUR)
    open_alarms(ws.store, new)
    window = Window(NOON + HOUR, NOON + 3 * HOUR)
    assert check(ws, window, new, harm=True, config=HASTY, since_alarms=True).action is Action.RETRAIN


def test_alarm_about_the_promoted_version_may_retrain(ws: Workspace) -> None:
    check(ws, LOOKBACK, harm=True, config=HASTY)
    new = alarm(version=2)
    open_alarms(ws.store, new)
    assert check(ws, SINCE_ALARM, new, harm=True, config=HASTY, version=2).action is Action.RETRAIN


def test_a_scheduled_check_that_waited_for_an_alarms_sees_the_same_alert_and_tells_nobody(ws: Workspace) -> None:
    open_alarms(ws.store, alarm())
    config = toy_config(alerts={"email": ["oncall@example.com"], "fire_after": 1, "digest": None})
    first = check(ws, SINCE_ALARM, alarm(), x="drift", since_alarms=True)
    posted = loop.notify(ws, config, first, now=NOON)
    assert [(each.alert.kind, each.alert.subject) for each in posted.news] == [("data_drift", "x")]
    loop.record(ws, config, first, None, channels=["email"])
    second = check(ws, LOOKBACK, alarm(), x="drift")
    assert loop.notify(ws, config, second, now=NOON).message_id is None
    [alert] = ws.store.alerts.list("toy")
    assert (alert["seen"], alert["state"]) == (1, "firing")


def test_a_fault_of_the_monitoring_is_told_at_once(ws: Workspace) -> None:
    fault = alarm("state", kind="fault", evidence=None, bound=None, sentence="The state of the monitors is damaged.")
    open_alarms(ws.store, fault)
    decision = check(ws, LOOKBACK, fault)
    [line] = told(ws, decision, now=NOON).alerts
    assert (line.kind, line.subject, line.severity) == ("live_alarm", "state", "error")
    assert line.sentence == "The state of the monitors is damaged"


def test_decision_of_an_earlier_release_has_no_alarms() -> None:
    body = {
        "decision_id": "d", "model": "toy", "version": 1, "window": LOOKBACK.to_dict(), "action": "all_clear",
        "sentence": "Fine.",
    }  # fmt: skip
    decision = DecisionRecord.from_dict(body)
    assert (decision.alarms, decision.open_alarms) == ((), ())
