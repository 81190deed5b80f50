"""A person's yes or no to a comparison, as the ledger knows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import Status
from keel.errors import NotApproved
from keel.ledger import entries as ledger
from keel.monitoring.records import Plain, outcome_of
from keel.rollout.decline import reject
from keel.rollout.eligibility import shown
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

NOBODY = frozenset({None, "", "airflow"})
"""What an actor is called when no person has asked."""


def approval_request(ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any]) -> dict[str, str]:
    """Return the subject and the Markdown body of what a person is asked to agree to."""
    from keel.evaluation.holdout.report import render

    body = shown(ws, config, comparison)
    policy = config.promotion
    rule = f"To be answered by {', '.join(policy.approvers) or 'any permitted user'}"
    if policy.approval == "second_person":
        rule += f", and not by who asked for it: {', '.join(sorted(requesters(ws, body))) or 'nobody'}"
    subject = f"Promote {config.model} version {body['challenger']}?"
    return {"subject": subject, "body": f"{rule}.\n\n{render(body)}"}


def approve(
    ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any], *, approved: bool, approver: str | None,
    approver_id: str | None, dag_id: str, run_id: str, responded_at: datetime,
) -> Plain:  # fmt: skip
    """Write into the ledger what a person answered; no answer in time is a no. The same answer again adds nothing.

    A late no, to a version that has gone on to another station meanwhile, leaves it there.

    Only the adapter that has heard the answer from Airflow itself may call this: see docs/architecture.md.

    Raises
    ------
    NotApproved
        Somebody said yes who may not.

    """
    body = shown(ws, config, comparison)
    challenger = body["challenger"]
    asking = requesters(ws, body)
    if approved:
        require_approver(config, approver, asking)
    answer = {
        "report_id": body["report_id"], "challenger": challenger, "champion": body["champion"],
        "approver": approver, "approver_id": approver_id, "requesters": sorted(asking), "dag_id": dag_id,
        "responded_at": responded_at.isoformat(),
    }  # fmt: skip
    who = approver or "nobody in time"
    sentence = f"Version {challenger} was {'approved' if approved else 'declined'} by {who}."
    evidence = {"sentence": sentence, "report_id": body["report_id"], "responded_at": answer["responded_at"]}
    row = {"run_id": run_id, "approval": answer, "evidence": evidence}
    # One run may ask twice, and the same person may answer twice: each answer has a time of its own.
    identity = {"approval": {name: answer[name] for name in ("report_id", "approver", "responded_at")}}
    if approved:
        deployments.append_once(
            ws.store, config.model, actor=str(approver), action=ledger.Action.APPROVE, identity=identity, body=row,
            now=now_utc(),
        )  # fmt: skip
        return outcome_of("approved", body, sentence, version=challenger)
    becomes = (Status.REJECTED if approver else Status.CANDIDATE, sentence)
    reject(
        ws, config, challenger, becomes, actor=approver or "airflow", action=ledger.Action.DECLINE,
        identity=identity, body=row,
    )  # fmt: skip
    return outcome_of("declined", body, f"{sentence} Production is as it was.", version=body["champion"])


def approval_of(ws: Workspace, config: ModelConfig, body: Mapping[str, Any], generation: int) -> Plain:
    """Return the approval of this very comparison that the ledger holds; `NotApproved` where there is none that counts.

    It counts while it is the last answer, while the deployment is the one it was given for, and while policy still
    allows who gave it.
    """
    answers = [
        row
        for action in (ledger.Action.APPROVE, ledger.Action.DECLINE)
        for row in ledger.entries(ws.store, config.model, action)
        if row.body["approval"]["report_id"] == body["report_id"]
    ]
    last = max(answers, key=lambda row: row.seq, default=None)
    who = (last.body["approval"]["approver"] if last else None) or "nobody in time"
    if last is None:
        why = "nobody has given it for this comparison"
    elif last.action != ledger.Action.APPROVE:
        why = f"the last answer was a no, by {who}"
    elif last.generation_to != generation:
        why = f"{who} approved it at generation {last.generation_to}, and the deployment has changed since"
    else:
        approval: Plain = last.body["approval"]
        require_approver(config, approval["approver"], requesters(ws, body))
        return approval
    raise NotApproved(
        f"{config.model}: version {body['challenger']} needs the approval of a person, and {why}; ask for it: "
        f"airflow dags trigger {config.model}.promote --conf '{{\"version\": {body['challenger']}}}'"
    )


def require_approver(config: ModelConfig, approver: str | None, asking: Collection[str]) -> None:
    """Raise `NotApproved` for a yes by nobody, by somebody who is not on the list, or by who asked for it."""
    policy = config.promotion
    if approver in NOBODY:
        raise NotApproved(f"{config.model}: an approval needs the name of a user, and this one has none")
    if policy.approvers and approver not in policy.approvers:
        raise NotApproved(f"{config.model}: {approver} is not among promotion.approvers: {', '.join(policy.approvers)}")
    if policy.approval == "second_person" and approver in asking:
        raise NotApproved(
            f"{config.model}: {approver} has asked for this promotion, and promotion.approval is 'second_person': "
            "somebody else must approve it"
        )


def requesters(ws: Workspace, body: Mapping[str, Any]) -> set[str]:
    """Return the people who had a hand in it: who had the challenger trained, staged it or let it be tried, and who
    asked for this.
    """
    made = {ledger.Action.REGISTER: Status.CANDIDATE, ledger.Action.STAGE: Status.STAGING}
    version = str(body["challenger"])
    people = {
        row.actor
        for action, status in made.items()
        for row in ledger.entries(ws.store, body["model"], action)
        # a row that stages a version also says what becomes of the one that was staged before
        if row.body.get("statuses", {}).get(version, {}).get("status") == status
    }
    for row in ledger.entries(ws.store, body["model"], ledger.Action.EXPERIMENT_START):
        if row.body["experiment"]["challenger"] == body["challenger"]:
            people.add(row.actor)
    return (people | {body["requested_by"]}) - NOBODY
