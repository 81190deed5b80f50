"""Operators of a rollout: request, stage, promote, keep the champion, watch, confirm, roll back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel.errors import (
    ExperimentRefused,
    InvalidParameter,
    NotApproved,
    NothingToRollBackTo,
    NotPromotable,
    UnknownExperiment,
)
from keel.monitoring.records import ReconcileRecord
from keel_airflow.operators.base import (
    SCHEDULED_INTERVAL_END,
    BranchStepOperator,
    DecisionStepOperator,
    StepOperator,
    TaskResult,
    first_time,
    rendered_id,
    rendered_record,
    requested_by,
    requested_values,
    started_by_hand,
)
from keel_airflow.params import NO_REASON

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.monitoring.records import (
        ExperimentDecision,
        Outcome,
        ProbationDecision,
        PromotionRequest,
        RollbackRequest,
    )
    from keel.workspace import Workspace


class RequestPromotionOperator(StepOperator):
    """Records that a version shall go into production, as a decision like any other.

    The run's parameters ``version``, ``reason``, ``experiment`` and ``force`` give the version, the reason, the
    experiment that serves as evidence, and whether the promotion is forced. Only the user who started this very run by
    hand may force it: a task that starts a run lends it the name of the user who started its own run.

    :param end: hour at which the holdout ends, or empty. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*StepOperator.template_fields, "end", "now")

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

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> PromotionRequest:
        """Check who may force, then store the decision."""
        from keel import rollout

        params = context["params"]
        if params["force"] and not started_by_hand(context):
            raise NotApproved(f"{config.model}: force: only a person may force a promotion, by a run of their own")
        if params["force"] and params["reason"].strip() in ("", NO_REASON):
            raise InvalidParameter("params.reason: a forced promotion needs a reason of your own")
        with requested_values(NotPromotable, ExperimentRefused, UnknownExperiment):
            return rollout.request_promotion(
                workspace,
                config,
                version=params["version"],
                reason=params["reason"],
                force=params["force"],
                experiment=params["experiment"],
                end=first_time(self.end, self.now),
                actor=requested_by(context),
                run_id=context["run_id"],
            )


class ComparisonStepOperator(StepOperator):
    """A step that carries out a comparison.

    The comparison that it gets only names one. What was found is read from the store, and who approved it from the
    ledger, because any task can write an XCom.

    :param comparison: result of `CompareModelsOperator`. (templated)
    """

    template_fields = (*StepOperator.template_fields, "comparison")

    def __init__(self, *, comparison: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.comparison = comparison


class StageOperator(ComparisonStepOperator):
    """Makes the challenger the staging version, which waits for approval."""

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Stage the challenger, and return the outcome."""
        from keel import rollout

        return rollout.stage(
            workspace,
            config,
            rendered_id(self.comparison, "report_id"),
            actor=requested_by(context),
            run_id=context["run_id"],
        )


class PromoteOperator(ComparisonStepOperator):
    """Makes the challenger the production version, with a row in the ledger."""

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Promote the challenger, and return the outcome."""
        from keel import rollout

        return rollout.promote(
            workspace,
            config,
            rendered_id(self.comparison, "report_id"),
            actor=requested_by(context),
            run_id=context["run_id"],
        )


class KeepChampionOperator(ComparisonStepOperator):
    """Records that the comparison did not show the challenger to be better, and why."""

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Record the rejection, and return the outcome."""
        from keel import rollout

        return rollout.keep_champion(
            workspace,
            config,
            rendered_id(self.comparison, "report_id"),
            actor=requested_by(context),
            run_id=context["run_id"],
        )


class RequestRollbackOperator(StepOperator):
    """Records that a user or the API requested a rollback, as a decision like any other.

    The run's parameters ``version`` and ``reason`` give the version to roll back to, and the reason.

    :param now: the time the run was due. (templated)
    """

    template_fields = (*StepOperator.template_fields, "now")

    def __init__(self, *, now: datetime | str = "{{ dag_run.run_after }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.now = now

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> RollbackRequest:
        """Store the decision."""
        from keel import rollout

        params = context["params"]
        # Without a version in the parameters, on-call has to know that production cannot be rolled back.
        with requested_values(*([NothingToRollBackTo] if params["version"] else [])):
            return rollout.request_rollback(
                workspace,
                config,
                reason=params["reason"],
                version=params["version"],
                end=first_time(self.now),
                actor=requested_by(context),
                run_id=context["run_id"],
            )


class RollbackOperator(DecisionStepOperator):
    """Puts the previous version, or the requested one, back into production: in the deployments and in MLflow.

    :param actor: the actor in the ledger; empty: the user who requested the run. (templated)
    """

    template_fields = (*DecisionStepOperator.template_fields, "actor")

    def __init__(self, *, actor: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.actor = actor

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Roll back, and return the outcome."""
        from keel import rollout

        actor = self.actor or requested_by(context)
        return rollout.rollback(
            workspace, config, rendered_id(self.decision, "decision_id"), actor=actor, run_id=context["run_id"]
        )


class ConfirmOperator(DecisionStepOperator):
    """Ends the probation of a version that passed it, or whose probation ran out, with a row in the ledger.

    :param actor: the actor in the ledger. (templated)
    """

    template_fields = (*DecisionStepOperator.template_fields, "actor")

    def __init__(self, *, actor: str = "keel", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.actor = actor

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """End the probation, and return the outcome."""
        from keel import rollout

        return rollout.confirm(
            workspace, config, rendered_id(self.decision, "decision_id"), actor=self.actor, run_id=context["run_id"]
        )


class WatchDeploymentOperator(BranchStepOperator):
    """Evaluates the version on probation and the running experiment, and runs only the branch of what follows.

    The version on probation is tested against its baseline from the holdout, and against the version before it.

    :param branches: task by what follows: ``no_action``, ``notify``, ``rollback``, ``confirm``, and for an experiment
        ``promote`` or ``stage``, and ``end_experiment``
    :param findings: result of `ReconcileOperator`. (templated)
    :param end: time until which it is evaluated, or empty; no later than now. (templated)
    :param interval_end: end of the schedule's interval; empty for other runs. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*BranchStepOperator.template_fields, "findings", "end", "interval_end", "now")

    def __init__(
        self,
        *,
        findings: TaskResult,
        end: datetime | str | None = "{{ params.end }}",
        interval_end: datetime | str | None = SCHEDULED_INTERVAL_END,
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.findings = findings
        self.end = end
        self.interval_end = interval_end
        self.now = now

    def step(
        self, workspace: Workspace, config: ModelConfig, context: Context
    ) -> ProbationDecision | ExperimentDecision:
        """Evaluate the probation, then the experiment."""
        from keel import rollout

        return rollout.watch_deployment(
            workspace,
            config,
            # A later end would count labels before they have matured.
            end=min(first_time(self.end, self.interval_end, self.now), datetime.now(UTC)),
            run_id=context["run_id"],
            reconciled=rendered_record(self.findings, ReconcileRecord),
        )

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Follow the verdict."""
        return [result["branch"]]
