"""Close the decision's record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordOperator(KeelOperator):
    """Stores with the decision what came of it and who was told.

    :param decision: what `DecideOperator` or `RequestRetrainOperator` returned. (templated)
    :param outcomes: what the branches returned, None for those that did not run. (templated)
    :param channels: the channels that took the message. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "decision", "outcomes", "channels")

    def __init__(
        self,
        *,
        decision: dict[str, Any],
        outcomes: Sequence[dict[str, Any] | None] = (),
        channels: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.outcomes = outcomes
        self.channels = channels

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the finished decision."""
        from keel import loop

        with self.keel() as (workspace, config):
            outcome = next(filter(None, self.outcomes), None)
            return loop.record(workspace, config, self.decision, outcome, channels=list(self.channels))
