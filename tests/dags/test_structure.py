from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from keel.monitoring.check_times import GRACE
from tests.support.airflow.dag_bag import parse, parse_dag
from tests.support.paths import PROJECT

MODEL = PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml"
NOTIFY_AND_RECORD = {
    "compose_message": {"send_email", "record"},
    "send_email": {"record"},
    "record": set(),
}
NOTIFY_AND_CHECK_AGAIN = {**NOTIFY_AND_RECORD, "record": {"check_again"}, "check_again": set()}
RETRAIN_AND_COMPARE = {
    "retrain": {"compare"},
    "compare": {"promote", "keep_champion"},
    "promote": {"compose_message"},
    "keep_champion": {"compose_message"},
}
STAGE_AND_COMPARE = {
    "retrain": {"compare"},
    "compare": {"stage", "keep_champion"},
    "stage": {"start_promotion", "compose_message"},
    "start_promotion": {"compose_message"},
    "keep_champion": {"compose_message"},
}
CHECK = {
    "count_window": {"check_data_quality", "check_data_drift", "check_performance"},
    "check_data_quality": {"decide"},
    "check_data_drift": {"decide"},
    "check_performance": {"decide"},
    "all_clear": {"compose_message"},
    "raise_alert": {"compose_message"},
    "quarantine": {"compose_message"},
}


def edges(dag):
    return {task.task_id: task.downstream_task_ids for task in dag.tasks}


def write_model(folder: Path, name: str, **changes) -> None:
    content = {**yaml.safe_load(MODEL.read_text()), "model": name, **changes}
    (folder / name).mkdir(parents=True)
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / name / "model.yaml").write_text(yaml.safe_dump(kept))


def test_edges_of_the_drift_check():
    assert edges(parse_dag("tide.drift_check")) == {
        **CHECK,
        "decide": {"all_clear", "raise_alert", "quarantine", "retrain"},
        **RETRAIN_AND_COMPARE,
        **NOTIFY_AND_CHECK_AGAIN,
    }


def test_drift_check_with_live_off_can_still_start_a_check_of_the_alarms_that_are_open(monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__LIVE", "null")
    assert edges(parse_dag("tide.drift_check"))["record"] == {"check_again"}


def test_edges_of_the_retraining():
    assert edges(parse_dag("tide.retrain")) == {
        "request_retrain": {"retrain"},
        **RETRAIN_AND_COMPARE,
        **NOTIFY_AND_RECORD,
    }


def test_edges_with_required_approval(monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    dags = parse().dags

    assert edges(dags["tide.drift_check"]) == {
        **CHECK,
        "decide": {"all_clear", "raise_alert", "quarantine", "retrain"},
        **STAGE_AND_COMPARE,
        **NOTIFY_AND_CHECK_AGAIN,
    }
    assert edges(dags["tide.retrain"]) == {
        "request_retrain": {"retrain"},
        **STAGE_AND_COMPARE,
        **NOTIFY_AND_RECORD,
    }
    assert edges(dags["tide.promote"]) == {
        "request_promotion": {"compare"},
        "compare": {"approve", "keep_champion"},
        "approve": {"promote", "compose_message"},
        "promote": {"compose_message"},
        "keep_champion": {"compose_message"},
        **NOTIFY_AND_RECORD,
    }


def test_edges_of_the_promotion_without_approval():
    assert edges(parse_dag("tide.promote")) == {
        "request_promotion": {"compare"},
        "compare": {"promote", "keep_champion"},
        "promote": {"compose_message"},
        "keep_champion": {"compose_message"},
        **NOTIFY_AND_RECORD,
    }


def test_edges_of_the_rollback():
    assert edges(parse_dag("tide.rollback")) == {
        "request_rollback": {"rollback"},
        "rollback": {"compose_message"},
        **NOTIFY_AND_RECORD,
    }


def test_edges_of_the_deployment_watch():
    assert edges(parse_dag("tide.watch_deployment")) == {
        "reconcile": {"watch"},
        "watch": {"no_action", "raise_alert", "rollback", "confirm", "promote", "end_experiment"},
        "promote": {"compose_message"},
        "end_experiment": {"compose_message"},
        "no_action": set(),
        "raise_alert": {"compose_message"},
        "rollback": {"compose_message"},
        "confirm": {"compose_message"},
        **NOTIFY_AND_RECORD,
    }


def test_edges_of_the_deployment_watch_with_required_approval(monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")

    found = edges(parse_dag("tide.watch_deployment"))

    assert found["watch"] == {"no_action", "raise_alert", "rollback", "confirm", "stage", "end_experiment"}
    assert (found["stage"], found["start_promotion"]) == ({"start_promotion", "compose_message"}, set())


def test_edges_of_the_experiment():
    assert edges(parse_dag("tide.experiment")) == {"start_or_stop": {"compose_message"}, **NOTIFY_AND_RECORD}


def test_each_channel_of_the_routes_has_a_task(monkeypatch):
    routes = [
        {"channel": "pagerduty", "to": ["on_call"], "severity": "error"},
        {"channel": "teams", "to": ["harbour_card"]},
        {"channel": "apprise", "to": "harbour_phone"},
        {"channel": "email", "to": "lead@example.com"},
        {"channel": "slack", "to": "#harbour"},
    ]
    monkeypatch.setenv("KEEL__TIDE__ALERTS__ROUTES", json.dumps(routes))

    found = edges(parse_dag("tide.rollback"))

    sends = {"send_email", "post_to_slack", "post_to_teams", "page", "send_by_apprise"}
    assert found["compose_message"] == {*sends, "record"}
    assert all(found[task_id] == {"record"} for task_id in sends)


def test_model_without_recipients_writes_its_messages_into_the_outbox(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy", alerts=None)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    found = edges(parse_dag("buoy.rollback"))

    assert found["compose_message"] == {"write_to_outbox", "record"}


def test_edges_of_the_alerts():
    assert edges(parse_dag("keel.alerts")) == {
        "find_overdue": {"flush_digests"},
        "flush_digests": {"send_due"},
        "send_due": set(),
    }


def test_check_with_a_schedule_has_a_deadline_that_looks_whether_it_is_overdue(tmp_path, monkeypatch):
    deadline = parse_dag("tide.drift_check").deadline[0]

    assert (deadline.interval, deadline.reference.reference_name) == (GRACE, "DagRunQueuedAtDeadline")
    assert (deadline.callback.path, deadline.callback.kwargs) == (
        "keel_airflow.overdue.look_for_overdue",
        {"model": "tide"},
    )
    write_model(tmp_path, "buoy", check={"schedule": None})
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))
    assert not parse_dag("buoy.drift_check").deadline


def test_edges_of_the_maintenance():
    assert edges(parse_dag("keel.maintenance")) == {
        "verify_ledger": {"reconcile", "expire_rows", "expire_reports", "compact_store"},
        "reconcile": {"notify_findings", "prune_versions"},
        "notify_findings": {"compact_store"},
        "prune_versions": {"compact_store"},
        "expire_rows": {"compact_store"},
        "expire_reports": {"compact_store"},
        "compact_store": {"verify_store"},
        "verify_store": set(),
    }


def test_approval_waits_for_its_timeout_and_the_run_for_longer(monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL_TIMEOUT", "3d")

    dag = parse_dag("tide.promote")

    approve = dag.get_task("approve")
    assert (approve.response_timeout, approve.defaults) == (timedelta(days=3), ["Reject"])
    assert approve.execution_timeout == timedelta(minutes=30)
    assert dag.dagrun_timeout > timedelta(days=3)


@pytest.mark.parametrize(
    ("manager", "users"),
    [
        ("airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager", ["alice"]),
        ("airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager", []),
    ],
)
def test_approval_assigns_users_with_the_simple_auth_manager_only(monkeypatch, manager, users):
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", manager)
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVERS", "[alice]")

    approve = parse_dag("tide.promote").get_task("approve")

    assert approve.assigned_users == [{"id": user, "name": user} for user in users]


def test_model_without_retrain_has_no_dags_for_challengers(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy", retrain=None)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    dags = parse().dags

    kinds = ("benchmark", "drift_check", "rollback", "watch_deployment")
    assert set(dags) == {"keel.alerts", "keel.maintenance", "keel.test_message", *(f"buoy.{kind}" for kind in kinds)}
    assert edges(dags["buoy.drift_check"]) == {
        **CHECK,
        "decide": {"all_clear", "raise_alert", "quarantine"},
        **NOTIFY_AND_CHECK_AGAIN,
    }


@pytest.mark.parametrize("approval", ["auto", "required"])
def test_branches_are_the_next_tasks(monkeypatch, approval):
    from keel_airflow.operators.base import BranchStepOperator

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", approval)
    for dag in parse().dags.values():
        for task in dag.tasks:
            if isinstance(task, BranchStepOperator):
                roots = {name: {name} for name in dag.task_ids}
                roots |= {name: {t.task_id for t in group.roots} for name, group in dag.task_group_dict.items()}
                followed = set().union(*(roots[target] for target in task.branches.values()))
                assert followed == task.downstream_task_ids


def test_joins_wait_for_all_branches_and_pass_no_failure():
    for dag in parse().dags.values():
        for task in dag.tasks:
            joins = task.task_id in {"compose_message", "record"}
            follows = "all_done_setup_success" if task.is_teardown else "all_success"
            assert task.trigger_rule == ("none_failed_min_one_success" if joins else follows)
            assert not task.is_teardown or task.task_id == "compact_store"


def test_drift_check_runs_by_schedule_and_on_an_alarm():
    dag = parse_dag("tide.drift_check")

    timetable = dag.timetable.timetable
    assert (type(timetable).__name__, timetable.expression) == ("CronDataIntervalTimetable", "0 */6 * * *")
    assert [asset.uri for asset in dag.timetable.asset_condition.objects] == ["keel://tide/alarm"]


def test_drift_check_without_a_schedule_runs_on_an_alarm(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy", check={"schedule": None})
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    dag = parse_dag("buoy.drift_check")

    assert type(dag.timetable).__name__ == "AssetTriggeredTimetable"
    assert [asset.uri for asset in dag.timetable.asset_condition.objects] == ["keel://buoy/alarm"]
    assert "Runs at no fixed time" in dag.doc_md


def test_live_monitors_watch_the_alarm_of_their_model():
    [asset] = parse_dag("tide.drift_check").timetable.asset_condition.objects

    [watcher] = asset.watchers
    assert watcher.name == "tide.live"
    assert watcher.trigger.serialize() == ("keel_airflow.triggers.LiveDriftTrigger", {"model": "tide"})


def test_model_without_live_monitors_has_an_alarm_that_nothing_watches(monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__LIVE", "null")

    [asset] = parse_dag("tide.drift_check").timetable.asset_condition.objects

    assert (asset.uri, asset.watchers) == ("keel://tide/alarm", [])


def test_deployment_watch_runs_by_schedule():
    timetable = parse_dag("tide.watch_deployment").timetable

    assert (type(timetable).__name__, timetable.expression) == ("CronDataIntervalTimetable", "15 * * * *")


def test_deployment_watch_without_a_schedule_runs_by_hand(monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MONITOR_SCHEDULE", "null")

    dag = parse_dag("tide.watch_deployment")

    assert type(dag.timetable).__name__ == "NullTimetable"
    assert "Runs at no fixed time" in dag.doc_md


@pytest.mark.parametrize(
    ("dag_id", "variable", "default"),
    [
        ("keel.maintenance", "KEEL_MAINTENANCE_SCHEDULE", "0 3 * * *"),
        ("keel.alerts", "KEEL_ALERTS_SCHEDULE", "* * * * *"),
    ],
)
def test_schedule_of_a_dag_of_no_model_is_that_of_the_environment(monkeypatch, dag_id, variable, default):
    assert parse_dag(dag_id).timetable.expression == default
    monkeypatch.setenv(variable, "30 4 * * 1")
    assert parse_dag(dag_id).timetable.expression == "30 4 * * 1"
    monkeypatch.setenv(variable, "null")
    assert type(parse_dag(dag_id).timetable).__name__ == "NullTimetable"
    monkeypatch.setenv(variable, "every night")
    [trace] = parse().import_errors.values()
    assert f"environment {variable}: 'every night' must be a cron expression" in trace


def test_production_asset_is_updated_by_changes_of_production_only():
    changes = {
        "tide.drift_check": "promote",
        "tide.promote": "promote",
        "tide.retrain": "promote",
        "tide.rollback": "rollback",
        "tide.watch_deployment": "rollback promote",
    }
    for dag_id, dag in parse().dags.items():
        outlets = {task.task_id: [asset.uri for asset in task.outlets] for task in dag.tasks if task.outlets}
        assert outlets == {task_id: ["keel://tide/production"] for task_id in changes.get(dag_id, "").split()}


@pytest.mark.parametrize(
    ("kind", "params", "fault"),
    [
        ("drift_check", {"start": 5}, "start"),
        ("drift_check", {"overrides": "drift.alpha=1"}, "overrides"),
        ("drift_check", {"end": ["now"]}, "end"),
        ("promote", {"version": "staging"}, "version"),
        ("promote", {"version": 0}, "version"),
        ("promote", {"force": "yes"}, "force"),
        ("rollback", {"reason": ""}, "reason"),
        ("watch_deployment", {"end": 5}, "end"),
    ],
)
def test_params_of_a_wrong_type_are_refused(kind, params, fault):
    from airflow.sdk.exceptions import ParamValidationError

    dag = parse_dag(f"tide.{kind}")
    for name, value in params.items():
        with pytest.raises(ParamValidationError, match=fault):
            dag.params[name] = value


def test_broken_model_is_an_import_error_and_others_keep_their_dags(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy")
    write_model(tmp_path, "mast", drfit={"alpha": 0.1})
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    bag = parse()

    assert {dag_id.split(".")[0] for dag_id in bag.dags} == {"buoy", "keel"}
    [(file, trace)] = bag.import_errors.items()
    assert Path(file).name == "model_configuration.py"
    assert f"{tmp_path / 'mast' / 'model.yaml'}: drfit: unknown key; did you mean 'drift'?" in trace
