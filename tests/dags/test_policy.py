from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.support.airflow.dag_bag import parse, parse_dag

KINDS = ("benchmark", "drift_check", "experiment", "promote", "retrain", "rollback", "watch_deployment")
DAGS = ("keel.alerts", "keel.maintenance", "keel.test_message", *(f"tide.{kind}" for kind in KINDS))


def test_every_dag_keeps_the_policy():
    from keel_airflow.policy import violations

    bag = parse()

    assert bag.import_errors == {}
    assert {dag_id: violations(dag) for dag_id, dag in bag.dags.items()} == dict.fromkeys(DAGS, [])


def test_every_dag_keeps_the_policy_with_required_approval(monkeypatch):
    from keel_airflow.policy import violations

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL_TIMEOUT", "30d")

    assert {dag_id: violations(dag) for dag_id, dag in parse().dags.items()} == dict.fromkeys(DAGS, [])


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        ({"response_timeout": None}, ["approve: waits for a person without a timeout"]),
        ({"response_timeout": timedelta(days=2)}, ["dagrun_timeout ends before the wait for a person does"]),
    ],
)
def test_violations_of_a_wait_for_approval_are_found(monkeypatch, change, sentences):
    from keel_airflow.policy import violations

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    dag = parse_dag("tide.promote")
    for name, value in change.items():
        setattr(dag.get_task("approve"), name, value)

    assert violations(dag) == sentences


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"start_date": None}, "start_date is missing or naive"),
        ({"start_date": datetime(2024, 1, 1)}, "start_date is missing or naive"),  # noqa: DTZ001
        ({"catchup": True}, "catchup is on"),
        ({"max_active_runs": 16}, "max_active_runs is 16, not 1"),
        ({"dagrun_timeout": None}, "dagrun_timeout is missing"),
        ({"on_failure_callback": print}, "on_failure_callback notifies no person"),
        ({"tags": {"keel", "misc"}}, "tag 'misc' is not in the vocabulary"),
        ({"tags": set()}, "the tag 'keel' is missing"),
        ({"doc_md": "## Purpose\n## Inputs\n## Outputs"}, "doc_md has no '## When it fails'"),
    ],
)
def test_violations_of_a_dag_are_found(change, sentence):
    from keel_airflow.policy import violations

    dag = parse_dag("tide.drift_check")
    for name, value in change.items():
        object.__setattr__(dag, name, value)

    assert violations(dag) == [sentence]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"owner": "airflow"}, "retrain: has no owner"),
        ({"execution_timeout": None}, "retrain: execution_timeout is missing"),
        ({"retries": 0}, "retrain: never retries"),
        ({"retry_exponential_backoff": 0}, "retrain: retries without backoff"),
        ({"on_failure_callback": []}, "retrain: its error is not pushed for the failure message"),
        ({"pool": "default_pool"}, "retrain: trains outside the pool keel_training"),
    ],
)
def test_violations_of_a_task_are_found(change, sentence):
    from keel_airflow.policy import violations

    dag = parse_dag("tide.retrain")
    for name, value in change.items():
        setattr(dag.get_task("retrain"), name, value)

    assert violations(dag) == [sentence]


def test_dag_whose_first_task_checks_no_parameters_violates_the_policy():
    from airflow.providers.standard.operators.empty import EmptyOperator

    from keel_airflow.policy import violations

    dag = parse_dag("tide.retrain")
    with dag:
        EmptyOperator(task_id="begin") >> dag.get_task("request_retrain")

    assert violations(dag) == ["begin: begins the DAG and does not check the run's parameters"]


def test_every_dag_names_its_owner_and_its_people():
    for dag_id, dag in parse().dags.items():
        if dag_id in ("keel.alerts", "keel.maintenance", "keel.test_message"):
            assert {task.owner for task in dag.tasks} == {"ml-platform"}
            continue
        assert {task.owner for task in dag.tasks} == {"harbour-team"}
        assert "harbour@example.com" in dag.doc_md
        assert "https://example.com/tide" in dag.doc_md


def test_every_task_retries_within_the_runs_timeout():
    for dag in parse().dags.values():
        for task in dag.tasks:
            assert (task.retries, task.retry_delay, task.retry_exponential_backoff) == (2, timedelta(seconds=30), 2)
            assert task.execution_timeout < dag.dagrun_timeout
