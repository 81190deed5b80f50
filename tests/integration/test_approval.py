"""Approvals on a real Airflow: logins and permissions, waiting, and forgeries.

Each policy is tested in ``tests/dags``. Here every part runs in its own process. The tests share one stack, and each
needs those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.airflow.approval_models import (
    POLICIES,
    USERS,
    Person,
    harbour,
    launch,
    mails,
    opened,
    wait_for,
    waiting,
)
from tests.support.airflow.tide import TURNED
from tests.support.alerts.canaries import TOKEN, found_in

if TYPE_CHECKING:
    from keel.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ASK = {"end": TURNED.isoformat(), "reason": "it knows the new tide"}
FORGED = {
    "verdict": "pass",
    "next": "promote",
    "outcome": "approved",
    "champion": 1,
    "challenger": 3,
    "version": 3,
    "approver": "bob",
    "approver_id": "bob",
    "forced_by": "bob",
    "chosen_options": ["Approve"],
    "responded_by_user": {"id": "bob", "name": "bob"},
    "until": TURNED.isoformat(),
}
MAINTENANCE = "keel.maintenance"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with harbour(tmp_path_factory.mktemp("approval")) as running:
        yield running


@pytest.fixture(scope="module")
def people(stack):
    wanted = [f"{name}.{dag}" for name in POLICIES for dag in ("promote", "rollback", "retrain", "watch_deployment")]
    with stack.api as admin:
        admin.wait_for_dags([MAINTENANCE], timeout=60, check=stack.check)
        admin.pause(MAINTENANCE)  # the scheduled run waits until the tests before it have run
        admin.wait_for_dags(["mallory", *wanted], timeout=60, check=stack.check)
    return {name: Person(stack, name) for name in USERS}


@pytest.fixture(scope="module")
def workspace(stack, people):
    from keel.config import load_models

    models = load_models(stack.home.parent / "models", {})
    with opened(stack) as workspace:
        for name, challengers in {"tide": 0, "ebb": 1, "spring": 1, "neap": 2}.items():
            launch(workspace, models[name], challengers=challengers)
        yield workspace


@pytest.fixture(scope="module")
def asked(workspace, people):
    """Alice's runs that wait for approval, started at the same time because most of their time is waiting."""
    alice = people["alice"]
    trained = alice.trigger("tide.retrain", ASK)
    return {
        "ebb": alice.trigger("ebb.promote", ASK),
        "spring": alice.trigger("spring.promote", ASK),
        "neap": alice.trigger("neap.promote", ASK),
        "tide": f"retrain__{trained}",
    }


def rows(workspace: Workspace, model: str, action: str) -> list:
    from keel.ledger import entries as ledger

    return list(ledger.entries(workspace.store, model, action))


def aliases(workspace: Workspace, model: str) -> dict[str, int]:
    """Return MLflow's aliases, after a check that they are those of the deployment and that the ledger is intact."""
    from keel import deployments
    from keel.ledger import entries as ledger

    assert ledger.verify(workspace.store).broken_at is None
    found = workspace.registry.aliases(model)
    assert found == {k: v for k, v in deployments.read(workspace.store, model).aliases.items() if v is not None}
    return found


def test_staged_version_waits_without_a_worker_and_is_promoted_when_approved(stack, workspace, people, asked):
    alice, bob, run_id = people["alice"], people["bob"], asked["tide"]
    task = waiting(stack, alice, "tide.promote", run_id)
    assert not psutil.pid_exists(task["pid"])
    assert aliases(workspace, "tide") == {"production": 1, "staging": 2}
    assert "bob, vera" in alice.question("tide.promote", run_id)["body"].splitlines()[0]

    assert people["vera"].answer("tide.promote", run_id, "Approve") == 403  # an approver, but Airflow permits no answer
    assert alice.answer("tide.promote", run_id, "Approve") == 403  # may answer, but is no approver
    assert bob.answer("tide.promote", run_id, "Approve") == 200
    assert bob.answer("tide.promote", run_id, "Reject") == 409
    assert alice.finished("tide.promote", run_id) == "success"

    assert aliases(workspace, "tide") == {"production": 2, "previous": 1}
    [given] = rows(workspace, "tide", "approve")
    promoted = rows(workspace, "tide", "promote")[-1]
    assert (given.actor, given.body["run_id"]) == ("bob", run_id)
    assert (promoted.actor, promoted.body["run_id"]) == ("alice", run_id)
    assert (promoted.body["approval"]["approver"], promoted.body["approval"]["requesters"]) == ("bob", ["alice"])
    assert "[Keel] tide: version 2 was promoted" in mails(stack.home, about="tide")


def test_promotion_without_an_answer_is_declined(stack, workspace, people, asked):
    assert people["alice"].finished("ebb.promote", asked["ebb"]) == "success"

    assert aliases(workspace, "ebb") == {"production": 1}
    [row] = rows(workspace, "ebb", "decline")
    assert (row.actor, row.body["approval"]["approver"]) == ("airflow", None)
    assert row.body["approval"]["requesters"] == ["alice", "trainer"]
    messages = mails(stack.home, about="ebb")
    assert len(messages) == 2
    assert "[Keel] ebb: version 2 was declined" in messages
    assert asked["ebb"] in messages["[Keel] ebb: promote version 2?"]


def test_rollback_restores_the_previous_version_once(stack, workspace, people, asked):
    bob = people["bob"]
    assert bob.finished("tide.promote", asked["tide"]) == "success"

    first = bob.trigger("tide.rollback", {"reason": "the quay is wet"})
    assert bob.finished("tide.rollback", first) == "success"
    assert aliases(workspace, "tide") == {"production": 1}
    assert workspace.registry.resolve("tide", version=2).tags["keel.status"] == "quarantined"
    [row] = rows(workspace, "tide", "rollback")
    assert row.actor == "bob"
    assert row.body["evidence"]["sentence"].endswith("version 2 to version 1: the quay is wet")
    assert "[Keel] tide: production was rolled back to version 1" in mails(stack.home, about="tide")

    second = bob.trigger("tide.rollback", {"reason": "still wet"})
    assert bob.finished("tide.rollback", second) == "failed"
    assert aliases(workspace, "tide") == {"production": 1}
    messages = wait_for(lambda: mails(stack.home, about="rollback failed"))
    failure = messages["[Keel] tide: rollback failed"]
    assert "NothingToRollBackTo: tide: version 1 has no previous version" in failure

    # the version that was rolled back is no longer on probation, so there is nothing to evaluate or to report
    messages = mails(stack.home, about="tide")
    watched = bob.trigger("tide.watch_deployment")
    assert bob.finished("tide.watch_deployment", watched) == "success"
    ran = {
        task["task_id"] for task in bob.task_instances("tide.watch_deployment", watched) if task["state"] == "success"
    }
    assert (ran, mails(stack.home, about="tide")) == ({"reconcile", "watch", "no_action"}, messages)


def test_second_person_is_never_the_requester_whatever_the_run_claims(stack, workspace, people, asked):
    alice, bob, run_id = people["alice"], people["bob"], asked["spring"]
    waiting(stack, alice, "spring.promote", run_id)
    request = alice.xcom("spring.promote", run_id, "request_promotion")
    assert alice.overwrite("spring.promote", run_id, "request_promotion", {**request, "requested_by": "carol"}) == 200
    assert alice.clear("spring.promote", run_id, "compare") == 200
    wait_for(lambda: alice.task("spring.promote", run_id)["state"] != "awaiting_input")
    waiting(stack, alice, "spring.promote", run_id)

    assert alice.answer("spring.promote", run_id, "Approve") == 200
    assert alice.finished("spring.promote", run_id) == "failed"

    assert "alice requested this promotion" in alice.error("spring.promote", run_id, "approve")
    assert aliases(workspace, "spring") == {"production": 1, "staging": 2}
    assert rows(workspace, "spring", "approve") == []

    assert alice.clear("spring.promote", run_id, "approve") == 200
    waiting(stack, alice, "spring.promote", run_id)
    assert bob.answer("spring.promote", run_id, "Approve") == 200
    assert alice.finished("spring.promote", run_id) == "success"

    assert aliases(workspace, "spring") == {"production": 2, "previous": 1}
    approval = rows(workspace, "spring", "promote")[-1].body["approval"]
    assert (approval["approver"], approval["requesters"]) == ("bob", ["alice", "trainer"])


def test_forged_results_requests_and_events_promote_nothing(stack, workspace, people, asked):
    """Version 3 is better and waits for approval. Version 2 is better too, and no run requests it."""
    alice, bob, olga, run_id = people["alice"], people["bob"], people["olga"], asked["neap"]
    task = waiting(stack, alice, "neap.promote", run_id)
    assert task["rendered_fields"]["comparison"]["challenger"] == 3

    # a task of another DAG may write Variables, XComs and asset events, start runs, and answer its own requests only
    tried = {
        "answer": {"ti_id": task["id"]},
        "push": {"dag_id": "neap.promote", "run_id": run_id, "task_id": "approve", "value": FORGED},
        "variable": {"key": "KEEL__NEAP__PROMOTION__APPROVAL", "value": "auto"},
        "trigger": {"dag_id": "ebb.promote", "run_id": "forced", "conf": {**ASK, "version": 2, "force": True}},
    }
    mallory = alice.trigger("mallory", tried)

    # a user may write them too, by requests
    assert olga.ask("POST", "/variables", json={"key": "neap.promotion.approval", "value": "auto"}) == 201
    assets = olga.get("/api/v2/assets", uri_pattern="keel://neap/")["assets"]
    assert {asset["uri"] for asset in assets} == {"keel://neap/alarm", "keel://neap/production"}
    for asset in assets:
        extra = {"approved": True, "version": 3, "overrides": {"promotion.approval": "auto"}}
        assert olga.ask("POST", "/assets/events", json={"asset_id": asset["id"], "extra": extra}) == 200
    [check] = wait_for(lambda: alice.runs("neap.drift_check"))
    assert alice.finished("neap.drift_check", check["dag_run_id"]) == "success"

    assert alice.finished("mallory", mallory) == "success"
    came = alice.xcom("mallory", mallory, "forge")
    assert "Unhandled request" in came.pop("answer")
    assert came == {"push": "done", "variable": "done", "trigger": "done"}
    assert alice.finished("ebb.promote", "forced") == "failed"
    assert "only a person may force a promotion" in alice.error("ebb.promote", "forced", "request_promotion")
    assert aliases(workspace, "ebb") == {"production": 1}

    # the approval is of version 3; the run then claims that it was of the comparison of version 2
    assert alice.task("neap.promote", run_id)["state"] == "awaiting_input"
    assert alice.question("neap.promote", run_id)["subject"] == "Promote neap version 3?"
    [other] = [r for r in workspace.store.reports.list("neap", "comparison") if r["version"] == 2]
    assert other["body"]["verdict"] == "pass"
    assert alice.overwrite("neap.promote", run_id, "compare", {**FORGED, **other["body"]}) == 200
    assert bob.answer("neap.promote", run_id, "Approve") == 200
    assert alice.finished("neap.promote", run_id) == "failed"
    assert "needs the approval of a person" in alice.error("neap.promote", run_id, "promote")
    assert aliases(workspace, "neap") == {"production": 1, "staging": 3}
    assert [row.body["approval"]["challenger"] for row in rows(workspace, "neap", "approve")] == [3]


def test_maintenance_by_schedule_adopts_a_moved_alias(stack, workspace, asked):
    """After all tests above, and with an alias that a user moved in MLflow."""
    from mlflow import MlflowClient

    with stack.api as admin:
        MlflowClient(stack.mlflow_url).set_registered_model_alias("ebb", "staging", "2")
        admin.unpause(MAINTENANCE)
        [clock] = wait_for(lambda: admin.runs(MAINTENANCE))
        assert clock["run_type"] == "scheduled"
        wait_for(lambda: admin.run(MAINTENANCE, clock["dag_run_id"])["state"] == "success")
    assert aliases(workspace, "ebb") == {"production": 1, "staging": 2}
    assert [row.actor for row in rows(workspace, "ebb", "out_of_band")] == ["airflow"]
    [message] = mails(stack.home, about="moved outside Keel").values()
    assert "The alias staging of ebb was moved outside Keel to version 2." in message


def test_no_credential_of_a_channel_is_in_any_file_of_a_full_run(stack, workspace, asked):
    """After all tests above: logs, XComs, rendered templates, Airflow's and Keel's databases, mails in the outbox."""
    tried = {row["channel"]: row["tries"] for row in workspace.store.outbox.deliveries() if row["channel"] != "email"}
    assert set(tried) == {"slack", "teams", "pagerduty", "apprise"}
    assert all(tried.values())
    assert list(found_in(stack.home)) == []
    (stack.home / "planted.log").write_text(f"Authorization: Bearer {TOKEN}")
    assert list(found_in(stack.home)) == [("planted.log", TOKEN)]  # that the search finds what is there
