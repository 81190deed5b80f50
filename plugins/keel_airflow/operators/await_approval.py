"""Wait for a person's yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator

from keel_airflow.operators.base import KeelBranchOperator, is_somebody

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
        """Put the question, and wait."""
        from keel import rollout

        with self.keel() as (workspace, config):
            question = rollout.approval_request(workspace, config, self.comparison)
        self.subject, self.body = question["subject"], question["body"]
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Record the answer, then follow it."""
        from keel import rollout

        answer = HITLOperator.execute_complete(self, context, event)
        user = answer["responded_by_user"]
        if user and not is_somebody(user["name"]):
            user = None
        with self.keel() as (workspace, config):
            outcome = rollout.approve(
                workspace,
                config,
                self.comparison,
                approved=answer["chosen_options"] == [self.APPROVE],
                approver=user["name"] if user else None,
                approver_id=user["id"] if user else None,
                dag_id=context["dag"].dag_id,
                run_id=context["run_id"],
                responded_at=answer["responded_at"],
            )
        self.follow(context, outcome, outcome["outcome"])
