"""Say what was decided, to those who can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keel_airflow.channels import address
from keel_airflow.operators.base import KeelBranchOperator, run_url

if TYPE_CHECKING:
    from airflow.sdk import Context


class ComposeMessageOperator(KeelBranchOperator):
    """Composes the message, and follows the channels whose connections exist now.

    :param branches: task by channel: ``email``, ``slack``, ``outbox``, and ``none`` when there is nothing to say
    :param decision: what `DecideOperator` or `RequestRetrainOperator` returned. (templated)
    :param outcomes: what the branches returned, None for those that did not run. (templated)
    """

    template_fields = (*KeelBranchOperator.template_fields, "decision", "outcomes")

    def __init__(
        self,
        *,
        decision: dict[str, Any],
        outcomes: Sequence[dict[str, Any] | None] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.outcomes = outcomes

    def execute(self, context: Context) -> None:
        """Push the message, then follow its channels."""
        from keel import loop

        with self.keel() as (workspace, config):
            outcome = next(filter(None, self.outcomes), None)
            message = loop.compose_message(workspace, config, self.decision, outcome, run_url=run_url(context))
        addressed = address(message)
        self.follow(context, addressed, *(addressed["channels"] or ["none"]))
