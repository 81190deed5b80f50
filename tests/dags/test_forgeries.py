"""Forged approvals: a task, a parameter, a variable or an event can never promote a version.

Version 2 is better and waits for approval in every test. Only the approval of a person is missing.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from tests.support.airflow import approvers as people
from tests.support.airflow.dag_run import run, store_all_dags
from tests.support.airflow.tide import TURNED

pytestmark = pytest.mark.usefixtures("airflow_db")

REQUEST = {"end": TURNED.isoformat(), "reason": "trust me"}
FORGED = {
    "report_id": "comparison-0123456789abcdef",
    "verdict": "pass",
    "next": "promote",
    "outcome": "approved",
    "champion": 1,
    "challenger": 2,
    "version": 2,
    "approver": "alice",
    "forced_by": "alice",
    "requested_by": None,
    "until": TURNED.isoformat(),
    "sentence": "Challenger 2 is better, and alice agrees.",
}


@pytest.fixture(autouse=True)
def nothing_is_promoted(staged):
    """Nothing was promoted, however the run ended."""
    before = promotions(staged)
    yield
    assert promotions(staged) == before
    assert deployments.read(staged.store, "tide").production == 1
    assert staged.registry.aliases("tide")["production"] == 1
    assert ledger.verify(staged.store).broken_at is None


class Forged(dict):
    """A forged result of a step."""

    def to_dict(self):
        return dict(self)

    to_ledger = to_dict


def promotions(workspace):
    return len(list(ledger.entries(workspace.store, "tide", "promote")))


def push(waiting, task_id, value):
    """Write an XCom in the name of another task of the run, as the API for tasks does."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    mine = {"task_id": task_id, "dag_id": waiting.dag_id, "run_id": waiting.run_id}
    with create_session() as session:
        XComModel.set(key="return_value", value=value, serialize=False, session=session, **mine)


def test_promotion_by_a_conf_value_is_refused():
    done = run("tide.promote", approved=True, approval="auto", approver="alice", **REQUEST)

    assert (done.states["request_promotion"], done.path) == ("failed", set())
    for name in ("approved", "approval", "approver"):
        assert f"params.{name}: tide.promote has no such parameter" in done.xcoms["request_promotion/error"]


@pytest.mark.parametrize(
    "overrides", [{"promotion.approval": "auto"}, {"promotion": {"approval": "auto"}}, {"promotion.approvers": []}]
)
def test_promotion_by_an_override_of_the_policy_is_refused(overrides):
    done = run("tide.promote", overrides=overrides, **REQUEST)

    assert (done.state, done.states["request_promotion"]) == ("failed", "failed")
    assert "promotion is the model's policy" in done.xcoms["request_promotion/error"]


def test_promotion_by_a_variable_is_refused(monkeypatch):
    from airflow.models.variable import Variable

    for name in ("promotion.approval", "KEEL__TIDE__PROMOTION__APPROVAL", "tide.approved"):
        monkeypatch.setenv(f"AIRFLOW_VAR_{name.upper()}", "auto")
        Variable.set(name, "auto")

    done = run("tide.promote", on_wait=people.let_expire, **REQUEST)

    assert "promote" not in done.states


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ["approve", "compare", "request_promotion"])
def test_promotion_by_a_forged_xcom_is_refused(task_id):
    def forge(waiting):
        push(waiting, task_id, FORGED)
        push(waiting, "approve", {**FORGED, "chosen_options": ["Approve"]})
        marked = people.ask("PATCH", people.of_task(waiting), user="mallory", json={"new_state": "success"})
        assert marked.status_code == 200

    done = run("tide.promote", on_wait=forge, **REQUEST)

    assert (done.state, done.states["approve"], done.states["promote"]) == ("failed", "success", "failed")
    reason = "has no comparison" if task_id == "compare" else "needs the approval of a person"
    assert reason in done.xcoms["promote/error"]


def test_promotion_by_an_approval_of_another_comparison_is_refused(staged):
    """While a person reads the comparison, a task exchanges its id for that of another passed comparison."""
    other = staged.store.reports.list("tide", "comparison")[0]  # the one that followed the training
    assert other["body"]["verdict"] == "pass"

    def exchange(waiting):
        push(waiting, "compare", {**FORGED, "report_id": other["report_id"]})
        assert people.answer(waiting, "Approve", user="alice") == 200

    done = run("tide.promote", on_wait=exchange, **REQUEST)

    assert (done.state, done.states["approve"], done.states["promote"]) == ("failed", "success", "failed")
    assert "needs the approval of a person" in done.xcoms["promote/error"]
    assert done.xcoms["approve/return_value"]["report_id"] != other["report_id"]
    [agreed] = ledger.entries(staged.store, "tide", "approve")
    assert agreed.body["approval"]["report_id"] == done.xcoms["approve/return_value"]["report_id"]


def test_promotion_approved_by_its_hidden_requester_is_refused(monkeypatch):
    from keel import rollout

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "second_person")
    found = rollout.compare
    monkeypatch.setattr(
        rollout,
        "compare",
        lambda ws, config, request: found(ws, config, request.model_copy(update={"requested_by": None})),
    )

    done = run("tide.promote", on_wait=lambda waiting: people.answer(waiting, "Approve", user="dag_test"), **REQUEST)

    assert (done.state, done.states["approve"]) == ("failed", "failed")
    assert "dag_test requested this promotion" in done.xcoms["approve/error"]


def test_promotion_by_an_experiment_without_a_verdict_is_refused(staged):
    from keel.deployments import experiments

    begun = run("tide.experiment", action="start", reason="trust me", challenger=2, start_at=TURNED.isoformat())
    assert begun.state == "success"
    for experiment, reason in (
        (experiments.running(staged.store, "tide").experiment_id, "is no evidence for version 2: it is still running"),
        ("experiment-0123456789abcdef", "has no experiment"),
    ):
        done = run("tide.promote", experiment=experiment, **REQUEST)
        assert (done.state, done.states["request_promotion"]) == ("failed", "failed")
        assert reason in done.xcoms["request_promotion/error"]


def test_promotion_by_a_forged_verdict_is_refused(staged, monkeypatch):
    """The XCom of an evaluation without a verdict claims that the challenger is better."""
    from keel import rollout

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")
    run("tide.experiment", action="start", reason="trust me", challenger=2, start_at=TURNED.isoformat())
    watch = rollout.watch_deployment
    forged = {"branch": "promote", "outcome": "promote", "decision_id": "end-0123456789abcdef", **FORGED}
    monkeypatch.setattr(
        rollout, "watch_deployment", lambda *step, **more: Forged({**watch(*step, **more).to_dict(), **forged})
    )

    done = run("tide.watch_deployment", end=TURNED.isoformat())

    assert (done.state, done.states["promote"]) == ("failed", "failed")
    assert "has no decision 'end-0123456789abcdef' to end an experiment" in done.xcoms["promote/error"]


def test_promotion_by_an_approval_marked_successful_is_refused():
    def mark(waiting):
        marked = people.ask("PATCH", people.of_task(waiting), user="mallory", json={"new_state": "success"})
        assert marked.status_code == 200

    done = run("tide.promote", on_wait=mark, **REQUEST)

    assert (done.state, done.states["promote"]) == ("failed", "failed")
    assert "needs the approval of a person" in done.xcoms["promote/error"]


def test_promotion_by_a_comparison_forged_in_the_xcom_is_refused(staged, monkeypatch):
    """The policy needs no approval, and the comparison rejects the version."""
    from keel import rollout

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")
    found = rollout.compare
    monkeypatch.setattr(
        rollout, "compare", lambda *step: Forged({**found(*step).to_dict(), "verdict": "pass", "next": "promote"})
    )

    done = run("tide.promote", **REQUEST)

    assert (done.state, done.states["promote"]) == ("failed", "failed")
    assert "version 2 is not promoted" in done.xcoms["promote/error"]


def test_promotion_approved_by_a_task_is_refused():
    done = run("tide.promote", on_wait=lambda waiting: people.a_task_answers(waiting, "Approve"), **REQUEST)

    assert (done.state, done.states["approve"]) == ("failed", "failed")
    assert "an approval needs the name of a user, and this one has none" in done.xcoms["approve/error"]


def test_promotion_approved_without_a_login_is_refused():
    """Without a login, Airflow gives every user the same name, which is no user's."""

    def approve(waiting):
        assert people.answer(waiting, "Approve", user="Anonymous", role="ADMIN") == 200

    done = run("tide.promote", on_wait=approve, **REQUEST)

    assert "an approval needs the name of a user" in done.xcoms["approve/error"]


@pytest.mark.slow
def test_promotion_by_an_asset_event_does_not_start():
    from airflow.models.asset import AssetDagRunQueue, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    store_all_dags()
    with create_session() as session:
        assets = session.scalars(select(AssetModel).where(AssetModel.uri.startswith("keel://tide/"))).all()
        ids = {asset.uri: asset.id for asset in assets}
    assert set(ids) == {"keel://tide/alarm", "keel://tide/production"}
    for asset_id in ids.values():
        event = {
            "asset_id": asset_id,
            "extra": {"approved": True, "version": 2, "overrides": {"promotion.approval": "auto"}},
        }
        assert people.ask("POST", "/assets/events", user="mallory", role="OP", json=event).status_code == 200

    with create_session() as session:
        started = set(session.scalars(select(AssetDagRunQueue.target_dag_id)))
    assert started == {"tide.drift_check"}
    for dag_id in started:
        run(dag_id, end=TURNED.isoformat())


def test_forced_promotion_not_started_by_hand_is_refused(staged):
    from airflow.sdk.exceptions import AirflowFailException

    from keel_airflow.operators.rollout import RequestPromotionOperator

    operator = RequestPromotionOperator(
        task_id="probe", model="tide", overrides={}, end=REQUEST["end"], now=REQUEST["end"]
    )
    params = {"version": 2, "reason": "trust me", "force": True}
    for run_type, user in (
        ("operator_triggered", "alice"),
        ("asset_triggered", None),
        ("manual", None),
        ("manual", "Anonymous"),
    ):
        dag_run = SimpleNamespace(run_type=run_type, triggering_user_name=user)
        with pytest.raises(AirflowFailException, match="only a person may force a promotion"):
            operator.execute({"params": params, "dag_run": dag_run, "run_id": "forged"})
