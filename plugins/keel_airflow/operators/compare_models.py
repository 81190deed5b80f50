"""Compare challenger and champion on the same holdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelBranchOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CompareModelsOperator(KeelBranchOperator):
    """Judges both versions on the holdout neither has seen, and runs the branch of what comes next only.

    :param branches: task by what comes next: ``promote``, ``offer``, ``keep_champion``
    :param asked: what `RetrainOperator` or `RequestPromotionOperator` returned. (templated)
    """

    template_fields = (*KeelBranchOperator.template_fields, "asked")

    def __init__(
        self,
        *,
        asked: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asked = asked

    def execute(self, context: Context) -> None:
        """Push the comparison, then follow its verdict."""
        from keel import rollout

        with self.keel() as (workspace, config):
            comparison = rollout.compare(workspace, config, self.asked)
        self.follow(context, comparison, comparison["next"])
