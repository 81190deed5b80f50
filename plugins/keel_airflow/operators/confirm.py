"""End a probation that has come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ConfirmOperator(KeelOperator):
    """Ends the probation of a version that has survived it, or whose time is up, with a row in the ledger.

    :param watched: what `WatchDeploymentOperator` returned. (templated)
    :param actor: in whose name. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "watched", "actor")

    def __init__(
        self,
        *,
        watched: dict[str, Any],
        actor: str = "keel",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.watched = watched
        self.actor = actor

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the outcome."""
        from keel import rollout

        with self.keel() as (workspace, config):
            return rollout.confirm(workspace, config, self.watched, actor=self.actor, run_id=context["run_id"])
