"""Keep the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class KeepChampionOperator(KeelOperator):
    """Records that the challenger has not shown to be better, and why.

    :param comparison: what `CompareModelsOperator` returned. (templated)
    :param actor: who asked for the run, kept in the ledger. (templated)
    :param run_id: the run, kept with the row. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "comparison", "actor", "run_id")

    def __init__(
        self,
        *,
        comparison: dict[str, Any],
        actor: str = "{{ dag_run.triggering_user_name or 'airflow' }}",
        run_id: str = "{{ run_id }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.comparison = comparison
        self.actor = actor
        self.run_id = run_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the outcome."""
        from keel import loop

        with self.keel() as (workspace, config):
            return loop.keep_champion(workspace, config, self.comparison, actor=self.actor, run_id=self.run_id)
