"""Ask for the production version to be taken back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class RequestRollbackOperator(KeelOperator):
    """Records that a person or the API asked for a rollback, as a decision like any other.

    To which version, and why, are the run's parameters ``version`` and ``reason``.

    :param now: the time the run was due. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "now")

    def __init__(self, *, now: datetime | str = "{{ dag_run.run_after }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.now = now

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the decision."""
        from keel import loop, rollout

        params = context["params"]
        with self.keel() as (workspace, config):
            return rollout.request_rollback(
                workspace,
                config,
                reason=params["reason"],
                version=params["version"],
                end=loop.parse_time(self.now),
                actor=asked_by(context),
                run_id=context["run_id"],
            )
