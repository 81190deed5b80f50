"""Train a challenger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class RetrainOperator(KeelOperator):
    """Trains a challenger on labelled rows before the holdout, and registers it.

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
        """Return the new version, its holdout and its metrics."""
        from keel import loop

        with self.keel() as (workspace, config):
            asked = {"actor": asked_by(context), "run_id": context["run_id"]}
            return loop.retrain(workspace, config, self.decision, **asked)
