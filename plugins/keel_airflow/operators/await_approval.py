"""Wait for a person's yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk.exceptions import TaskAwaitingInput

from keel_airflow.operators.base import KeelBranchOperator, asked_by, is_somebody

if TYPE_CHECKING:
    from airflow.sdk import Context


class AwaitApprovalOperator(KeelBranchOperator, ApprovalOperator):
    """Asks a person for the promotion, waits without a worker, and writes the answer into the ledger.

    The answer is what Airflow hands to the task when it wakes it. A name stands in it only where a user who had logged
    in, and may answer, has answered by Airflow's API: a task answers without a name, as the end of the waiting does,
    and both can only be a no. (A worker has no request by which it could read the answer again; Airflow 3.3 keeps that
    one for its triggerer.) A run that is cleared asks again.

    :param branches: task by answer: ``approved``, ``declined``
    :param comparison: what `CompareModelsOperator` returned. (templated)
    """

    template_fields = (*KeelBranchOperator.template_fields, "comparison")

    def __init__(
        self,
        *,
        comparison: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        # The question is made of the evidence when the task runs; no answer in time is a no.
        super().__init__(subject="", defaults=[ApprovalOperator.REJECT], **kwargs)
        self.comparison = comparison

    def execute(self, context: Context) -> None:
        """Put the question, and wait; what is asked about waits with the task, where no other task can exchange it."""
        from keel import rollout

        with self.keel() as (workspace, config):
            question = rollout.approval_request(workspace, config, self.comparison)
        self.subject, self.body = question["subject"], question["body"]
        try:
            super().execute(context)
        except TaskAwaitingInput as wait:
            wait.kwargs = {"report_id": self.comparison["report_id"]}
            raise

    def execute_complete(self, context: Context, event: dict[str, Any], report_id: str) -> None:
        """Record the answer to what was asked about, then follow it.

        report_id: of the comparison that was shown.
        """
        from keel import rollout
        from keel.rollout.approval import require_approver

        answer = HITLOperator.execute_complete(self, context, event)
        approved = answer["chosen_options"] == [self.APPROVE]
        user = answer["responded_by_user"]
        if user is None or not is_somebody(user["name"]):
            user = {"id": None, "name": None}
        with self.keel() as (workspace, config):
            if approved:  # who started this run is what Airflow says, whatever the comparison says of who asked
                require_approver(config, user["name"], {asked_by(context)})
            outcome = rollout.approve(
                workspace,
                config,
                {"report_id": report_id},
                approved=approved,
                approver=user["name"],
                approver_id=user["id"],
                dag_id=context["dag"].dag_id,
                run_id=context["run_id"],
                responded_at=answer["responded_at"],
            )
        self.follow(context, outcome, outcome["outcome"])
