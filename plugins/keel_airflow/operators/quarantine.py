"""Set a window's rows apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class QuarantineOperator(KeelOperator):
    """Sets the window's rows apart, so that no training reads what a broken pipeline wrote.

    :param decision: what `DecideOperator` or `RequestRetrainOperator` returned. (templated)
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
        from keel import loop

        with self.keel() as (workspace, config):
            asked = {"actor": asked_by(context), "run_id": context["run_id"]}
            return loop.quarantine(workspace, config, self.decision, **asked)
