"""Operators of notifications: compose the message about a decision, notify of findings, record the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from keel.monitoring.records import DecisionRecord, Outcome, ReconcileRecord
from keel_airflow.operators.base import (
    CHECK_AGAIN,
    BranchStepOperator,
    StepOperator,
    TaskResult,
    rendered_record,
    run_url,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.workspace import Workspace


class ComposeMessageOperator(BranchStepOperator):
    """Puts what is new about a decision into the outbox, and follows the channels of the message about it.

    The report of a check is published before, so that the message can link it, and its outcome is known.

    Returns the ids of the messages, a digest that is due among them, and their channels; none where nobody is told.

    :param branches: task by channel, and ``none`` without a message
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
        """Publish the check's report and write it into the log, then observe what was decided."""
        from keel import loop

        decision, outcome = rendered_record(self.decision, DecisionRecord), first_outcome(self.outcomes)
        run, now = run_url(context), datetime.now(UTC)
        report = loop.publish_report(workspace, config, decision, outcome, run_url=run, now=now)
        if report and report.markdown:
            self.log.info("The report of the check:\n\n%s", report.markdown)
        posted = loop.notify(workspace, config, decision, outcome, run_url=run, report=report, now=now)
        messages = [each for each in (posted.message_id, posted.digest_id) if each]
        deliveries = workspace.store.outbox.deliveries(message_ids=messages)
        return {
            "messages": messages,
            "channels": list(dict.fromkeys(each["channel"] for each in deliveries)),
            "report": report.address if report else None,
        }

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Follow the message's channels. One that this DAG has no task for is left to `keel.alerts`."""
        return [name for name in result["channels"] if name in self.branches] or ["none"]


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


class NotifyFindingsOperator(StepOperator):
    """Notifies a model's people of the findings of `ReconcileOperator`. Returns the channels that took the message.

    :param findings: result of `ReconcileOperator`. (templated)
    """

    template_fields = (*StepOperator.template_fields, "findings")

    def __init__(self, *, findings: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.findings = findings

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> dict[str, Any]:
        """Observe what was found, and send what is new at once."""
        from keel.alerts.door import observe
        from keel.alerts.findings.reconciled import observe_reconciled
        from keel.alerts.messages.reconciled import compose_findings
        from keel_airflow.delivering import deliver_quietly

        found, now = rendered_record(self.findings, ReconcileRecord), datetime.now(UTC)
        observation = observe_reconciled(found, run_id=context["run_id"], now=now)
        compose = partial(compose_findings, config, found=found, now=now, run_url=run_url(context))
        posted = observe(workspace, config, observation, compose, now=now)
        return {
            "message_id": posted.message_id,
            "channels": deliver_quietly(workspace, message_id=posted.message_id),
        }


def first_outcome(outcomes: Sequence[TaskResult | None]) -> Outcome | None:
    """Return the outcome of the branch that ran, or None."""
    return next((rendered_record(outcome, Outcome) for outcome in outcomes if outcome), None)
