"""Take the production version back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class RollbackOperator(KeelOperator):
    """Puts the version before it, or the one asked for, back into production: in the deployments and in MLflow.

    :param decision: what `RequestRollbackOperator` or `WatchDeploymentOperator` returned. (templated)
    :param actor: in whose name; empty: who asked for the run. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "decision", "actor")

    def __init__(
        self,
        *,
        decision: dict[str, Any],
        actor: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.actor = actor

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the outcome."""
        from keel import rollout

        with self.keel() as (workspace, config):
            asked = {"actor": self.actor or asked_by(context), "run_id": context["run_id"]}
            return rollout.rollback(workspace, config, self.decision, **asked)
