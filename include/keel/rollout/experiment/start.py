"""Start an experiment between the champion and a challenger, and stop it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Unpack

from keel import deployments
from keel.config.loading import shown_duration
from keel.config.sections import METRICS_OF_KIND
from keel.deployments import experiments
from keel.deployments.experiments import Outcome
from keel.deployments.history import history
from keel.errors import ExperimentRefused
from keel.evaluation.experiment.plan import MAX_DURATION, MIN_DURATION, Plan
from keel.ledger import entries as ledger
from keel.monitoring.records import Action, ExperimentRequest
from keel.monitoring.storage import derived_id, request_id, store_decision
from keel.rollout.eligibility import promotable, require_promotable
from keel.rollout.experiment.parameters import MAX_OUTCOMES, ExperimentParameters, refuse_renamed
from keel.stats.metrics.losses import ROW_LOSSES
from keel.stats.sequential.bounded_losses import baseline_loss
from keel.training.datasets import recent_rows
from keel.window import HOUR, Window, floor_hour, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.stats.metrics.losses import Estimate
    from keel.workspace import Workspace

STAND_IN = {"roc_auc": "brier"}
"""A ranking has no loss per row; the proper score that needs no threshold replaces it."""
MEASURED_BY_ANOTHER = ("roc_auc", "log_loss")
"""Metrics that the Brier score replaces in experiments (`keel.stats.sequential.bounded_losses`)."""


def start_experiment(
    ws: Workspace,
    config: ModelConfig,
    *,
    actor: str,
    run_id: str,
    reason: str,
    now: datetime,
    **parameters: Unpack[ExperimentParameters],
) -> ExperimentRequest:
    """Start an experiment: the challenger answers a share of the requests, or scores all of them in shadow mode.

    now: from when rows count. The same run again starts no other experiment.

    Raises
    ------
    ExperimentRefused
        No reason is given, another experiment is running, the plan could not end in a verdict, or it requires less
        than the policy.
    NoProductionVersion, NotPromotable, ArtifactChanged
        There is no champion, or the challenger could not go into production.

    """
    _require_reason(config, reason)
    refuse_renamed(parameters)
    experiment_id = identity_of(config.model, run_id)
    known = {each.plan.experiment_id: each.plan for each in experiments.list_all(ws.store, config.model)}
    plan = known.get(experiment_id)
    if plan is None:
        plan = planned(ws, config, parameters, experiment_id=experiment_id, now=now)
        plan = replace(plan, baseline=_baseline(ws, config, plan.champion, plan.metric))
        ws.registry.preflight(config, plan.challenger, recent_rows(ws, config))
    sentence = f"Started {experiment_id}: {summary(plan)}: {reason}"
    evidence = {"sentence": sentence, "reason": reason, "requested_by": actor}
    experiments.start(ws.store, plan, actor=actor, now=now_utc(), evidence=evidence, run_id=run_id)
    request = ExperimentRequest(
        decision_id=request_id(config.model, "start experiment", run_id),
        model=config.model,
        version=plan.champion,
        window=_hour_of(plan.started_at),
        action=Action.START_EXPERIMENT,
        sentence=sentence,
        reason=reason,
        requested_by=actor,
        experiment_id=experiment_id,
        plan=plan.to_dict(),
    )
    return store_decision(ws, request, run_id=run_id)


def stop_experiment(
    ws: Workspace,
    config: ModelConfig,
    *,
    actor: str,
    run_id: str,
    reason: str,
    now: datetime,
    experiment_id: str | None = None,
) -> ExperimentRequest:
    """Stop the running experiment without a verdict. The same run again stops no other experiment.

    experiment_id: which one is meant; None for the one that is running.

    Raises
    ------
    ExperimentRefused
        No experiment is running, or another one than is meant, or no reason is given.

    """
    _require_reason(config, reason)
    plan = _stopped_before(ws, config, run_id) or experiments.running(ws.store, config.model)
    if plan is None:
        raise ExperimentRefused(
            f"{config.model}: no experiment is running; earlier ones: keel experiment list {config.model}"
        )
    if experiment_id not in (None, plan.experiment_id):
        raise ExperimentRefused(
            f"{config.model}: {experiment_id} is not running: {plan.experiment_id} is; name that one to stop it"
        )
    sentence = f"Stopped {plan.experiment_id} without a verdict: {reason}"
    experiments.end(
        ws.store,
        config.model,
        plan.experiment_id,
        outcome=Outcome.STOPPED,
        actor=actor,
        now=now_utc(),
        run_id=run_id,
        evidence={"sentence": sentence, "reason": reason, "requested_by": actor},
    )
    request = ExperimentRequest(
        decision_id=request_id(config.model, "stop experiment", run_id),
        model=config.model,
        version=plan.champion,
        window=_hour_of(now),
        action=Action.STOP_EXPERIMENT,
        sentence=sentence,
        reason=reason,
        requested_by=actor,
        experiment_id=plan.experiment_id,
    )
    return store_decision(ws, request, run_id=run_id)


def _require_reason(config: ModelConfig, reason: str) -> None:
    if not reason.strip():
        raise ExperimentRefused(f"{config.model}: reason: give a reason; the ledger stores it")


def planned(
    ws: Workspace, config: ModelConfig, parameters: ExperimentParameters, *, experiment_id: str, now: datetime
) -> Plan:
    """Return the requested plan, with the policy's values as defaults and no baseline. The registry is not asked.

    Raises
    ------
    ExperimentRefused
        The plan could not end in a verdict, or requires less than the policy.
    NoProductionVersion, NotPromotable
        There is no champion, or the challenger could not go into production.

    """
    champion = deployments.production_version(ws.store, config.model)
    challenger = _challenger(ws, config, champion, parameters.get("challenger"))
    metric = _metric(config, parameters.get("metric"))
    margin, alpha, delay = parameters.get("margin"), parameters.get("alpha"), config.target.label_delay
    plan = Plan(
        experiment_id=experiment_id,
        model=config.model,
        champion=champion,
        challenger=challenger,
        mode=parameters.get("mode", "ab"),
        stages=tuple(parameters.get("stages", ())),
        salt=parameters.get("salt") or experiment_id,
        metric=metric,
        margin=_min_margin(config, metric) if margin is None else margin,
        alpha=config.promotion.alpha if alpha is None else alpha,
        max_outcomes=parameters.get("max_outcomes", MAX_OUTCOMES),
        min_duration=parameters.get("min_duration") or MIN_DURATION,
        max_duration=parameters.get("max_duration") or MAX_DURATION + delay,
        started_at=now,
        baseline=None,
        label_delay=delay,
    )
    if laxer := laxer_than_the_gate(config, plan):
        raise ExperimentRefused(f"{config.model}: {laxer}")
    if plan.max_duration <= plan.min_duration + delay:
        raise ExperimentRefused(
            f"{config.model}: max_duration ({shown_duration(plan.max_duration)}) must be longer than min_duration and "
            f"target.label_delay together ({shown_duration(plan.min_duration + delay)}), or no verdict is possible"
        )
    return plan


def laxer_than_the_gate(config: ModelConfig, plan: Plan) -> str:
    """Return in what a plan requires less than the model's policy; empty where it does not.

    The verdict promotes, so a laxer plan would get around the policy.
    """
    policy, min_margin = config.promotion, _min_margin(config, plan.metric)
    metrics = (config.performance.metric, *config.performance.extra_metrics)
    named = sorted({STAND_IN.get(name, name) for name in metrics})
    if plan.metric not in named:
        return f"{plan.metric} is not a metric of the policy: {', '.join(named)}; add it to performance.extra_metrics"
    if math.isfinite(plan.margin) and plan.margin < min_margin:
        return f"margin {plan.margin:g} is below the policy's {min_margin:g} (promotion.margin): require more"
    if plan.alpha > policy.alpha:
        return f"alpha {plan.alpha:g} is above the policy's {policy.alpha:g} (promotion.alpha): use a smaller one"
    if plan.label_delay < config.target.label_delay:
        before, now = shown_duration(plan.label_delay), shown_duration(config.target.label_delay)
        return f"its labels counted {before} after their rows, and the policy's target.label_delay is {now}"
    if plan.min_duration < MIN_DURATION:
        return (
            f"min_duration is {shown_duration(plan.min_duration)}, and a verdict before {MIN_DURATION.days} days would "
            "rest on some days of the week only"
        )
    return ""


def _min_margin(config: ModelConfig, metric: str) -> float:
    """Return the smallest margin that the policy allows: its own, or 0 for another metric.

    A negative margin is in units of the policy's metric. The Brier score replaces the logarithmic loss and the ranking,
    and the same number would mean far more harm there: then no harm is tolerated.
    """
    policy_metric, margin = config.performance.metric, config.promotion.margin
    if metric != STAND_IN.get(policy_metric, policy_metric):
        return 0.0
    return max(margin, 0.0) if policy_metric in MEASURED_BY_ANOTHER else margin


def summary(plan: Plan) -> str:
    """Return in half a sentence which versions are compared, and how."""
    if plan.mode == "shadow":
        return f"version {plan.challenger} scores in the shadow of version {plan.champion}, which answers all requests"
    shares = ", then ".join(
        f"{stage.share:.4g}" + (f" for {stage.duration}" if stage.duration else "") for stage in plan.stages
    )
    return f"version {plan.challenger} answers a share of {shares} in place of version {plan.champion}"


def identity_of(model: str, run_id: str) -> str:
    """Return the id of the experiment that a run starts."""
    return f"experiment-{derived_id(model, run_id)}"


def _challenger(ws: Workspace, config: ModelConfig, champion: int, requested: int | None) -> int:
    if config.retrain is None:
        raise ExperimentRefused(
            f"{config.model}: has no section retrain, so there is no {config.model}.promote to carry out a verdict; "
            "add the section"
        )
    state = history(ws.store, config.model)
    found = state.deployment.staging if requested is None else requested
    if found is None:
        raise ExperimentRefused(f"{config.model}: no version is staged; name a challenger: {promotable(state)}")
    if found == champion:
        raise ExperimentRefused(
            f"{config.model}: version {champion} is the champion, and a version cannot be compared with itself; "
            f"{promotable(state)}"
        )
    require_promotable(state, found)
    return found


def _metric(config: ModelConfig, requested: str | None) -> str:
    metric = requested or config.performance.metric
    of_kind = METRICS_OF_KIND[config.target.kind]
    if metric not in of_kind or metric not in ROW_LOSSES:
        usable = ", ".join(sorted(of_kind & ROW_LOSSES.keys() - STAND_IN.keys()))
        raise ExperimentRefused(
            f"{config.model}: {metric!r} has no loss per row of a {config.target.kind} target; use one of: {usable}"
        )
    return STAND_IN.get(metric, metric)


def _baseline(ws: Workspace, config: ModelConfig, champion: int, metric: str) -> Estimate | None:
    """Return the champion's mean loss on its holdout; None where that is not known."""
    baseline = baseline_loss(metric, ws.registry.reference(config.model, champion))
    return baseline if baseline is not None and math.isfinite(baseline.standard_error) else None


def _stopped_before(ws: Workspace, config: ModelConfig, run_id: str) -> Plan | None:
    """Return the plan that this run stopped before; its task may run again."""
    act = {"run_id": run_id, "evidence": {"outcome": str(Outcome.STOPPED)}}
    row = deployments.recorded(ws.store, config.model, ledger.Action.EXPERIMENT_END, act)
    return Plan.from_dict(row.body["evidence"]["plan"]) if row else None


def _hour_of(time: datetime) -> Window:
    return Window(floor_hour(time), floor_hour(time) + HOUR)
