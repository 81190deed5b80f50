"""Looking at a running experiment, and deciding what its verdict leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.decision import Action, Decision
from keel.lifecycle import experiments
from keel.lifecycle.comparison import Verdict
from keel.lifecycle.experiment_look import evaluate
from keel.lifecycle.experiment_report import ExperimentVerdict
from keel.lifecycle.experiments import Outcome
from keel.lifecycle.history import History, history
from keel.memory import Plain, keep_decision, now_utc, report_id
from keel.rollout.evidence import PROMOTABLE
from keel.rollout.experiment_gate import comparison_of, decision_id
from keel.rows import prediction_log
from keel.window import HOUR, Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.lifecycle.experiment import Plan
    from keel.lifecycle.experiment_report import ExperimentLook
    from keel.workspace import Workspace

CONCLUSIVE = (Outcome.PROMOTE, Outcome.ROLL_BACK, Outcome.NO_DIFFERENCE)
"""Verdicts on the versions themselves, which go the way of a comparison."""


def look_at_experiment(ws: Workspace, config: ModelConfig, plan: Plan, *, end: datetime) -> ExperimentLook:
    """Evaluate an experiment on what was known of its rows by ``end``; keeps and changes nothing."""
    log, delay = prediction_log(ws, config), config.target.label_delay
    until = max(end, plan.started_at)
    return evaluate(
        plan,
        log.outcomes(plan.experiment_id, plan.started_at, until, delay),
        log.assigned(plan.experiment_id, plan.started_at, until),
        now=until,
        label_delay=delay,
    )


def watch_experiment(
    ws: Workspace, config: ModelConfig, *, end: datetime, run_id: str, findings: Sequence[str] = ()
) -> Plain:
    """Look at the running experiment on what was known by ``end``, and keep what was found.

    findings: what else there is to tell. ``branch`` is ``nothing`` (none runs, or it goes on), ``promote``, ``offer``
    (it would be promoted, and a person must agree) or ``end_experiment`` (everything else that ends it). With any but
    the first a decision was kept, which `conclude_experiment` carries out.
    """
    state = history(ws.store, config.model)
    plan = state.experiment
    if plan is None:
        return _decided_by(ws, config, run_id) or _nothing(config, state.deployment.production, end)
    window = Window(floor_hour(plan.started_at), max(ceil_hour(end), floor_hour(plan.started_at) + HOUR))
    about = {"model": config.model, "version": state.deployment.production, "window": window.to_dict()}
    found = _found(ws, config, state, plan, end=end, window=window)
    if found["branch"] == "nothing":  # the hourly look that finds nothing leaves no decision
        return {**about, "action": str(Action.END_EXPERIMENT), "decision_id": None, **found}
    sentence = found.pop("sentence")
    return keep_decision(
        ws, decision_id(plan.experiment_id), about, Decision(Action.END_EXPERIMENT, sentence, (found["outcome"],)),
        run_id, experiment_id=plan.experiment_id, findings=list(findings), requested_by=None, **found,
    )  # fmt: skip


def _found(ws: Workspace, config: ModelConfig, state: History, plan: Plan, *, end: datetime, window: Window) -> Plain:
    """Return what a look finds and leads to, with the reports that it has left."""
    found: Plain = {"branch": "end_experiment", "report_id": None, "comparison_id": None}
    if sentence := void_because(state, plan):
        return {**found, "outcome": str(Outcome.VOID), "sentence": sentence}
    look = look_at_experiment(ws, config, plan, end=end).to_dict()
    found["report_id"] = _keep(ws, plan, window, look)
    found |= {"outcome": look["verdict"], "sentence": f"{plan.experiment_id}: {look['sentence']}"}
    if look["verdict"] == ExperimentVerdict.RUNNING:
        return {**found, "branch": "nothing"}
    if look["verdict"] in CONCLUSIVE:
        body = comparison_of(ws, config, state, plan, look, report=found["report_id"], end=end)
        found |= {"comparison_id": body["report_id"], "sentence": body["sentence"]}
        if body["verdict"] == Verdict.PASS:
            found["branch"] = "promote" if config.promotion.approval == "auto" else "offer"
    return found


def void_because(state: History, plan: Plan) -> str:
    """Say why an experiment can come to no verdict; empty while it can."""
    production, standing = state.deployment.production, state.standings.get(plan.challenger)
    if production != plan.champion:
        now = "none" if production is None else f"version {production}"
        return (
            f"{plan.experiment_id} is void: {now} is in production, not version {plan.champion}, which version "
            f"{plan.challenger} was compared with."
        )
    if standing is None or standing.status not in PROMOTABLE:
        said = "not known" if standing is None else f"{standing.status} ({standing.reason})"
        return f"{plan.experiment_id} is void: version {plan.challenger}, the challenger, is {said}."
    return ""


def _keep(ws: Workspace, plan: Plan, window: Window, look: Mapping[str, Any]) -> str:
    """Keep a look under the id that the experiment and the window give it."""
    identity = report_id("experiment", {"model": plan.model, "version": plan.experiment_id, "window": window.to_dict()})
    body, span = {**look, "experiment_id": plan.experiment_id}, (window.start, window.end)
    ws.store.reports.put(identity, plan.model, plan.challenger, "experiment", *span, look["verdict"], body, now_utc())
    return identity


def _decided_by(ws: Workspace, config: ModelConfig, run_id: str) -> Plain | None:
    """Return what this very run has decided, as when all of it runs again after it ended the experiment."""
    last = next(iter(experiments.listed(ws.store, config.model)), None)
    kept = ws.store.decisions.get(decision_id(last.plan.experiment_id)) if last else None
    if kept is None or kept["run_id"] != run_id:
        return None
    body: Plain = kept["body"]
    return body


def _nothing(config: ModelConfig, production: int | None, end: datetime) -> Plain:
    window = Window(floor_hour(end), floor_hour(end) + HOUR)
    return {
        "model": config.model, "version": production, "window": window.to_dict(), "branch": "nothing",
        "action": str(Action.END_EXPERIMENT), "sentence": f"No experiment of {config.model} runs.", "outcome": None,
        "decision_id": None,
    }  # fmt: skip
