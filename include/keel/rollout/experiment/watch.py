"""Evaluate a running experiment, and decide what follows from its verdict."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments import experiments
from keel.deployments.data_quarantine import format_interval
from keel.deployments.experiments import Outcome
from keel.deployments.history import History, history
from keel.evaluation.experiment.analysis import evaluate
from keel.evaluation.experiment.outcomes import outputs_for
from keel.evaluation.experiment.report import ExperimentVerdict
from keel.monitoring.label_check import held_labels, quarantine_broken_labels
from keel.monitoring.records import ExperimentDecision
from keel.monitoring.storage import read_decision, store_decision
from keel.rollout.experiment.verdict import comparison_of, decision_id
from keel.rollout.gate import next_step
from keel.stats.json_numbers import finite_or_none
from keel.window import HOUR, Window, ceil_hour, floor_hour, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.evaluation.experiment.plan import Plan
    from keel.evaluation.experiment.report import ExperimentEvaluation
    from keel.monitoring.records import ReconcileRecord
    from keel.workspace import Workspace

CONCLUSIVE = (ExperimentVerdict.PROMOTE, ExperimentVerdict.ROLL_BACK, ExperimentVerdict.NO_DIFFERENCE)
"""Verdicts on the versions themselves, which are carried out like a comparison."""
MAX_PATH = 120
"""Evaluations whose numbers are kept: some 12 KB."""


def evaluate_experiment(ws: Workspace, config: ModelConfig, plan: Plan, *, end: datetime) -> ExperimentEvaluation:
    """Evaluate an experiment on what was known of its rows by ``end``; stores and changes nothing."""
    until = max(end, plan.started_at)
    rows = ws.predictions(config).experiment_rows(plan.experiment_id, plan.started_at, until, outputs_for(plan))
    return evaluate(plan, *rows, now=until)


def watch_experiment(
    ws: Workspace,
    config: ModelConfig,
    *,
    end: datetime,
    run_id: str,
    reconciled: ReconcileRecord | None = None,
) -> ExperimentDecision:
    """Evaluate the running experiment on what was known by ``end``, and store the evaluation.

    reconciled: what `reconcile` found, for the message.

    The decision's ``branch`` is ``no_action`` (no experiment is running, or it continues), ``promote``, ``stage`` (it
    would be promoted, and a person must approve) or ``end_experiment`` (everything else that ends it, and a void
    experiment that people were not notified of). Each but ``no_action`` is stored, for `conclude_experiment`.
    """
    state = history(ws.store, config.model)
    if state.experiment is not None:
        decision = _decided(ws, config, state, state.experiment, end, run_id)
    else:
        last = next(iter(experiments.list_all(ws.store, config.model)), None)
        identity = decision_id(last.plan.experiment_id) if last else ""
        if stored := read_decision(ws, config.model, identity, ExperimentDecision):
            # The whole run again after it ended the experiment; another run has nothing to do.
            made_here = (ws.store.decisions.get(identity) or {})["run_id"] == run_id
            return stored if made_here else _no_experiment(config, state, end)
        if last is None or not last.outcome or last.outcome["outcome"] != Outcome.VOID:
            return _no_experiment(config, state, end)
        # The experiment became void, and people were not notified yet.
        decision = ExperimentDecision(
            decision_id=identity,
            model=config.model,
            version=state.deployment.production,
            window=_window(last.plan, end),
            sentence=last.outcome["sentence"],
            branch="end_experiment",
            outcome=last.outcome["outcome"],
            experiment_id=last.plan.experiment_id,
            report_id=last.outcome.get("report_id"),
            comparison_id=last.outcome.get("comparison_id"),
        )
    if decision.branch == "no_action":
        return decision
    about = (str(decision.outcome),)
    carried = (
        {name: getattr(reconciled, name) for name in ("findings", "undelivered", "out_of_band")} if reconciled else {}
    )
    complete = decision.model_copy(update={"about": about, **carried})
    return store_decision(ws, complete, run_id=run_id)


def _decided(
    ws: Workspace, config: ModelConfig, state: History, plan: Plan, end: datetime, run_id: str
) -> ExperimentDecision:
    """Evaluate the running experiment, store the evaluation, and return what follows.

    A verdict on labels that are quarantined is not carried out. The experiment goes on until a person releases the
    labels, or stops it.
    """
    matured = max(plan.started_at, end - plan.label_delay)
    quarantine_broken_labels(ws, config, plan.started_at, matured, run_id=run_id)
    held = held_labels(ws, config, plan.started_at, matured)
    evaluation = evaluate_experiment(ws, config, plan, end=end)
    report_id = _store_evaluation(ws, plan, evaluation, end)
    branch, sentence, comparison_id = "end_experiment", f"{plan.experiment_id}: {evaluation.sentence}", None
    if evaluation.verdict == ExperimentVerdict.RUNNING:
        branch = "no_action"
    elif held and evaluation.verdict in CONCLUSIVE:
        branch, between = "no_action", format_interval(held[0]["start"], held[-1]["end"])
        sentence = (
            f"{plan.experiment_id}: no verdict, because labels from {between} are quarantined: release them "
            f"(keel quarantine release {plan.model}), or stop the experiment."
        )
    elif evaluation.verdict in CONCLUSIVE:
        comparison = comparison_of(ws, config, state, evaluation, report_id=report_id, end=end)
        comparison_id, sentence = comparison.report_id, comparison.sentence
        if comparison.verdict == "pass":
            branch = next_step(config, comparison)
    return ExperimentDecision(
        decision_id="" if branch == "no_action" else decision_id(plan.experiment_id),
        model=config.model,
        version=state.deployment.production,
        window=_window(plan, end),
        sentence=sentence,
        branch=branch,
        outcome=str(evaluation.verdict),
        experiment_id=plan.experiment_id,
        report_id=report_id,
        comparison_id=comparison_id,
    )


def _store_evaluation(ws: Workspace, plan: Plan, evaluation: ExperimentEvaluation, end: datetime) -> str:
    """Store an evaluation in place of the one before it, which it includes, and return its id."""
    identity = f"experiment-look-{plan.experiment_id.removeprefix('experiment-')}"
    before = ws.store.reports.get(identity)
    path = _path((before or {"body": {}})["body"].get("path") or [], evaluation)
    body, window = {**evaluation.to_dict(), "experiment_id": plan.experiment_id, "path": path}, _window(plan, end)
    ws.store.reports.put(
        identity,
        plan.model,
        plan.challenger,
        "experiment",
        window.start,
        window.end,
        str(evaluation.verdict),
        body,
        now_utc(),
    )
    return identity


def _path(before: list[dict[str, Any]], evaluation: ExperimentEvaluation) -> list[dict[str, Any]]:
    """Return the improvement and its bounds at each evaluation until this one, for the experiment's page.

    A step that runs again replaces its own point. Of a long path every second point is dropped.
    """
    point = {
        "at": (evaluation.decided_at or evaluation.matured_until).isoformat(),
        "n": evaluation.n,
        "improvement": finite_or_none(evaluation.improvement),
        "lower": finite_or_none(evaluation.lower_bound),
        "upper": finite_or_none(evaluation.upper_bound),
    }
    path = [each for each in before if each["at"] < point["at"]]
    return [*(path[::2] if len(path) >= MAX_PATH else path), point]


def _window(plan: Plan, end: datetime) -> Window:
    """Return the hours of an experiment until an end, one at least."""
    start = floor_hour(plan.started_at)
    return Window(start, max(ceil_hour(end), start + HOUR))


def _no_experiment(config: ModelConfig, state: History, end: datetime) -> ExperimentDecision:
    return ExperimentDecision(
        model=config.model,
        version=state.deployment.production,
        window=Window(floor_hour(end), floor_hour(end) + HOUR),
        sentence=f"No experiment of {config.model} is running.",
        branch="no_action",
    )
