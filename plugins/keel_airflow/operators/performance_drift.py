"""Check whether realised performance has fallen, by the labels there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PerformanceDriftOperator(KeelOperator):
    """Checks whether realised performance has fallen, by the labels there are.

    Drift is a result and no failure: the task fails only when the check could not be made.

    :param counted: what `CountWindowOperator` returned. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "counted")

    def __init__(
        self,
        *,
        counted: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.counted = counted

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the report's id, its status and the sentence that explains it."""
        from keel import loop

        with self.keel() as (workspace, config):
            return loop.check_performance(workspace, config, self.counted)
