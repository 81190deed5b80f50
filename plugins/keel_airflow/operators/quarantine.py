"""Set a window's rows apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class QuarantineOperator(KeelOperator):
    """Sets the window's rows apart, so that no training reads what a broken pipeline wrote.

    :param decision: what `DecideOperator` or `RequestRetrainOperator` returned. (templated)
    :param actor: who asked for the run, kept in the ledger. (templated)
    :param run_id: the run, kept with the row. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "decision", "actor", "run_id")

    def __init__(
        self,
        *,
        decision: dict[str, Any],
        actor: str = "{{ dag_run.triggering_user_name or 'airflow' }}",
        run_id: str = "{{ run_id }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.actor = actor
        self.run_id = run_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the outcome."""
        from keel import loop

        with self.keel() as (workspace, config):
            return loop.quarantine(workspace, config, self.decision, actor=self.actor, run_id=self.run_id)
