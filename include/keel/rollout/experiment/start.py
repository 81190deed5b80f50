"""Starting an experiment between the champion and a challenger, and stopping it."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from keel import deployments
from keel.config.loading import shown_duration
from keel.config.sections import METRICS_OF_KIND
from keel.deployments import experiments
from keel.deployments.experiments import Outcome
from keel.deployments.history import history
from keel.errors import ExperimentRefused
from keel.evaluation.experiment.plan import MAX_DURATION, MIN_DURATION, Plan
from keel.ledger import entries as ledger
from keel.monitoring.decision import Action, Decision
from keel.monitoring.records import Plain, request_id, store_decision
from keel.rollout.eligibility import promotable, require_promotable
from keel.rollout.experiment.parameters import MAX_N, ExperimentParameters
from keel.stats.metrics.losses import ROW_LOSSES
from keel.stats.sequential.bounded_losses import promised_loss
from keel.training.datasets import recent_rows
from keel.window import HOUR, Window, floor_hour, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.stats.metrics.losses import Estimate
    from keel.workspace import Workspace

STAND_IN = {"roc_auc": "brier"}
"""A ranking has no loss per row; the proper score that needs no threshold stands in for it."""
JUDGED_BY_ANOTHER = ("roc_auc", "log_loss")
"""Metrics in whose place the Brier score is judged (`keel.stats.sequential.bounded_losses`)."""


def start_experiment(
    ws: Workspace, config: ModelConfig, *,
    actor: str, run_id: str, reason: str, now: datetime, **asked: Unpack[ExperimentParameters],
) -> Plain:  # fmt: skip
    """Let a challenger answer, or in shadow mode only be asked too, beside the version in production.

    now: from when rows count. The same run again starts nothing new.

    Raises
    ------
    ExperimentRefused
        No reason is given, one runs already, or the plan could not end in a verdict, or asks for less than the gate.
    NoProductionVersion, NotPromotable, ArtifactChanged
        There is nothing to compare with, or the challenger could not go into production.

    """
    _require_reason(config, reason)
    experiment_id = identity_of(config.model, run_id)
    known = {each.plan.experiment_id: each.plan for each in experiments.list_all(ws.store, config.model)}
    plan = known.get(experiment_id)
    if plan is None:
        plan = _planned(ws, config, asked, experiment_id=experiment_id, now=now)
        ws.registry.preflight(config, plan.challenger, recent_rows(ws, config))
    sentence = f"Started {experiment_id}: {summary(plan)}: {reason}"
    evidence = {"sentence": sentence, "reason": reason, "requested_by": actor}
    experiments.start(ws.store, plan, actor=actor, now=now_utc(), evidence=evidence, run_id=run_id)
    about = {"model": config.model, "version": plan.champion, "window": _hour_of(plan.started_at)}
    return store_decision(
        ws, request_id(config.model, "start experiment", run_id), about, Decision(Action.START_EXPERIMENT, sentence),
        run_id, experiment_id=experiment_id, plan=plan.to_dict(), reason=reason, requested_by=actor,
    )  # fmt: skip


def stop_experiment(
    ws: Workspace, config: ModelConfig, *, actor: str, run_id: str, reason: str, now: datetime
) -> Plain:
    """End the running experiment without a verdict: the champion answers everybody again. The same run again does not.

    Raises
    ------
    ExperimentRefused
        None runs, or no reason is given.

    """
    _require_reason(config, reason)
    plan = _stopped_before(ws, config, run_id) or experiments.running(ws.store, config.model)
    if plan is None:
        raise ExperimentRefused(
            f"{config.model}: no experiment runs; those that ran: keel experiment list {config.model}"
        )
    sentence = f"Stopped {plan.experiment_id} without a verdict: {reason}"
    experiments.end(
        ws.store, config.model, plan.experiment_id, outcome=Outcome.STOPPED, actor=actor, now=now_utc(), run_id=run_id,
        evidence={"sentence": sentence, "reason": reason, "requested_by": actor},
    )  # fmt: skip
    asked = {"model": config.model, "version": plan.champion, "window": _hour_of(now)}
    return store_decision(
        ws, request_id(config.model, "stop experiment", run_id), asked, Decision(Action.STOP_EXPERIMENT, sentence),
        run_id, experiment_id=plan.experiment_id, reason=reason, requested_by=actor,
    )  # fmt: skip


def _require_reason(config: ModelConfig, reason: str) -> None:
    if not reason.strip():
        raise ExperimentRefused(f"{config.model}: reason: say why; it is kept in the ledger")


def _planned(
    ws: Workspace, config: ModelConfig, asked: ExperimentParameters, *, experiment_id: str, now: datetime
) -> Plan:
    """Return the plan that is asked for, with what the gate asks where nobody says."""
    champion = deployments.production_version(ws.store, config.model)
    challenger = _challenger(ws, config, champion, asked.get("challenger"))
    metric = _metric(config, asked.get("metric"))
    margin, alpha, delay = asked.get("margin"), asked.get("alpha"), config.target.label_delay
    plan = Plan(
        experiment_id=experiment_id, model=config.model, champion=champion, challenger=challenger,
        mode=asked.get("mode", "ab"), stages=tuple(asked.get("stages", ())), salt=asked.get("salt") or experiment_id,
        metric=metric, margin=_least_margin(config, metric) if margin is None else margin,
        alpha=config.promotion.alpha if alpha is None else alpha, max_n=asked.get("max_n", MAX_N),
        least=asked.get("least") or MIN_DURATION, most=asked.get("most") or MAX_DURATION + delay, started_at=now,
        promised=_promised(ws, config, champion, metric), label_delay=delay,
    )  # fmt: skip
    if laxer := laxer_than_the_gate(config, plan):
        raise ExperimentRefused(f"{config.model}: {laxer}")
    if plan.most <= plan.least + delay:
        raise ExperimentRefused(
            f"{config.model}: most ({shown_duration(plan.most)}) must be longer than least and target.label_delay "
            f"together ({shown_duration(plan.least + delay)}), or it ends before a verdict can come"
        )
    return plan


def laxer_than_the_gate(config: ModelConfig, plan: Plan) -> str:
    """Say in what a plan asks for less than the model's policy does; empty where it does not.

    Its verdict promotes, so that whoever starts it could otherwise open the gate.
    """
    policy, least = config.promotion, _least_margin(config, plan.metric)
    named = sorted(
        {STAND_IN.get(name, name) for name in (config.performance.metric, *config.performance.extra_metrics)}
    )
    if plan.metric not in named:
        return (
            f"{plan.metric} is not what the model is judged by, which is policy: {', '.join(named)}; add it to "
            "performance.extra_metrics"
        )
    if math.isfinite(plan.margin) and plan.margin < least:
        return f"margin {plan.margin:g} is below {least:g}, which is policy (promotion.margin): ask for more, not less"
    if plan.alpha > policy.alpha:
        return f"alpha {plan.alpha:g} is above promotion.alpha ({policy.alpha:g}), which is policy: ask for less"
    if plan.label_delay < config.target.label_delay:
        before, now = shown_duration(plan.label_delay), shown_duration(config.target.label_delay)
        return f"its labels counted {before} after their rows, and target.label_delay, which is policy, is {now}"
    if plan.least < MIN_DURATION:
        asked = shown_duration(plan.least)
        return (
            f"a verdict before {MIN_DURATION.days} days would rest on some days of the week only, and least is {asked}"
        )
    return ""


def _least_margin(config: ModelConfig, metric: str) -> float:
    """Return what an improvement in a metric has to exceed at least: the gate's margin, 0 for another metric.

    What a negative margin tolerates is in units of the gate's own metric. Of the Brier score, which is judged in place
    of the logarithm and of the ranking, as much would be far more harm: none is tolerated then.
    """
    gate, margin = config.performance.metric, config.promotion.margin
    if metric != STAND_IN.get(gate, gate):
        return 0.0
    return max(margin, 0.0) if gate in JUDGED_BY_ANOTHER else margin


def summary(plan: Plan) -> str:
    """Say in half a sentence who is compared with whom, and how."""
    if plan.mode == "shadow":
        return f"version {plan.challenger} answers nobody and is asked everything that version {plan.champion} is"
    shares = ", then ".join(
        f"{stage.share:.4g}" + (f" for {stage.duration}" if stage.duration else "") for stage in plan.stages
    )
    return f"version {plan.challenger} answers a share of {shares} in place of version {plan.champion}"


def identity_of(model: str, run_id: str) -> str:
    """Return the id of the experiment that a run starts."""
    return f"experiment-{hashlib.sha256('|'.join((model, run_id)).encode()).hexdigest()[:16]}"


def _challenger(ws: Workspace, config: ModelConfig, champion: int, asked: int | None) -> int:
    if config.retrain is None:
        raise ExperimentRefused(
            f"{config.model}: has no section retrain, so no {config.model}.promote for a verdict to go on to; add it"
        )
    state = history(ws.store, config.model)
    found = state.deployment.staging if asked is None else asked
    if found is None:
        raise ExperimentRefused(f"{config.model}: no version is staged; name a challenger: {promotable(state)}")
    if found == champion:
        raise ExperimentRefused(
            f"{config.model}: version {champion} is the champion, and a version cannot be compared with itself; "
            f"{promotable(state)}"
        )
    require_promotable(state, found)
    return found


def _metric(config: ModelConfig, asked: str | None) -> str:
    metric = asked or config.performance.metric
    of_kind = METRICS_OF_KIND[config.target.kind]
    if metric not in of_kind or metric not in ROW_LOSSES:
        usable = ", ".join(sorted(of_kind & ROW_LOSSES.keys() - STAND_IN.keys()))
        raise ExperimentRefused(
            f"{config.model}: {metric!r} has no loss per row of a {config.target.kind} target; it can be: {usable}"
        )
    return STAND_IN.get(metric, metric)


def _promised(ws: Workspace, config: ModelConfig, champion: int, metric: str) -> Estimate | None:
    promised = promised_loss(metric, ws.registry.reference(config.model, champion))
    return promised if promised is not None and math.isfinite(promised.standard_error) else None


def _stopped_before(ws: Workspace, config: ModelConfig, run_id: str) -> Plan | None:
    """Return what this very run has stopped already, as when its task runs again."""
    act = {"run_id": run_id, "evidence": {"outcome": str(Outcome.STOPPED)}}
    row = deployments.recorded(ws.store, config.model, ledger.Action.EXPERIMENT_END, act)
    return Plan.from_dict(row.body["evidence"]["plan"]) if row else None


def _hour_of(moment: datetime) -> dict[str, Any]:
    return Window(floor_hour(moment), floor_hour(moment) + HOUR).to_dict()
