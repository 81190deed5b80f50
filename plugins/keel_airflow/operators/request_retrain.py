"""Ask for a retraining by hand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class RequestRetrainOperator(KeelOperator):
    """Records that a person or the API asked for a retraining, as a decision like any other.

    :param reason: why, in the asker's words. (templated)
    :param start: first hour of the window, or empty. (templated)
    :param end: hour at which the window ends, or empty. (templated)
    :param now: the time the run was due. (templated)
    :param run_id: the run, kept with the row. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "reason", "start", "end", "now", "run_id")

    def __init__(
        self,
        *,
        reason: str = "{{ params.reason }}",
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        now: datetime | str = "{{ dag_run.run_after }}",
        run_id: str = "{{ run_id }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reason = reason
        self.start = start
        self.end = end
        self.now = now
        self.run_id = run_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the decision."""
        from keel import loop

        with self.keel() as (workspace, config):
            window = loop.resolve_window(
                config,
                start=loop.parse_time(self.start),
                end=loop.parse_time(self.end),
                now=loop.parse_time(self.now),
            )
            return loop.request_retrain(workspace, config, window=window, reason=str(self.reason), run_id=self.run_id)
