"""Carry out what a look at an experiment has decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ConcludeExperimentOperator(KeelOperator):
    """Ends an experiment, and promotes or offers its challenger or keeps the champion, by the verdict that was kept.

    What it is given only names a decision: that, and what it rests on, is read from the store.

    :param decision: what `WatchDeploymentOperator` returned. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "decision")

    def __init__(
        self,
        *,
        decision: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the outcome."""
        from keel import rollout

        with self.keel() as (workspace, config):
            asked = {"actor": "keel", "run_id": context["run_id"]}
            return rollout.conclude_experiment(workspace, config, self.decision, **asked)
