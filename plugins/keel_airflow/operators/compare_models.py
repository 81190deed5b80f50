"""Compare challenger and champion on the same holdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelBranchOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CompareModelsOperator(KeelBranchOperator):
    """Judges both versions on the holdout neither has seen, and runs the verdict's branch only.

    :param branches: task by verdict: ``promote``, ``keep_champion``
    :param training: what `RetrainOperator` returned. (templated)
    """

    template_fields = (*KeelBranchOperator.template_fields, "training")

    def __init__(
        self,
        *,
        training: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training = training

    def execute(self, context: Context) -> None:
        """Push the comparison, then follow its verdict."""
        from keel import loop

        with self.keel() as (workspace, config):
            comparison = loop.compare(workspace, config, self.training)
        self.follow(context, comparison, comparison["verdict"])
