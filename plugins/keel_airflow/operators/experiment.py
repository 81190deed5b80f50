"""Start or stop an experiment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class ExperimentOperator(KeelOperator):
    """Starts or stops an experiment because a person or the API asked.

    Which, and with what, are the run's parameters, as `keel_airflow.params.experiment_params` describes them.

    :param at: from when rows count, in the data's time, or empty. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "at", "now")

    def __init__(
        self,
        *,
        at: datetime | str | None = "{{ params.at }}",
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.at = at
        self.now = now

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the decision."""
        from keel import loop, rollout

        params = context["params"]
        asked = {
            "actor": asked_by(context),
            "run_id": context["run_id"],
            "reason": params["reason"],
            "now": loop.parse_time(self.at) or loop.parse_time(self.now),
        }
        with self.keel() as (workspace, config):
            if params["action"] == "stop":
                return rollout.stop_experiment(workspace, config, **asked)
            split = {"mode": params["mode"], "allocation": params["allocation"], "ramp": params["ramp"]}
            return rollout.start_experiment(
                workspace,
                config,
                challenger=params["challenger"],
                mode=params["mode"],
                stages=rollout.stages_of(**split),
                metric=params["metric"],
                margin=params["margin"],
                alpha=params["alpha"],
                max_n=params["max_n"],
                least=rollout.duration_of("least", params["least"]),
                most=rollout.duration_of("most", params["most"]),
                **asked,
            )
