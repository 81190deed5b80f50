"""Count a window of production on the reference grid."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CountWindowOperator(KeelOperator):
    """Resolves the window and counts its hours that are not counted yet.

    One function resolves it for scheduled, asset-triggered and manual runs alike, from what the run is given. A cleared
    run resolves the same window again, as ``now`` is the time the run was due.

    :param start: first hour of the window, or empty. (templated)
    :param end: hour at which the window ends, or empty. (templated)
    :param interval_end: end of the run's data interval; empty without one. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "start", "end", "interval_end", "now")

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        interval_end: datetime | str | None = "{{ data_interval_end | default(none) }}",
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.interval_end = interval_end
        self.now = now

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the version, the window and the rows in it."""
        from keel import loop

        with self.keel() as (workspace, config):
            window = loop.resolve_window(
                config,
                start=loop.parse_time(self.start),
                end=loop.parse_time(self.end),
                interval_end=loop.parse_time(self.interval_end),
                now=loop.parse_time(self.now),
            )
            return loop.count_window(workspace, config, window)
