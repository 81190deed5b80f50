from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.dags.parsing import parse, parse_dag

MODEL = Path(__file__).parent / "models" / "tide" / "model.yaml"
TELL_AND_RECORD = {
    "compose_message": {"send_email", "post_to_slack", "write_to_outbox", "record"},
    "send_email": {"record"},
    "post_to_slack": {"record"},
    "write_to_outbox": {"record"},
    "record": set(),
}
RETRAIN_AND_COMPARE = {
    "retrain": {"compare"},
    "compare": {"promote", "keep_champion"},
    "promote": {"compose_message"},
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
        **TELL_AND_RECORD,
    }


def test_edges_of_the_retraining():
    assert edges(parse_dag("tide.retrain")) == {
        "request_retrain": {"retrain"},
        **RETRAIN_AND_COMPARE,
        **TELL_AND_RECORD,
    }


def test_a_model_without_retrain_is_only_watched(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy", retrain=None)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    dags = parse().dags

    assert set(dags) == {"buoy.drift_check"}
    assert edges(dags["buoy.drift_check"]) == {
        **CHECK,
        "decide": {"all_clear", "raise_alert", "quarantine"},
        **TELL_AND_RECORD,
    }


def test_branches_lead_to_tasks_that_exist():
    from keel_airflow.operators.base import KeelBranchOperator

    for dag in parse().dags.values():
        for task in dag.tasks:
            if isinstance(task, KeelBranchOperator):
                roots = {name: {name} for name in dag.task_ids}
                roots |= {name: {t.task_id for t in group.roots} for name, group in dag.task_group_dict.items()}
                followed = set().union(*(roots[target] for target in task.branches.values()))
                assert followed == task.downstream_task_ids


def test_joins_wait_for_all_and_pass_no_failure():
    for dag in parse().dags.values():
        rules = {task.task_id: task.trigger_rule for task in dag.tasks}
        joins = {"compose_message": "none_failed_min_one_success", "record": "none_failed_min_one_success"}
        assert rules == {**dict.fromkeys(rules, "all_success"), **joins}


def test_the_drift_check_runs_by_the_clock_or_on_an_alarm():
    dag = parse_dag("tide.drift_check")

    timetable = dag.timetable.timetable
    assert (type(timetable).__name__, timetable.expression) == ("CronDataIntervalTimetable", "0 */6 * * *")
    assert [asset.uri for asset in dag.timetable.asset_condition.objects] == ["keel://tide/alarm"]


def test_without_a_schedule_only_an_alarm_starts_the_drift_check(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy", check={"schedule": None})
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    dag = parse_dag("buoy.drift_check")

    assert type(dag.timetable).__name__ == "AssetTriggeredTimetable"
    assert [asset.uri for asset in dag.timetable.asset_condition.objects] == ["keel://buoy/alarm"]
    assert "Runs at no fixed time" in dag.doc_md


def test_a_promotion_updates_the_production_asset_and_nothing_else_does():
    for dag in parse().dags.values():
        outlets = {task.task_id: [asset.uri for asset in task.outlets] for task in dag.tasks if task.outlets}
        assert outlets == {"promote": ["keel://tide/production"]}


@pytest.mark.parametrize(
    ("params", "fault"),
    [({"start": 5}, "start"), ({"overrides": "drift.alpha=1"}, "overrides"), ({"end": ["now"]}, "end")],
)
def test_params_are_refused_by_their_schema(params, fault):
    from airflow.sdk.exceptions import ParamValidationError

    dag = parse_dag("tide.drift_check")
    for name, value in params.items():
        with pytest.raises(ParamValidationError, match=fault):
            dag.params[name] = value


def test_a_broken_model_shows_as_an_import_error_and_takes_no_other_model_away(tmp_path, monkeypatch):
    write_model(tmp_path, "buoy")
    write_model(tmp_path, "mast", drfit={"alpha": 0.1})
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path))

    bag = parse()

    assert set(bag.dags) == {"buoy.drift_check", "buoy.retrain"}
    [(file, trace)] = bag.import_errors.items()
    assert Path(file).name == "model_configuration.py"
    assert f"{tmp_path / 'mast' / 'model.yaml'}: drfit: unknown key; did you mean 'drift'?" in trace
