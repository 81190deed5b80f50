"""The operator that asks a person to approve a promotion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk.exceptions import TaskAwaitingInput

from keel_airflow.operators.base import BranchStepOperator, TaskResult, is_logged_in, rendered_id, requested_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.rollout.approval import ApprovalRequest
    from keel.workspace import Workspace


class AwaitApprovalOperator(BranchStepOperator, ApprovalOperator):
    """Asks a person to approve the promotion, waits without a worker, and records the answer in the ledger.

    The answer is what Airflow passes to the task when it resumes it. It has a user name only where a logged-in user who
    may answer did so through Airflow's API. An answer by a task, and the end of the waiting time, have no name: both
    can only decline. (A worker cannot request the answer again; Airflow 3.3 allows that to its triggerer only.) A
    cleared run asks again.

    :param branches: task by answer: ``approved``, ``declined``
    :param comparison: result of `CompareModelsOperator`. (templated)
    """

    template_fields = (*BranchStepOperator.template_fields, "comparison")

    def __init__(self, *, comparison: TaskResult, **kwargs: Any) -> None:
        # The evidence makes the question when the task runs. No answer in time declines.
        super().__init__(subject="", defaults=[ApprovalOperator.REJECT], **kwargs)
        self.comparison = comparison
        self.challenger = 0
        self.report_id = ""

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> ApprovalRequest:
        """Return the question: its subject and body, and the version that it is about."""
        from keel import rollout

        return rollout.approval_request(workspace, config, rendered_id(self.comparison, "report_id"))

    def execute(self, context: Context) -> None:
        """Ask, and wait. The id of the comparison waits with the task, where no other task can exchange it."""
        question = self.run_step(context)
        self.subject, self.body = question["subject"], question["body"]
        self.challenger, self.report_id = question["challenger"], rendered_id(self.comparison, "report_id")
        try:
            ApprovalOperator.execute(self, context)
        except TaskAwaitingInput as wait:
            wait.kwargs = {"report_id": self.report_id}
            raise

    # Airflow adds the arguments that `execute` leaves in ``TaskAwaitingInput.kwargs``.
    def execute_complete(self, context: Context, event: dict[str, Any], report_id: str) -> None:  # type: ignore[override]
        """Record the answer to the question, then follow it.

        Parameters
        ----------
        context:
            of the task
        event:
            the answer, from Airflow
        report_id:
            of the comparison that the person was shown

        """
        from keel import rollout
        from keel.rollout.approval import require_approver

        answer = HITLOperator.execute_complete(self, context, event)
        approved = answer["chosen_options"] == [self.APPROVE]
        user = answer["responded_by_user"]
        if user is None or not is_logged_in(user["name"]):
            user = {"id": None, "name": None}
        with self.keel() as (workspace, config):
            if approved:  # Airflow says who started this run, whatever the comparison says about its requester
                require_approver(config, user["name"], {requested_by(context)})
            outcome = rollout.approve(
                workspace,
                config,
                report_id,
                approved=approved,
                approver=user["name"],
                approver_id=user["id"],
                dag_id=context["dag"].dag_id,
                run_id=context["run_id"],
                responded_at=answer["responded_at"],
            )
        self.follow(context, outcome.to_dict(), outcome.outcome)
