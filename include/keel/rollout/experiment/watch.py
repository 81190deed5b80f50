"""Looking at a running experiment, and deciding what its verdict leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments import experiments
from keel.deployments.experiments import Outcome
from keel.deployments.history import History, history
from keel.evaluation.experiment.analysis import evaluate
from keel.evaluation.experiment.outcomes import outputs_for
from keel.evaluation.experiment.report import ExperimentVerdict
from keel.evaluation.holdout.comparison import Verdict
from keel.monitoring.decision import Action, Decision
from keel.monitoring.records import Plain, store_decision
from keel.rollout.experiment.verdict import branch_of, comparison_of, decision_id
from keel.window import HOUR, Window, ceil_hour, floor_hour, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.evaluation.experiment.plan import Plan
    from keel.evaluation.experiment.report import ExperimentEvaluation
    from keel.workspace import Workspace

CONCLUSIVE = (Outcome.PROMOTE, Outcome.ROLL_BACK, Outcome.NO_DIFFERENCE)
"""Verdicts on the versions themselves, which go the way of a comparison."""
NOTHING_KEPT = {"branch": "end_experiment", "report_id": None, "comparison_id": None}
"""What an end leads to that is told and leads to nothing else."""


def evaluate_experiment(ws: Workspace, config: ModelConfig, plan: Plan, *, end: datetime) -> ExperimentEvaluation:
    """Evaluate an experiment on what was known of its rows by ``end``; keeps and changes nothing."""
    until = max(end, plan.started_at)
    rows = ws.predictions(config).experiment_rows(plan.experiment_id, plan.started_at, until, outputs_for(plan))
    return evaluate(plan, *rows, now=until)


def watch_experiment(
    ws: Workspace, config: ModelConfig, *, end: datetime, run_id: str, findings: Sequence[str] = ()
) -> Plain:
    """Look at the running experiment on what was known by ``end``, and keep what was found.

    findings: what else there is to tell. ``branch`` is ``no_action`` (none runs, or it goes on), ``promote``, ``stage``
    (it would be promoted, and a person must agree) or ``end_experiment`` (everything else that ends it; also that it
    was made void since the look before, which is told). With any but the first a decision was kept, which
    `conclude_experiment` carries out.
    """
    state = history(ws.store, config.model)
    plan, production = state.experiment, state.deployment.production
    if plan is not None:
        found = _found(ws, config, state, plan, end=end)
    else:
        last = next(iter(experiments.list_all(ws.store, config.model)), None)
        kept = last and ws.store.decisions.get(decision_id(last.plan.experiment_id))
        if kept and kept["run_id"] == run_id:  # all of this run again, after it ended the experiment
            body: Plain = kept["body"]
            return {**body, "branch": branch_of(body)}
        if last is None or kept or (last.outcome or {})["outcome"] != Outcome.VOID:
            return _nothing(config, production, end)
        plan, found = last.plan, {**NOTHING_KEPT, **(last.outcome or {})}  # which nobody was told of
    about = {"model": config.model, "version": production, "window": _until(plan, end).to_dict()}
    if found["branch"] == "no_action":  # the hourly look that finds nothing leaves no decision
        return {**about, "action": str(Action.END_EXPERIMENT), "decision_id": None, **found}
    sentence = found.pop("sentence")
    return store_decision(
        ws, decision_id(plan.experiment_id), about, Decision(Action.END_EXPERIMENT, sentence, (found["outcome"],)),
        run_id, experiment_id=plan.experiment_id, findings=list(findings), requested_by=None, **found,
    )  # fmt: skip


def _found(ws: Workspace, config: ModelConfig, state: History, plan: Plan, *, end: datetime) -> Plain:
    """Return what a look finds and leads to, with the reports that it has left."""
    look = evaluate_experiment(ws, config, plan, end=end).to_dict()
    sentence = f"{plan.experiment_id}: {look['sentence']}"
    found = {**NOTHING_KEPT, "report_id": _keep(ws, plan, look, end), "outcome": look["verdict"], "sentence": sentence}
    if look["verdict"] == ExperimentVerdict.RUNNING:
        return {**found, "branch": "no_action"}
    if look["verdict"] in CONCLUSIVE:
        body = comparison_of(ws, config, state, plan, look, report=found["report_id"], end=end)
        found |= {"comparison_id": body["report_id"], "sentence": body["sentence"]}
        if body["verdict"] == Verdict.PASS:
            found["branch"] = "promote" if config.promotion.approval == "auto" else "stage"
    return found


def _keep(ws: Workspace, plan: Plan, look: Mapping[str, Any], end: datetime) -> str:
    """Keep a look in place of the one before it, which it says all of; what ends the experiment is the last."""
    identity = f"experiment-look-{plan.experiment_id.removeprefix('experiment-')}"
    body, window = {**look, "experiment_id": plan.experiment_id}, _until(plan, end)
    span = window.start, window.end
    ws.store.reports.put(identity, plan.model, plan.challenger, "experiment", *span, look["verdict"], body, now_utc())
    return identity


def _until(plan: Plan, end: datetime) -> Window:
    """Return the hours of an experiment until an end, one at least."""
    start = floor_hour(plan.started_at)
    return Window(start, max(ceil_hour(end), start + HOUR))


def _nothing(config: ModelConfig, production: int | None, end: datetime) -> Plain:
    window = Window(floor_hour(end), floor_hour(end) + HOUR)
    return {
        "model": config.model, "version": production, "window": window.to_dict(), "branch": "no_action",
        "action": str(Action.END_EXPERIMENT), "sentence": f"No experiment of {config.model} runs.", "outcome": None,
        "decision_id": None,
    }  # fmt: skip
