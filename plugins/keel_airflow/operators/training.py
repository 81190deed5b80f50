"""Operators of a retraining: request it, train a challenger, compare it with the champion, measure versions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.errors import ConfigError, UnknownVersion
from keel.monitoring.records import DecisionRecord, PromotionRequest, TrainedVersion
from keel_airflow.operators.base import (
    BranchStepOperator,
    DecisionStepOperator,
    StepOperator,
    TaskResult,
    first_time,
    rendered,
    rendered_record,
    requested_by,
    requested_values,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.rollout.benchmark import BenchmarkRecord
    from keel.workspace import Workspace


class RequestRetrainOperator(StepOperator):
    """Records that a user or the API requested a retraining, as a decision like any other.

    The run's parameter ``reason`` gives the reason. It is no template field, because a native template would read the
    reason ``None`` as no reason.

    :param start: first hour of the window, or empty. (templated)
    :param end: hour at which the window ends, or empty. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*StepOperator.template_fields, "start", "end", "now")

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

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> DecisionRecord:
        """Store the decision."""
        from keel import loop

        with requested_values(ConfigError):
            window = loop.resolve_window(config, start=self.start, end=self.end, now=first_time(self.now))
        return loop.request_retrain(
            workspace,
            config,
            window=window,
            reason=context["params"]["reason"],
            run_id=context["run_id"],
        )


class RetrainOperator(DecisionStepOperator):
    """Trains a challenger on labelled rows before the holdout, and registers it.

    Returns the new version, its holdout and its metrics.
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> TrainedVersion:
        """Train and register the challenger."""
        from keel import loop

        return loop.retrain(
            workspace,
            config,
            rendered_record(self.decision, DecisionRecord),
            actor=requested_by(context),
            run_id=context["run_id"],
        )


class CompareModelsOperator(BranchStepOperator):
    """Compares challenger and champion on a holdout that neither has seen, and runs only the branch of the verdict.

    :param branches: task by what comes next: ``promote``, ``stage``, ``keep_champion``
    :param candidate: result of `RetrainOperator` or `RequestPromotionOperator`. (templated)
    """

    template_fields = (*BranchStepOperator.template_fields, "candidate")

    def __init__(self, *, candidate: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> dict[str, Any]:
        """Compare the versions, and store the comparison. Its curves and tables for the page stay in the store."""
        from keel import rollout

        candidate = rendered(self.candidate, dict)
        kind = PromotionRequest if "action" in candidate else TrainedVersion
        return rollout.compare(workspace, config, kind.from_dict(candidate)).to_ledger()

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Follow the verdict."""
        return [result["next"]]


class BenchmarkOperator(StepOperator):
    """Measures latency, throughput, memory and size of versions side by side, and logs them to their runs in MLflow.

    Returns the numbers of each version, and their ratios to those of the version in production.

    :param versions: the versions; empty: those deployed, and the newest candidate. (templated)
    """

    template_fields = (*StepOperator.template_fields, "versions")

    def __init__(self, *, versions: list[int] | str = "{{ params.versions }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.versions = versions

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> BenchmarkRecord:
        """Measure the versions on logged predictions."""
        from keel.rollout.benchmark import benchmark_versions

        with requested_values(UnknownVersion, ConfigError):
            return benchmark_versions(workspace, config, rendered(self.versions, list))
