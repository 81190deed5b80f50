"""What a live alarm leads to, run on a real store and a real registry."""

from __future__ import annotations

from email import message_from_string, policy
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.utils.types import DagRunType

from keel import loop
from keel.errors import StoreUnavailable
from tests.support.airflow.dag_bag import parse_dag
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.runs import runs_of
from tests.support.airflow.tide import (
    DAY,
    HOUR,
    LAUNCH,
    TURNED,
    decision_of,
    happen,
    live,
    reverse_relation,
    tide_config,
)
from tests.support.live.alarms import judged_by, live_alarm, open_alarms

pytestmark = pytest.mark.usefixtures("airflow_db")

END = LAUNCH + DAY
SINCE = LAUNCH + 12 * HOUR
BY_ALARM = {"run_type": DagRunType.ASSET_TRIGGERED, "run_after": END}
CHECKED = {"count_window", "check_data_quality", "check_data_drift", "check_performance", "decide"}
WIND = live_alarm(since=SINCE, opened_at=END)


def mails(workspace):
    files = sorted(workspace.outbox.glob("*.eml")) if workspace.outbox.exists() else []
    return [message_from_string(file.read_text(), policy=policy.default) for file in files]


def changed_at_noon(workspace, *, wind=1.5, labels=True):
    """Let the wind change twelve hours after the launch."""
    live(workspace, happen(LAUNCH, SINCE), LAUNCH, SINCE, labels=labels)
    live(workspace, happen(SINCE, END, wind=wind), SINCE, END, labels=labels)


def test_run_by_an_alarm_checks_the_time_since_the_change_tells_people_and_closes_it(tide):
    changed_at_noon(tide)
    open_alarms(tide.store, WIND)

    done = run("tide.drift_check", **BY_ALARM)

    assert done.state == "success"
    assert {*CHECKED, "record"} <= done.path
    assert "check_again" not in done.path
    window = done.xcoms["count_window/return_value"]["window"]
    assert window == {"start": SINCE.isoformat(), "end": END.isoformat()}
    decision = decision_of(tide)
    assert "Live alarm confirmed: wind has drifted since about 2024-03-05 12:00 UTC." in decision["sentence"]
    assert judged_by(tide.store, WIND) == decision["decision_id"]
    [mail] = mails(tide)
    assert "The input wind has changed" in text_of(mail)


def test_alarm_that_is_not_confirmed_is_an_all_clear_without_a_message(tide):
    changed_at_noon(tide, wind=0.0)
    open_alarms(tide.store, WIND)

    done = run("tide.drift_check", **BY_ALARM)

    assert done.path == {*CHECKED, "all_clear", "compose_message", "record"}
    assert "Live alarm not confirmed: wind has not drifted" in decision_of(tide)["sentence"]
    assert judged_by(tide.store, WIND) == decision_of(tide)["decision_id"]
    assert mails(tide) == []


@pytest.mark.slow
def test_alarm_that_opens_during_a_check_starts_another_once(tide, monkeypatch):
    level = live_alarm("level", since=SINCE, opened_at=END)
    notify = loop.notify

    def notify_late(workspace, *arguments, **options):
        open_alarms(workspace.store, level)
        return notify(workspace, *arguments, **options)

    monkeypatch.setattr(loop, "notify", notify_late)
    changed_at_noon(tide, wind=0.0)
    open_alarms(tide.store, WIND)

    done = run("tide.drift_check", logical_date=END, run_type=DagRunType.ASSET_TRIGGERED)

    assert {"record", "check_again"} <= done.path
    assert judged_by(tide.store, WIND) == decision_of(tide)["decision_id"]
    assert judged_by(tide.store, level) is None
    run_id = done.xcoms["record/return_value"]["again"]
    [started] = runs_of("tide.drift_check", run_id)
    assert started.run_type == "operator_triggered"

    again = run("tide.drift_check", logical_date=END, run_type=DagRunType.ASSET_TRIGGERED)

    assert (again.run_id, again.state) == (done.run_id, "success")
    assert "check_again" not in again.path
    assert again.xcoms["count_window/return_value"]["alarms"] == [WIND.alarm_id]
    assert len(tide.store.decisions.list("tide", "all_clear")) == 1


@pytest.mark.parametrize("step", ["decide", "notify"])
def test_alarm_stays_open_where_the_run_fails_after_it_was_read(tide, monkeypatch, step):
    def unavailable(*_, **__):
        raise StoreUnavailable("db:5432 does not answer")

    monkeypatch.setattr(loop, step, unavailable)
    live(tide, happen(SINCE, END), SINCE, END, labels=False)
    open_alarms(tide.store, WIND)

    done = run("tide.drift_check", **BY_ALARM)

    assert (done.state, done.states["record"]) == ("failed", "upstream_failed")
    assert judged_by(tide.store, WIND) is None


@pytest.mark.slow
def test_alarm_whose_retraining_fails_stays_open_and_leads_to_one_at_the_next_ring(tide, monkeypatch):
    reverse_relation(tide)
    since, end = TURNED - 12 * HOUR, TURNED - HOUR
    harm = live_alarm("loss", kind="harm", since=since, opened_at=end)
    open_alarms(tide.store, harm)

    def full(*_, **__):
        raise StoreUnavailable("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "retrain", full)
        failed = run("tide.drift_check", run_type=DagRunType.ASSET_TRIGGERED, run_after=TURNED)
    assert (failed.state, failed.states["retrain"]) == ("failed", "failed")
    assert judged_by(tide.store, harm) is None

    open_alarms(tide.store, harm, seen_until=TURNED)
    done = run("tide.drift_check", run_type=DagRunType.ASSET_TRIGGERED, run_after=TURNED + HOUR)

    windows = [each.xcoms["count_window/return_value"]["window"]["end"] for each in (failed, done)]
    assert windows == [end.isoformat(), TURNED.isoformat()]
    assert (done.state, "retrain" in done.path) == ("success", True)
    assert judged_by(tide.store, harm) == decision_of(tide)["decision_id"]


def count_window(run_type, *events, run_id="asset_triggered__1", start=None, end=END):
    """Run the first task of a check in a context with these events of the alarm asset."""
    task = parse_dag("tide.drift_check").get_task("count_window")
    task.overrides, task.start, task.end, task.interval_end, task.now = {}, start, end if start else None, None, END
    happened = {"alarm": [SimpleNamespace(extra=extra) for extra in events]}
    context = {"dag_run": SimpleNamespace(run_type=run_type), "run_id": run_id, "triggering_asset_events": happened}
    return task.execute(context)


BELL = {"from_trigger": True, "payload": {"opened": 1}}


def test_run_whose_alarms_are_judged_already_ends_at_once_and_says_so(tide):
    for made in (
        {"run_type": "asset_triggered", "events": (BELL, BELL)},
        {"run_type": "operator_triggered", "events": (), "run_id": "check_again__0123"},
    ):
        events, run_type = made.pop("events"), made.pop("run_type")
        with pytest.raises(AirflowSkipException, match="no live alarm is open. If one has started this run"):
            count_window(run_type, *events, **made)


@pytest.mark.parametrize(
    ("run_type", "events"),
    [
        ("asset_triggered", ({"why": "a colleague rang"},)),
        ("asset_triggered", (BELL, {})),
        ("asset_triggered", ()),
        ("scheduled", ()),
        ("operator_triggered", ()),
        ("manual", ()),
    ],
)
def test_run_from_elsewhere_without_an_alarm_checks_the_usual_window(tide, run_type, events):
    counted = count_window(run_type, *events)
    assert counted["window"] == {"start": LAUNCH.isoformat(), "end": END.isoformat()}
    assert (counted["alarms"], counted["since_alarms"]) == ([], False)


def test_run_judges_the_alarms_that_its_kind_is_about(tide):
    outside = live_alarm("level", since=LAUNCH - DAY, opened_at=LAUNCH)
    open_alarms(tide.store, WIND, outside)
    both = {WIND.alarm_id, outside.alarm_id}
    period = LAUNCH.isoformat()
    assert count_window("backfill")["alarms"] == []
    assert count_window("manual", start=period)["alarms"] == [WIND.alarm_id]
    for run_type in ("scheduled", "manual", "asset_triggered"):
        counted = count_window(run_type)
        assert (set(counted["alarms"]), counted["since_alarms"]) == (both, run_type == "asset_triggered"), run_type


def test_harm_that_only_an_alarm_shows_degrades_the_performance(tide):
    live(tide, happen(LAUNCH, END), LAUNCH, END)
    harm = live_alarm("loss", kind="harm", since=LAUNCH, opened_at=END)
    old = live_alarm("loss", kind="audit", since=LAUNCH, opened_at=END, version=7)
    open_alarms(tide.store, harm, old)
    config = tide_config()
    window = loop.resolve_window(config, start=LAUNCH, end=END, now=END)
    calm = loop.count_window(tide, config, window)
    alarmed = loop.count_window(tide, config, window, alarms=[harm.alarm_id, old.alarm_id, "never opened"])
    statuses = [loop.check_performance(tide, config, counted).status for counted in (calm, alarmed)]
    assert statuses[0] != statuses[1] == "degraded"
    tide.store.live.judge("tide", {harm.alarm_id: "confirmed"}, "another decision")
    assert loop.check_performance(tide, config, alarmed).status == statuses[0]
