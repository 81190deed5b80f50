"""Each branch of a promotion, with and without approval, by approvers and by other users."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from tests.support.airflow import approvers as people
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.tide import LAUNCH, TURNED, decision_of

pytestmark = pytest.mark.usefixtures("airflow_db")

REQUEST = {"end": TURNED.isoformat(), "reason": "it knows the new tide"}
REQUESTED = {"request_promotion", "compare"}
NOTIFIED = {"compose_message", "send_email", "record"}


def actions(workspace):
    return [entry.action for entry in ledger.entries(workspace.store, "tide")]


def last(workspace, action):
    return [entry for entry in ledger.entries(workspace.store, "tide") if entry.action == action][-1]


def mails(workspace):
    """Return the messages by subject."""
    found = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in workspace.outbox.glob("*.eml")]
    return {mail["Subject"]: text_of(mail) for mail in found}


def version_in_production(workspace):
    assert ledger.verify(workspace.store).broken_at is None
    return deployments.read(workspace.store, "tide").production


def approving(user, role="USER"):
    def approve(waiting):
        assert people.answer(waiting, "Approve", user=user, role=role) == 200

    return approve


def test_promotion_without_approval_promotes_a_better_version(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    done = run("tide.promote", **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "promote", *NOTIFIED})
    assert version_in_production(staged) == 2
    assert staged.registry.aliases("tide") == {"production": 2, "previous": 1}
    assert decision_of(staged)["sentence"].endswith(f"version 2: {REQUEST['reason']}")
    assert decision_of(staged)["outcome"]["outcome"] == "promoted"


def test_promotion_with_an_approval_by_the_api_promotes(staged):
    questions = []

    def approve(waiting):
        questions.append(people.question(waiting))
        assert version_in_production(staged) == 1
        assert people.answer(waiting, "Approve", user="alice") == 200
        assert people.answer(waiting, "Reject", user="bob") == 409

    done = run("tide.promote", on_wait=approve, **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "approve", "promote", *NOTIFIED})
    [question] = questions
    assert question["subject"] == "Promote tide version 2?"
    assert question["defaults"] == ["Reject"]
    assert "Challenger 2 against champion 1: better by" in question["body"]
    assert version_in_production(staged) == 2
    given = last(staged, "approve")
    assert (given.actor, given.body["run_id"]) == ("alice", done.run_id)
    assert given.body["approval"].items() >= {"approver": "alice", "approver_id": "alice", "challenger": 2}.items()
    assert last(staged, "promote").body["approval"]["approver"] == "alice"
    [asking] = [subject for subject in mails(staged) if subject == "[Keel] tide: promote version 2?"]
    [result] = [subject for subject in mails(staged) if "version 2 was promoted" in subject]
    assert len(mails(staged)) == 2
    assert question["body"] in mails(staged)[asking]
    [page] = re.findall(r"^Report: (\S+)$", question["body"], re.MULTILINE)
    assert Path(page).name == "comparison.html"
    assert Path(page).is_file()
    assert page in mails(staged)[result]
    assert f"/dags/tide.promote/runs/{done.run_id}/tasks/approve/required_actions" in mails(staged)[asking]


def test_promotion_that_is_declined_keeps_the_champion(staged):
    def reject(waiting):
        assert people.answer(waiting, "Reject", user="alice") == 200

    done = run("tide.promote", on_wait=reject, **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "approve", *NOTIFIED})
    assert version_in_production(staged) == 1
    assert last(staged, "decline").actor == "alice"
    assert decision_of(staged)["outcome"]["outcome"] == "declined"
    assert staged.registry.resolve("tide", version=2).tags["keel.status"] == "rejected"
    [subject] = [subject for subject in mails(staged) if "declined" in subject]
    assert len(mails(staged)) == 2


def test_promotion_without_an_answer_is_declined(staged):
    done = run("tide.promote", on_wait=people.let_expire, **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "approve", *NOTIFIED})
    assert version_in_production(staged) == 1
    assert last(staged, "decline").body["approval"]["approver"] is None
    assert staged.registry.resolve("tide", version=2).tags["keel.status"] == "candidate"


def test_promotion_accepts_answers_of_approvers_only(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVERS", "[alice, carol]")

    def try_all(waiting):
        assert [user["name"] for user in people.question(waiting)["assigned_users"]] == ["alice", "carol"]
        assert people.answer(waiting, "Approve", user=None) == 401
        assert people.answer(waiting, "Approve", user="bob", role="ADMIN") == 403
        assert people.answer(waiting, "Approve", user="carol", role="VIEWER") == 403
        assert people.answer(waiting, "Approve", user="carol") == 200

    done = run("tide.promote", on_wait=try_all, **REQUEST)

    assert done.state == "success"
    assert (version_in_production(staged), last(staged, "approve").actor) == (2, "carol")


def test_promotion_approved_by_another_user_under_foreign_ids_fails(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVERS", "[alice]")
    monkeypatch.setattr("keel_airflow.groups.assigned_users", lambda _: [])

    done = run("tide.promote", on_wait=approving("bob"), **REQUEST)

    assert (done.state, done.states["approve"]) == ("failed", "failed")
    assert "bob is not among promotion.approvers: alice" in done.xcoms["approve/error"]
    assert (version_in_production(staged), "approve" in actions(staged)) == (1, False)


@pytest.mark.parametrize("requester", ["dag_test", "trainer"])
def test_promotion_approved_by_a_requester_fails_under_second_person(staged, monkeypatch, requester):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "second_person")

    done = run("tide.promote", on_wait=approving(requester), **REQUEST)

    assert (done.state, done.states["approve"]) == ("failed", "failed")
    assert "another person must approve it" in done.xcoms["approve/error"]
    assert (version_in_production(staged), "approve" in actions(staged)) == (1, False)


def test_promotion_approved_by_a_second_person_promotes(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "second_person")

    done = run("tide.promote", on_wait=approving("alice"), **REQUEST)

    assert done.state == "success"
    assert last(staged, "approve").body["approval"]["requesters"] == ["dag_test", "trainer"]
    assert version_in_production(staged) == 2


@pytest.mark.slow
def test_promotion_run_again_asks_again(staged):
    questions = []

    def let_expire(waiting):
        questions.append(waiting.id)
        people.let_expire(waiting)

    def then_approve(waiting):
        questions.append(waiting.id)
        assert people.question(waiting)["responded_at"] is None
        assert people.answer(waiting, "Approve", user="alice") == 200

    first = run("tide.promote", logical_date=TURNED, on_wait=let_expire, version=2, **REQUEST)
    second = run("tide.promote", logical_date=TURNED, on_wait=then_approve, version=2, **REQUEST)

    assert first.run_id == second.run_id
    assert len(set(questions)) == 2
    assert version_in_production(staged) == 2


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (9, "version 9 is not known to Keel"),
        (1, "version 1 is production"),
    ],
)
def test_promotion_of_a_version_that_may_not_be_promoted_fails_at_once(staged, version, reason):
    done = run("tide.promote", version=version, **REQUEST)

    assert (done.state, done.states["request_promotion"]) == ("failed", "failed")
    assert reason in done.xcoms["request_promotion/error"]
    assert "versions that can be promoted: 2" in done.xcoms["request_promotion/error"]
    assert version_in_production(staged) == 1


def test_promotion_without_a_staged_version_fails(tide):
    done = run("tide.promote", **REQUEST)

    assert done.state == "failed"
    assert "no version is staged" in done.xcoms["request_promotion/error"]


def test_promotion_of_a_version_within_the_margin_keeps_the_champion(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")

    done = run("tide.promote", **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "keep_champion", *NOTIFIED})
    assert version_in_production(staged) == 1
    assert decision_of(staged)["outcome"]["outcome"] == "kept_champion"


def test_promotion_on_a_holdout_without_labels_is_inconclusive(staged):
    done = run("tide.promote", end=(TURNED + (TURNED - LAUNCH) * 10).isoformat(), reason="too late")

    assert (done.state, done.path) == ("success", {*REQUESTED, "keep_champion", *NOTIFIED})
    assert version_in_production(staged) == 1
    assert done.xcoms["compare/return_value"]["verdict"] == "inconclusive"
    assert staged.registry.resolve("tide", version=2).tags["keel.status"] == "staging"


def test_promotion_forced_by_a_person_needs_a_reason(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    refused = run("tide.promote", force=True, end=REQUEST["end"])
    assert "a forced promotion needs a reason" in refused.xcoms["request_promotion/error"]

    done = run("tide.promote", force=True, **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "promote", *NOTIFIED})
    assert version_in_production(staged) == 2
    assert last(staged, "promote").body["evidence"]["forced_by"] == "dag_test"


def test_promotion_that_is_forced_still_needs_approval(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")

    done = run("tide.promote", force=True, on_wait=people.let_expire, **REQUEST)

    assert (done.state, done.path) == ("success", {*REQUESTED, "approve", *NOTIFIED})
    assert version_in_production(staged) == 1


@pytest.mark.slow
def test_promotion_that_was_interrupted_is_completed_when_cleared(staged, monkeypatch):
    from keel.errors import RegistryUnavailable
    from keel.registry.registry import Registry

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    def unavailable(*_, **__):
        raise RegistryUnavailable("MLflow does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(Registry, "set_aliases", unavailable)
        first = run("tide.promote", logical_date=TURNED, version=2, **REQUEST)
    assert first.states["promote"] == "failed"
    assert deployments.read(staged.store, "tide").production == 2

    second = run("tide.promote", logical_date=TURNED, version=2, **REQUEST)

    assert (second.run_id, second.state) == (first.run_id, "success")
    assert staged.registry.aliases("tide") == {"production": 2, "previous": 1}
    assert actions(staged).count("promote") == 2
