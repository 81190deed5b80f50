"""Operators of an experiment: start or stop it, and conclude it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.errors import ConfigError, ExperimentRefused, NotPromotable, UnknownVersion
from keel_airflow.operators.base import (
    DecisionStepOperator,
    StepOperator,
    first_time,
    rendered_id,
    requested_by,
    requested_values,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.monitoring.records import ExperimentRequest, Outcome
    from keel.workspace import Workspace


class ExperimentOperator(StepOperator):
    """Starts or stops an experiment because a user or the API requested it.

    The run's parameters describe it, as in `keel_airflow.params.experiment_params`.

    :param start_at: time from which rows count, by the data's clock, or empty. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*StepOperator.template_fields, "start_at", "now")

    def __init__(
        self,
        *,
        start_at: datetime | str | None = "{{ params.start_at }}",
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start_at = start_at
        self.now = now

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> ExperimentRequest:
        """Start or stop the experiment, and return the decision."""
        from keel import rollout

        params = context["params"]
        with requested_values(ConfigError, ExperimentRefused, NotPromotable, UnknownVersion):
            actor, run_id, reason = requested_by(context), context["run_id"], params["reason"]
            now = first_time(self.start_at, self.now)
            if params["action"] == "stop":
                return rollout.stop_experiment(
                    workspace,
                    config,
                    experiment_id=params["experiment"],
                    actor=actor,
                    run_id=run_id,
                    reason=reason,
                    now=now,
                )
            return rollout.start_experiment(
                workspace,
                config,
                challenger=params["challenger"],
                mode=params["mode"],
                stages=rollout.stages_of(mode=params["mode"], allocation=params["allocation"], ramp=params["ramp"]),
                metric=params["metric"],
                margin=params["margin"],
                alpha=params["alpha"],
                max_outcomes=params["max_outcomes"],
                min_duration=rollout.duration_of("min_duration", params["min_duration"]),
                max_duration=rollout.duration_of("max_duration", params["max_duration"]),
                actor=actor,
                run_id=run_id,
                reason=reason,
                now=now,
            )


class ConcludeExperimentOperator(DecisionStepOperator):
    """Ends an experiment by its stored verdict, and promotes or stages its challenger or keeps the champion.

    The decision that it gets only names one. The verdict and its evidence are read from the store.
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Conclude the experiment, and return the outcome."""
        from keel import rollout

        return rollout.conclude_experiment(
            workspace, config, rendered_id(self.decision, "decision_id"), actor="keel", run_id=context["run_id"]
        )
