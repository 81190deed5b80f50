"""Decide what a window asks for, and follow that branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelBranchOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class DecideOperator(KeelBranchOperator):
    """Turns the window's three reports into one action, and runs its branch only.

    :param branches: task or task group by action: ``all_clear``, ``raise_alert``, ``quarantine``, ``retrain``
    :param counted: what `CountWindowOperator` returned. (templated)
    """

    template_fields = (*KeelBranchOperator.template_fields, "counted")

    def __init__(
        self,
        *,
        counted: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.counted = counted

    def execute(self, context: Context) -> None:
        """Push the decision and its sentence, then follow its action."""
        from keel import loop

        with self.keel() as (workspace, config):
            decision = loop.decide(workspace, config, self.counted, run_id=context["run_id"])
        self.follow(context, decision, decision["action"])
