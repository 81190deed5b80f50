"""The parameters of a run: what is not valid is refused by the first task, and only the run's user reads about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from keel.window import ceil_hour
from tests.support.airflow.dag_bag import parse, parse_dag
from tests.support.airflow.dag_run import run
from tests.support.airflow.tide import DAY, HOUR, LAUNCH, happen, live

pytestmark = pytest.mark.usefixtures("airflow_db")

WINDOW = {"start": LAUNCH.isoformat(), "end": (LAUNCH + DAY).isoformat()}

LONG_ENOUGH = 3
"""Letters of a name that is still like itself when two of them change places."""


@pytest.fixture
def replaced(tide_promoted, open_copy):
    return open_copy(tide_promoted)


def refusals(dag, conf, **seen):
    """Return the errors with which the first tasks of a DAG refuse a run's configuration."""
    from airflow.sdk.exceptions import AirflowFailException

    params = {**dag.params.dump(), **conf, **seen}
    context = {"dag": dag, "dag_run": SimpleNamespace(conf=conf), "params": params}
    errors = []
    for task in dag.roots:
        with pytest.raises(AirflowFailException) as caught:
            task.pre_execute(context)
        errors.append(str(caught.value))
    return errors


def test_first_task_of_every_dag_refuses_an_unknown_parameter_and_names_the_nearest():
    dags = parse().dags
    assert len(dags) == 10
    for dag_id, dag in dags.items():
        names = list(dag.params) or ["reason"]
        for name in names:
            misspelt = name[:-2] + name[-1] + name[-2]
            [error] = refusals(dag, {misspelt: None})
            assert error.startswith(f"params.{misspelt}: {dag_id} has no such parameter")
            assert error.endswith(f"; valid: {', '.join(dag.params)}" if dag.params else "; it has none")
            assert not dag.params or len(name) < LONG_ENOUGH or f"did you mean {name!r}?" in error


def test_first_task_refuses_a_parameter_by_its_old_name_and_names_the_new_one():
    [error] = refusals(parse_dag("tide.experiment"), {"max_n": 5, "reason": "a test"})

    assert error == "params.max_n: renamed to max_outcomes in 0.2"


@pytest.mark.parametrize("time", ["yesterday", "2024-13-01", "2024-03-05T25:00:00Z"])
def test_first_task_refuses_a_text_that_is_no_time(time):
    for kind in ("drift_check", "retrain", "promote", "watch_deployment"):
        [error] = refusals(parse_dag(f"tide.{kind}"), {"end": time})
        assert error == f"params.end: {time!r} is not an ISO 8601 time such as 2013-05-01T00:00:00Z"


def test_first_task_refuses_an_end_in_the_future():
    soon = ceil_hour(datetime.now(UTC) + 2 * HOUR).isoformat()
    for kind in ("drift_check", "retrain", "promote", "watch_deployment"):
        [error] = refusals(parse_dag(f"tide.{kind}"), {"end": soon})
        assert error.startswith(f"params.end: {soon} is not over yet: ")


def test_first_task_refuses_parameters_that_airflow_is_configured_to_ignore():
    [error] = refusals(parse_dag("tide.rollback"), {"version": 1}, version=None)

    assert "params.version: ignored, because core.dag_run_conf_overrides_params is off" in error


def test_rollback_with_a_misspelt_version_takes_nothing_back_and_notifies_no_one(replaced):
    rows = len(list(ledger.entries(replaced.store, "tide")))

    done = run("tide.rollback", reason="the quay floods", verison=1)

    assert (done.state, done.states["request_rollback"], done.path) == ("failed", "failed", set())
    assert (
        "params.verison: tide.rollback has no such parameter; did you mean 'version'?"
        in (done.xcoms["request_rollback/error"])
    )
    assert deployments.read(replaced.store, "tide").production == 2
    assert len(list(ledger.entries(replaced.store, "tide"))) == rows
    assert replaced.store.decisions.latest("tide", action="rollback") is None
    assert not replaced.outbox.exists()


def test_maintenance_with_a_parameter_runs_nothing(tide):
    done = run("keel.maintenance", model="tide")

    assert (done.state, done.path) == ("failed", set())
    assert "params.model: keel.maintenance has no such parameter; it has none" in done.xcoms["verify_ledger/error"]


@pytest.mark.parametrize(
    ("kind", "params", "error"),
    [
        ("drift_check", {"overrides": {"drift.alhpa": 0.01}}, "did you mean 'alpha'"),
        ("drift_check", {"start": WINDOW["end"], "end": WINDOW["start"]}, "is not before end"),
        ("retrain", {"start": WINDOW["end"], "end": WINDOW["start"]}, "is not before end"),
        ("promote", {"version": 9}, "version 9"),
        ("promote", {"experiment": "none"}, "no experiment"),
        ("rollback", {"version": 9}, "version 9 is not known to Keel"),
        ("benchmark", {"versions": [9]}, "no version 9"),
        ("experiment", {"challenger": 9}, "version 9"),
        ("experiment", {"challenger": 1, "max_duration": "long"}, "max_duration"),
    ],
)
def test_run_with_an_invalid_value_fails_in_its_first_task_and_notifies_no_one(replaced, kind, params, error):
    [first] = parse_dag(f"tide.{kind}").roots

    done = run(f"tide.{kind}", **params)

    assert (done.state, done.states[first.task_id], done.path) == ("failed", "failed", set())
    assert done.xcoms[f"{first.task_id}/error"].startswith("InvalidParameter: ")
    assert error in done.xcoms[f"{first.task_id}/error"]
    assert not replaced.outbox.exists()


def test_rollback_without_any_version_to_return_to_notifies_people(tide):
    done = run("tide.rollback", reason="the quay floods")

    assert (done.state, done.path) == ("failed", set())
    [mail] = tide.outbox.glob("*.eml")
    assert "NothingToRollBackTo" in mail.read_text()


@pytest.mark.parametrize(
    ("run_type", "refused", "notified"),
    [
        ("manual", True, 0),
        ("manual", False, 1),
        ("operator_triggered", True, 1),
        ("scheduled", True, 1),
        ("asset_triggered", True, 1),
    ],
)
def test_failure_of_a_run_is_silent_only_where_its_user_gave_the_parameters(home, run_type, refused, notified):
    from keel_airflow.notifications import KeelNotifier

    pushed = {"error": "InvalidParameter: params.verison", "refused": refused}
    ti = SimpleNamespace(
        task_id="count_window",
        log_url="log",
        task=parse_dag("tide.drift_check").get_task("count_window"),
        xcom_pull=lambda task_ids, key=None: pushed.get(key),
    )

    KeelNotifier(model="tide")(
        {
            "dag": parse_dag("tide.drift_check"),
            "run_id": "run-1",
            "dag_run": SimpleNamespace(run_type=run_type),
            "ti": ti,
            "reason": "task_failure",
        }
    )

    assert len(list((home / "outbox").glob("*.eml"))) == notified


def test_run_by_hand_with_a_past_logical_date_checks_until_now(tide):
    """Airflow's dialog fills a logical date, and the run gets the schedule's interval before it."""
    live(tide, happen(LAUNCH, LAUNCH + DAY), LAUNCH, LAUNCH + DAY)
    now, week_ago = LAUNCH + DAY, LAUNCH + DAY - timedelta(days=7)

    done = run("tide.drift_check", logical_date=week_ago, run_after=now - HOUR / 2)

    assert done.states["count_window"] == "success"
    assert done.xcoms["count_window/return_value"]["window"]["end"] == now.isoformat()
