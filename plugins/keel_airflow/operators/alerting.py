"""Operators of notifications: compose a message, write it to the outbox, notify of findings, record the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from keel.monitoring.records import DecisionRecord, Message, Outcome, ReconcileRecord
from keel_airflow.channels import address, deliver
from keel_airflow.operators.base import (
    CHECK_AGAIN,
    BranchStepOperator,
    StepOperator,
    TaskResult,
    airflow_errors,
    rendered,
    rendered_record,
    run_url,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.workspace import Workspace


class ComposeMessageOperator(BranchStepOperator):
    """Composes the message about a decision, and follows the channels whose connections exist.

    The report of a check is published before, so that the message can link it, and its outcome is known.

    :param branches: task by channel: ``email``, ``slack``, ``outbox``, and ``none`` without a message
    :param decision: result of the task that made the decision. (templated)
    :param outcomes: results of the branches; None for those that did not run. (templated)
    """

    template_fields = (*BranchStepOperator.template_fields, "decision", "outcomes")

    def __init__(
        self,
        *,
        decision: TaskResult,
        outcomes: Sequence[TaskResult | None] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.outcomes = outcomes

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> dict[str, Any]:
        """Publish the check's report and write it into the log, compose the message about it, and address that."""
        from keel import loop

        decision, outcome = rendered_record(self.decision, DecisionRecord), first_outcome(self.outcomes)
        run = run_url(context)
        report = loop.publish_report(workspace, config, decision, outcome, run_url=run, now=datetime.now(UTC))
        if report and report.markdown:
            self.log.info("The report of the check:\n\n%s", report.markdown)
        message = loop.compose_message(workspace, config, decision, outcome, run_url=run, report=report)
        return {**address(message.to_dict() if message else {}), "report": report.address if report else None}

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Follow the message's channels."""
        return result["channels"] or ["none"]


class WriteToOutboxOperator(StepOperator):
    """Writes the message as an ``.eml`` file, which any mail program opens. Returns the file's path.

    :param message: result of `ComposeMessageOperator`. (templated)
    """

    template_fields = (*StepOperator.template_fields, "message")

    def __init__(self, *, message: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> dict[str, Any]:
        """Write the file."""
        from keel.alerts.outbox import write_eml

        message = rendered(self.message, dict)
        sender = message["sender"]
        path = write_eml(workspace.outbox, Message.from_dict(message), sender=sender, now=datetime.now(UTC))
        return {"path": str(path)}


class RecordOperator(StepOperator):
    """Stores the outcome of a decision, and the channels of its notification, with the decision.

    :param decision: result of the task that made the decision. (templated)
    :param outcomes: results of the branches; None for those that did not run. (templated)
    :param channels: the channels that took the message. (templated)
    """

    template_fields = (*StepOperator.template_fields, "decision", "outcomes", "channels")

    def __init__(
        self,
        *,
        decision: TaskResult,
        outcomes: Sequence[TaskResult | None] = (),
        channels: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.outcomes = outcomes
        self.channels = channels

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Store the outcome, and return it."""
        from keel import loop

        decision, outcome = rendered_record(self.decision, DecisionRecord), first_outcome(self.outcomes)
        return loop.record(workspace, config, decision, outcome, channels=list(self.channels))


class RecordCheckOperator(RecordOperator, BranchStepOperator):
    """Does so after a check, and follows ``again`` where live alarms have opened that it has not judged.

    The result has, beside the outcome, the id of the run that judges them as ``again``. A run for the past, or for a
    period that a person names, is not about the present, and follows nothing.

    :param branches: the task that starts another check, by ``again``
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> dict[str, Any]:  # type: ignore[override]
        """Store the outcome, and return it with the id of the next run."""
        from keel import loop

        outcome, decision = super().step(workspace, config, context), rendered_record(self.decision, DecisionRecord)
        params, again = context["params"], None
        if context["dag_run"].run_type != "backfill" and not (params.get("start") or params.get("end")):
            again = loop.next_check(workspace, config, decision.decision_id, run_id=context["run_id"])
        return {**outcome.to_dict(), "again": f"{CHECK_AGAIN}{again}" if again else None}

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Start another check, or end the run."""
        return ["again"] if result["again"] else []


class NotifyFindingsOperator(BaseOperator):
    """Notifies a model's people of the findings of `ReconcileOperator`.

    The message leaves by every channel whose connection exists, else by the outbox. Returns the channels that took it,
    none where there are no findings.

    :param findings: result of `ReconcileOperator`. (templated)
    """

    template_fields: Sequence[str] = ("findings",)

    def __init__(self, *, findings: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.findings = findings

    def execute(self, context: Context) -> list[str]:
        """Compose the message, and deliver it."""
        from keel.alerts.messages.findings import compose_findings
        from keel.config import get_model

        with airflow_errors():
            findings = rendered_record(self.findings, ReconcileRecord)
            config = get_model(findings.model)
        message = compose_findings(config, findings, run_url=run_url(context))
        return deliver(message.to_dict()) if message else []


def first_outcome(outcomes: Sequence[TaskResult | None]) -> Outcome | None:
    """Return the outcome of the branch that ran, or None."""
    return next((rendered_record(outcome, Outcome) for outcome in outcomes if outcome), None)
