"""Approvals: who may give one, for which comparison it holds, and what a person is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keel import rollout
from keel.deployments import versions
from keel.deployments.history import Status
from keel.errors import NotApproved
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.rollout.approval import require_approver
from keel.window import now_utc
from tests.support.rollout_steps import promote, stage, store_comparison
from tests.support.versions.cloned import INVERTED, RIGHT

ANSWERED = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def model(new_model):
    """Version 1 is in production, version 2 a candidate; a person must approve promotions."""
    return new_model(INVERTED, RIGHT).with_policy(approval="required")


def answer(model, report_id, *, by, approved=True, later=0, run_id="run-1"):
    return rollout.approve(
        model.ws,
        model.config,
        report_id,
        approved=approved,
        approver=by,
        approver_id=by,
        dag_id="dag",
        run_id=run_id,
        responded_at=ANSWERED + timedelta(hours=later),
    )


def test_approve_records_the_answer_and_the_promotion_rests_on_it(model):
    report_id = store_comparison(model, "pass")
    outcome = answer(model, report_id, by="grace")
    assert (outcome.outcome, outcome.version) == ("approved", 2)
    [row] = model.rows("approve")
    assert (row.actor, row.body["approval"]["report_id"]) == ("grace", report_id)
    assert row.body["approval"]["requesters"] == ["requester", "trainer"]
    promote(model, report_id)
    assert model.rows("promote")[-1].body["approval"] == row.body["approval"]


def test_approve_again_adds_no_row_but_another_answer_does(model):
    report_id = store_comparison(model, "pass")
    first = answer(model, report_id, by="grace")
    assert answer(model, report_id, by="grace") == first
    assert len(model.rows("approve")) == 1
    answer(model, report_id, by="grace", later=1)
    assert len(model.rows("approve")) == 2


def test_approve_without_a_passed_comparison_is_refused(model):
    for report_id in (store_comparison(model, "fail"), "comparison-0"):
        with pytest.raises(NotShownBetter):
            answer(model, report_id, by="grace")
    assert model.rows("approve") == []


@pytest.mark.parametrize(("by", "status"), [("grace", "rejected"), (None, "candidate")])
def test_decline_by_a_person_rejects_and_no_answer_leaves_a_candidate(model, by, status):
    report_id = store_comparison(model, "pass")
    stage(model, report_id)
    outcome = answer(model, report_id, by=by, approved=False)
    assert (outcome.outcome, outcome.version) == ("declined", 1)
    assert model.aliases == {"production": 1}
    assert model.statuses == {1: "production", 2: status}
    [row] = model.rows("decline")
    assert row.actor == (by or "airflow")
    with pytest.raises(NotApproved if by is None else Exception):
        promote(model, report_id)


def test_decline_late_leaves_a_version_that_was_promoted_meanwhile(model):
    report_id = store_comparison(model, "pass")
    answer(model, report_id, by="grace")
    promote(model, report_id)
    answer(model, report_id, by="ada", approved=False)
    assert model.statuses[2] == "production"
    assert len(model.rows("decline")) == 1


def test_decline_that_runs_again_takes_no_reinstatement_back(model):
    report_id = store_comparison(model, "pass")
    answer(model, report_id, by="grace", approved=False)
    versions.reinstate(model.ws.store, model.ws.registry, model.name, 2, reason="a mistake", actor="ada", now=now_utc())
    answer(model, report_id, by="grace", approved=False)
    assert model.state.status(2) is Status.CANDIDATE
    answer(model, report_id, by="grace", approved=False, later=1)
    assert model.state.status(2) is Status.REJECTED


@pytest.mark.parametrize(
    ("policy", "approver", "message"),
    [
        ({}, None, "needs the name of a user"),
        ({}, "", "needs the name of a user"),
        ({}, "airflow", "needs the name of a user"),
        ({"approvers": ["grace", "alan"]}, "ada", "ada is not among promotion.approvers: grace, alan"),
        ({"approval": "second_person"}, "requester", "another person must approve it"),
        ({"approval": "second_person"}, "trainer", "another person must approve it"),
        ({"approval": "second_person"}, "stager", "another person must approve it"),
    ],
)
def test_approve_by_someone_who_may_not_is_refused(model, policy, approver, message):
    model = model.with_policy(**{"approval": "required", **policy})
    report_id = store_comparison(model, "pass")
    stage(model, report_id, actor="stager")
    before = model.everything()
    with pytest.raises(NotApproved, match=message):
        answer(model, report_id, by=approver)
    assert model.everything() == before


def test_require_approver_allows_the_requester_where_one_person_is_enough(model):
    second_person = model.with_policy(approval="second_person").config
    require_approver(model.config, "ada", {"ada"})
    require_approver(second_person, "grace", {"ada"})
    with pytest.raises(NotApproved, match="ada"):
        require_approver(second_person, "ada", {"ada"})


def test_promote_needs_the_last_answer_to_be_an_approval_of_this_comparison(model):
    report_id, other = store_comparison(model, "pass"), store_comparison(model, "pass", report_id="other")
    answer(model, report_id, by="grace")
    with pytest.raises(NotApproved, match="no person has approved this comparison"):
        promote(model, other)
    answer(model, report_id, by=None, approved=False, later=1)
    with pytest.raises(NotApproved, match="no person answered in time"):
        promote(model, report_id)
    answer(model, report_id, by="grace", later=2)
    assert promote(model, report_id).outcome == "promoted"


def test_promote_after_the_deployment_changed_needs_another_approval(model):
    report_id = store_comparison(model, "pass")
    answer(model, report_id, by="grace")
    stage(model, report_id)
    with pytest.raises(NotApproved, match="grace approved it at generation 1, and the deployment has changed since"):
        promote(model, report_id)


def test_promote_needs_an_approver_whom_the_policy_still_allows(model):
    report_id = store_comparison(model, "pass")
    answer(model, report_id, by="grace")
    with pytest.raises(NotApproved, match="grace is not among"):
        promote(model.with_policy(approval="required", approvers=["ada"]), report_id)


def test_approval_request_names_the_version_the_approvers_and_the_evidence(model):
    request = rollout.approval_request(model.ws, model.config, store_comparison(model, "pass"))
    assert request.subject == f"Promote {model.name} version 2?"
    assert "any user with permission" in request.body
    assert "version 2 against version 1" in request.body
    second = model.with_policy(approval="second_person", approvers=["grace"])
    body = rollout.approval_request(second.ws, second.config, store_comparison(second, "pass")).body
    assert "To be approved by grace, other than who requested it: requester, trainer" in body


def test_approval_request_whose_page_cannot_be_made_asks_with_the_sentence(model, monkeypatch):
    def fail(*_, **__):
        raise KeyError("count")

    monkeypatch.setattr("keel.reports.comparison.page", fail)
    report_id = store_comparison(model, "pass")

    body = rollout.approval_request(model.ws, model.config, report_id).body

    assert body.startswith("To be approved by ")
    assert body.endswith(model.ws.store.reports.get(report_id)["body"]["sentence"])
