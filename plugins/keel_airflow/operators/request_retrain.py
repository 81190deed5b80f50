"""Ask for a retraining by hand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class RequestRetrainOperator(KeelOperator):
    """Records that a person or the API asked for a retraining, as a decision like any other.

    Why, in the asker's words, is the run's parameter ``reason``: a native template would read ``None`` as no reason.

    :param start: first hour of the window, or empty. (templated)
    :param end: hour at which the window ends, or empty. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "start", "end", "now")

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.now = now

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
            asked = {"reason": context["params"]["reason"], "run_id": context["run_id"]}
            return loop.request_retrain(workspace, config, window=window, **asked)
