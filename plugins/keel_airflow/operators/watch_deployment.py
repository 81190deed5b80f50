"""Watch a version on probation, and the experiment that runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelBranchOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class WatchDeploymentOperator(KeelBranchOperator):
    """Judges a version on probation by what was promised and by the version before it, and a running experiment by what
    its arms have shown, and runs the branch of what is to be done only.

    :param branches: task by what is to be done: ``nothing``, ``rollback``, ``confirm``, ``tell``, and of an experiment
        ``promote`` or ``offer``, and ``end_experiment``
    :param findings: what `ReconcileOperator` returned. (templated)
    :param end: time until which it is judged, or empty; no later than now. (templated)
    :param interval_end: end of the run's data interval; empty without one. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*KeelBranchOperator.template_fields, "findings", "end", "interval_end", "now")

    def __init__(
        self,
        *,
        findings: dict[str, Any],
        end: datetime | str | None = "{{ params.end }}",
        interval_end: datetime | str | None = "{{ data_interval_end | default(none) }}",
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.findings = findings
        self.end = end
        self.interval_end = interval_end
        self.now = now

    def execute(self, context: Context) -> None:
        """Push the verdict, then follow its branch."""
        from keel import loop, rollout

        with self.keel() as (workspace, config):
            times = (loop.parse_time(given) for given in (self.end, self.interval_end, self.now))
            watched = rollout.watch_deployment(
                workspace,
                config,
                # Of a later hour nothing is known yet: its labels would count before they are due.
                end=min(next(filter(None, times)), datetime.now(UTC)),
                run_id=context["run_id"],
                findings=self.findings,
            )
        self.follow(context, watched, watched["branch"])
