"""Ask a person to approve a promotion, and record the answer in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import Status
from keel.errors import KeelError, NotApproved
from keel.ledger import entries as ledger
from keel.monitoring.records import Outcome, Record
from keel.reports.publication import comparison_address
from keel.rollout.decline import reject
from keel.rollout.eligibility import NO_PERSON, passed_comparison
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import ComparisonRecord
    from keel.workspace import Workspace


log = logging.getLogger(__name__)


class ApprovalRequest(Record):
    """What a person is asked to approve."""

    challenger: int
    subject: str
    body: str
    """The evidence, in Markdown."""


def approval_request(ws: Workspace, config: ModelConfig, report_id: str) -> ApprovalRequest:
    """Return the question whether the challenger of a comparison shall be promoted."""
    comparison = passed_comparison(ws, config, report_id)
    policy = config.promotion
    rule = f"To be approved by {', '.join(policy.approvers) or 'any user with permission'}"
    if policy.approval == "second_person":
        people = ", ".join(sorted(requesters(ws, comparison))) or "no person"
        rule += f", other than who requested it: {people}"
    subject = f"Promote {config.model} version {comparison.challenger}?"
    body = f"{rule}.\n\n{_report(ws, comparison)}{_evidence(comparison)}"
    return ApprovalRequest(challenger=comparison.challenger, subject=subject, body=body)


def _evidence(comparison: ComparisonRecord) -> str:
    """Return the comparison's page in Markdown, or its sentence where the page cannot be made: people can answer."""
    from keel.reports import markdown
    from keel.reports.comparison import page

    try:
        return markdown.render(page(comparison))
    except Exception:
        log.warning("the page of the comparison %s cannot be made", comparison.report_id, exc_info=True)
        return comparison.sentence


def _report(ws: Workspace, comparison: ComparisonRecord) -> str:
    """Return a line that leads to the comparison's page. Without MLflow people can answer too, so it never raises."""
    try:
        address = comparison_address(ws, comparison)
    except KeelError as error:
        log.warning("the report of the comparison cannot be linked: %s", error)
        return ""
    if address is None:
        return ""
    return f"Report: {f'<{address}>' if address.startswith('http') else address}\n\n"


def approve(
    ws: Workspace,
    config: ModelConfig,
    report_id: str,
    *,
    approved: bool,
    approver: str | None,
    approver_id: str | None,
    dag_id: str,
    run_id: str,
    responded_at: datetime,
) -> Outcome:
    """Record a person's answer in the ledger. Without an answer in time, the promotion is declined.

    The same answer again adds no row. A late decline of a version that changed its status meanwhile leaves it as it is.

    Only the adapter that received the answer from Airflow itself may call this: see docs/architecture.md.

    Raises
    ------
    NotApproved
        The approver may not approve.

    """
    comparison = passed_comparison(ws, config, report_id)
    challenger = comparison.challenger
    asking = requesters(ws, comparison)
    if approved:
        require_approver(config, approver, asking)
    answer = {
        "report_id": comparison.report_id,
        "challenger": challenger,
        "champion": comparison.champion,
        "approver": approver,
        "approver_id": approver_id,
        "requesters": sorted(asking),
        "dag_id": dag_id,
        "responded_at": responded_at.isoformat(),
    }
    if approver:
        sentence = f"Version {challenger} was {'approved' if approved else 'declined'} by {approver}."
    else:
        sentence = f"Version {challenger} was declined, because no person answered in time."
    evidence = {"sentence": sentence, "report_id": comparison.report_id, "responded_at": answer["responded_at"]}
    row = {"run_id": run_id, "approval": answer, "evidence": evidence}
    # One run may ask twice, and the same person may answer twice: each answer has a time of its own.
    identity = {"approval": {name: answer[name] for name in ("report_id", "approver", "responded_at")}}
    if approved:
        deployments.append_once(
            ws.store,
            config.model,
            actor=str(approver),
            action=ledger.Action.APPROVE,
            identity=identity,
            body=row,
            now=now_utc(),
        )
        return Outcome.of("approved", comparison, sentence, version=challenger)
    becomes = (Status.REJECTED if approver else Status.CANDIDATE, sentence)
    reject(
        ws,
        config,
        challenger,
        becomes,
        actor=approver or "airflow",
        action=ledger.Action.DECLINE,
        identity=identity,
        body=row,
    )
    return Outcome.of("declined", comparison, f"{sentence} Production is unchanged.", version=comparison.champion)


def approval_of(ws: Workspace, config: ModelConfig, comparison: ComparisonRecord, generation: int) -> dict[str, Any]:
    """Return the valid approval of this comparison, as the ledger has it; `NotApproved` without one.

    It is valid while it is the last answer, the deployment is the one it was given for, and the policy still allows the
    approver.
    """
    answers = [
        row
        for action in (ledger.Action.APPROVE, ledger.Action.DECLINE)
        for row in ledger.entries(ws.store, config.model, action)
        if row.body["approval"]["report_id"] == comparison.report_id
    ]
    last = max(answers, key=lambda row: row.seq, default=None)
    approver = last.body["approval"]["approver"] if last else None
    if last is None:
        why = "no person has approved this comparison"
    elif last.action != ledger.Action.APPROVE:
        why = f"the last answer declined it, by {approver}" if approver else "no person answered in time"
    elif last.generation_to != generation:
        why = f"{approver} approved it at generation {last.generation_to}, and the deployment has changed since"
    else:
        approval: dict[str, Any] = last.body["approval"]
        require_approver(config, approval["approver"], requesters(ws, comparison))
        return approval
    raise NotApproved(
        f"{config.model}: version {comparison.challenger} needs the approval of a person, and {why}; request it: "
        f"airflow dags trigger {config.model}.promote --conf '{{\"version\": {comparison.challenger}}}'"
    )


def require_approver(config: ModelConfig, approver: str | None, asking: Collection[str]) -> None:
    """Raise `NotApproved` for an approver who is no person, is not listed, or requested the promotion."""
    policy = config.promotion
    if approver in NO_PERSON:
        raise NotApproved(f"{config.model}: an approval needs the name of a user, and this one has none")
    if policy.approvers and approver not in policy.approvers:
        raise NotApproved(f"{config.model}: {approver} is not among promotion.approvers: {', '.join(policy.approvers)}")
    if policy.approval == "second_person" and approver in asking:
        raise NotApproved(
            f"{config.model}: {approver} requested this promotion, and promotion.approval is 'second_person': "
            "another person must approve it"
        )


def requesters(ws: Workspace, comparison: ComparisonRecord) -> set[str]:
    """Return the people who requested the promotion, or trained, staged or experimented with the challenger."""
    model, challenger = comparison.model, comparison.challenger
    made = {ledger.Action.REGISTER: Status.CANDIDATE, ledger.Action.STAGE: Status.STAGING}
    people: set[str | None] = {
        row.actor
        for action, status in made.items()
        for row in ledger.entries(ws.store, model, action)
        # A row that stages a version also has the status of the version that was staged before.
        if row.body.get("statuses", {}).get(str(challenger), {}).get("status") == status
    }
    for row in ledger.entries(ws.store, model, ledger.Action.EXPERIMENT_START):
        if row.body["experiment"]["challenger"] == challenger:
            people.add(row.actor)
    return {person for person in people | {comparison.requested_by} if person is not None} - NO_PERSON
