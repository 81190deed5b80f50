"""Ask for a version to go into production."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by, started_by_hand
from keel_airflow.params import NO_REASON

if TYPE_CHECKING:
    from airflow.sdk import Context


class RequestPromotionOperator(KeelOperator):
    """Records that a version is to go into production, as a decision like any other.

    Which version, why, on which experiment it rests, and whether it is forced are the run's parameters ``version``,
    ``reason``, ``experiment`` and ``force``. Only
    who started this very run by hand may force: a task that starts a run lends it the name of its own run's starter.

    :param end: hour at which the holdout ends, or empty. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "end", "now")

    def __init__(
        self,
        *,
        end: datetime | str | None = "{{ params.end }}",
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.end = end
        self.now = now

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the decision."""
        from keel import loop, rollout
        from keel.errors import ConfigError, NotApproved

        params = context["params"]
        with self.keel() as (workspace, config):
            if params["force"] and not started_by_hand(context):
                raise NotApproved(f"{config.model}: force: only a person may force a promotion, by a run of their own")
            if params["force"] and params["reason"] == NO_REASON:
                raise ConfigError("params.reason: say why the promotion is forced")
            return rollout.request_promotion(
                workspace,
                config,
                version=params["version"],
                reason=params["reason"],
                force=params["force"],
                experiment=params["experiment"],
                end=loop.parse_time(self.end) or loop.parse_time(self.now),
                actor=asked_by(context),
                run_id=context["run_id"],
            )
