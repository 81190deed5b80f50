"""Each branch of a promotion: with and without people who must agree, and with those who may not."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from tests.support.airflow import approvers as people
from tests.support.airflow.dag_run import run
from tests.support.airflow.tide import LAUNCH, TURNED, decision_of

pytestmark = pytest.mark.usefixtures("airflow_db")

ASK = {"end": TURNED.isoformat(), "reason": "it knows the new tide"}
ASKED = {"request_promotion", "compare"}
TOLD = {"compose_message", "write_to_outbox", "record"}


def actions(workspace):
    return [entry.action for entry in ledger.entries(workspace.store, "tide")]


def last(workspace, action):
    return [entry for entry in ledger.entries(workspace.store, "tide") if entry.action == action][-1]


def mails(workspace):
    """What was sent, by subject."""
    found = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in workspace.outbox.glob("*.eml")]
    return {mail["Subject"]: mail.get_content() for mail in found}


def version_in_production(workspace):
    assert ledger.verify(workspace.store).broken_at is None
    return deployments.read(workspace.store, "tide").production


def approving(user, role="USER"):
    def asked(waiting):
        assert people.answer(waiting, "Approve", user=user, role=role) == 200

    return asked


def test_a_version_that_is_better_is_promoted_without_asking_where_nobody_must_agree(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    done = run("tide.promote", **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "promote", *TOLD})
    assert version_in_production(offered) == 2
    assert offered.registry.aliases("tide") == {"production": 2, "previous": 1}
    assert decision_of(offered)["sentence"] == "Asked for version 2: it knows the new tide"
    assert decision_of(offered)["outcome"]["outcome"] == "promoted"


def test_a_run_waits_is_approved_by_the_api_and_promotes(offered):
    asked = []

    def approve(waiting):
        asked.append(people.question(waiting))
        assert version_in_production(offered) == 1
        assert people.answer(waiting, "Approve", user="alice") == 200
        assert people.answer(waiting, "Reject", user="bob") == 409

    done = run("tide.promote", asked=approve, **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "approve", "promote", *TOLD})
    [question] = asked
    assert question["subject"] == "Promote tide version 2?"
    assert question["defaults"] == ["Reject"]
    assert "Challenger 2 against champion 1: better by" in question["body"]
    assert version_in_production(offered) == 2
    given = last(offered, "approve")
    assert (given.actor, given.body["run_id"]) == ("alice", done.run_id)
    assert given.body["approval"].items() >= {"approver": "alice", "approver_id": "alice", "challenger": 2}.items()
    assert last(offered, "promote").body["approval"]["approver"] == "alice"
    asking, told = sorted(mails(offered))
    assert (asking, "promoted version 2" in told) == ("[Keel] Promote tide version 2?", True)
    assert question["body"] in mails(offered)[asking]
    assert f"/dags/tide.promote/runs/{done.run_id}/tasks/approve/required_actions" in mails(offered)[asking]


def test_a_no_is_a_no(offered):
    def reject(waiting):
        assert people.answer(waiting, "Reject", user="alice") == 200

    done = run("tide.promote", asked=reject, **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "approve", *TOLD})
    assert version_in_production(offered) == 1
    assert last(offered, "decline").actor == "alice"
    assert decision_of(offered)["outcome"]["outcome"] == "declined"
    assert offered.registry.resolve("tide", version=2).tags["keel.status"] == "rejected"
    assert "[Keel] tide: the new version was declined, version 1 stays" in mails(offered)


def test_no_answer_in_time_is_a_no(offered):
    done = run("tide.promote", asked=people.nobody_answers, **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "approve", *TOLD})
    assert version_in_production(offered) == 1
    assert last(offered, "decline").body["approval"]["approver"] is None
    assert offered.registry.resolve("tide", version=2).tags["keel.status"] == "candidate"


def test_only_approvers_may_answer(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVERS", "[alice, carol]")

    def try_all(waiting):
        assert [user["name"] for user in people.question(waiting)["assigned_users"]] == ["alice", "carol"]
        assert people.answer(waiting, "Approve", user=None) == 401
        assert people.answer(waiting, "Approve", user="bob", role="ADMIN") == 403
        assert people.answer(waiting, "Approve", user="carol", role="VIEWER") == 403
        assert people.answer(waiting, "Approve", user="carol") == 200

    done = run("tide.promote", asked=try_all, **ASK)

    assert done.state == "success"
    assert (version_in_production(offered), last(offered, "approve").actor) == (2, "carol")


def test_where_airflow_knows_users_by_other_ids_a_yes_of_somebody_else_is_refused_by_name(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVERS", "[alice]")
    monkeypatch.setattr("keel_airflow.groups.assigned_users", lambda _: [])

    done = run("tide.promote", asked=approving("bob"), **ASK)

    assert (done.state, done.states["approve"]) == ("failed", "failed")
    assert "bob is not among promotion.approvers: alice" in done.xcoms["approve/error"]
    assert (version_in_production(offered), "approve" in actions(offered)) == (1, False)


@pytest.mark.parametrize("requester", ["dag_test", "trainer"])
def test_a_second_person_is_neither_who_asked_nor_who_had_it_trained(offered, monkeypatch, requester):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "second_person")

    done = run("tide.promote", asked=approving(requester), **ASK)

    assert (done.state, done.states["approve"]) == ("failed", "failed")
    assert "another person must approve it" in done.xcoms["approve/error"]
    assert (version_in_production(offered), "approve" in actions(offered)) == (1, False)


def test_a_second_person_approves(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "second_person")

    done = run("tide.promote", asked=approving("alice"), **ASK)

    assert done.state == "success"
    assert last(offered, "approve").body["approval"]["requesters"] == ["dag_test", "trainer"]
    assert version_in_production(offered) == 2


def test_a_run_that_is_cleared_asks_again(offered):
    questions = []

    def wait_first(waiting):
        questions.append(waiting.id)
        people.nobody_answers(waiting)

    def then_approve(waiting):
        questions.append(waiting.id)
        assert people.question(waiting)["responded_at"] is None
        assert people.answer(waiting, "Approve", user="alice") == 200

    first = run("tide.promote", logical_date=TURNED, asked=wait_first, version=2, **ASK)
    second = run("tide.promote", logical_date=TURNED, asked=then_approve, version=2, **ASK)

    assert first.run_id == second.run_id
    assert len(set(questions)) == 2
    assert version_in_production(offered) == 2


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (9, "version 9 is not known to Keel"),
        (1, "version 1 is production"),
    ],
)
def test_a_version_that_may_not_be_promoted_says_so_at_once(offered, version, reason):
    done = run("tide.promote", version=version, **ASK)

    assert (done.state, done.states["request_promotion"]) == ("failed", "failed")
    assert reason in done.xcoms["request_promotion/error"]
    assert "versions that can be promoted: 2" in done.xcoms["request_promotion/error"]
    assert version_in_production(offered) == 1


def test_without_a_staged_version_the_candidates_are_named(tide):
    done = run("tide.promote", **ASK)

    assert done.state == "failed"
    assert "no version is staged" in done.xcoms["request_promotion/error"]


def test_a_version_that_is_not_shown_to_be_better_is_turned_down(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")

    done = run("tide.promote", **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "keep_champion", *TOLD})
    assert version_in_production(offered) == 1
    assert decision_of(offered)["outcome"]["outcome"] == "kept_champion"


def test_a_holdout_without_labels_concludes_nothing_and_promotes_nothing(offered):
    done = run("tide.promote", end=(TURNED + (TURNED - LAUNCH) * 10).isoformat(), reason="too late")

    assert (done.state, done.path) == ("success", {*ASKED, "keep_champion", *TOLD})
    assert version_in_production(offered) == 1
    assert done.xcoms["compare/return_value"]["verdict"] == "inconclusive"
    assert offered.registry.resolve("tide", version=2).tags["keel.status"] == "staging"


def test_a_person_may_force_with_a_reason_of_their_own(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    refused = run("tide.promote", force=True, end=ASK["end"])
    assert "a forced promotion needs a reason" in refused.xcoms["request_promotion/error"]

    done = run("tide.promote", force=True, **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "promote", *TOLD})
    assert version_in_production(offered) == 2
    assert last(offered, "promote").body["evidence"]["forced_by"] == "dag_test"


def test_force_replaces_nobodys_agreement(offered, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")

    done = run("tide.promote", force=True, asked=people.nobody_answers, **ASK)

    assert (done.state, done.path) == ("success", {*ASKED, "approve", *TOLD})
    assert version_in_production(offered) == 1


def test_a_promotion_that_is_interrupted_is_completed_by_clearing_it(offered, monkeypatch):
    from keel.errors import RegistryUnavailable
    from keel.registry.registry import Registry

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    def unavailable(*_, **__):
        raise RegistryUnavailable("MLflow does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(Registry, "set_aliases", unavailable)
        first = run("tide.promote", logical_date=TURNED, version=2, **ASK)
    assert first.states["promote"] == "failed"
    assert deployments.read(offered.store, "tide").production == 2

    second = run("tide.promote", logical_date=TURNED, version=2, **ASK)

    assert (second.run_id, second.state) == (first.run_id, "success")
    assert offered.registry.aliases("tide") == {"production": 2, "previous": 1}
    assert actions(offered).count("promote") == 2
