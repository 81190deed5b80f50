"""Offer the challenger to those who must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class OfferOperator(KeelOperator):
    """Makes the challenger the staging version, which waits for a person.

    :param comparison: what `CompareModelsOperator` returned. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "comparison")

    def __init__(
        self,
        *,
        comparison: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.comparison = comparison

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the outcome."""
        from keel import rollout

        with self.keel() as (workspace, config):
            asked = {"actor": asked_by(context), "run_id": context["run_id"]}
            return rollout.stage(workspace, config, self.comparison, **asked)
