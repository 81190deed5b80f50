"""An experiment's verdict as a comparison, which promotion, offers and refusals rest on as on any other.

The experiment shows that the challenger is better on the rows that both were given by chance. What else the policy asks
of a version (no segment in which it may be worse, speed, size) is measured beside it, on the same time's rows, and can
only take a pass away.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments.experiments import Outcome
from keel.evaluation.holdout.comparison import Verdict, compare_versions
from keel.evaluation.holdout.report import render
from keel.evaluation.holdout.segments import SegmentStatus, named
from keel.monitoring.records import Plain, report_id
from keel.rollout.experiment.start import laxer_than_the_gate
from keel.rollout.experiment_evidence import BASIS, keep
from keel.rollout.gate import measure_speed
from keel.training.datasets import score_version
from keel.window import Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.deployments.history import History
    from keel.evaluation.experiment.plan import Plan
    from keel.evaluation.holdout.comparison import Comparison
    from keel.workspace import Workspace

VERDICTS = {
    Outcome.PROMOTE: Verdict.PASS,
    Outcome.ROLL_BACK: Verdict.FAIL,
    Outcome.NO_DIFFERENCE: Verdict.INCONCLUSIVE,
}
NUMBERS = ("n", "loss", "improvement", "lower_bound", "upper_bound", "margin", "method", "decided_at")
"""What a comparison takes over from the look, by the same names; losses and their differences in units of the loss."""


def branch_of(decision: Mapping[str, Any]) -> str:
    """Return the branch of a stored decision that ends an experiment. 0.1.0 stored ``offer`` for ``stage``."""
    branch = str(decision["branch"])
    return "stage" if branch == "offer" else branch


def comparison_of(
    ws: Workspace, config: ModelConfig, state: History, plan: Plan, look: Mapping[str, Any], *,
    report: str, end: datetime,
) -> Plain:  # fmt: skip
    """Keep a conclusive look as a comparison, and return it.

    A look that would promote passes only if the plan is as strict as the policy is by now, and nothing else that the
    policy asks for stands against it.
    """
    verdict, reason, also = VERDICTS[Outcome(look["verdict"])], look["sentence"], {}
    if verdict is Verdict.PASS:
        if laxer := laxer_than_the_gate(config, plan):
            verdict, reason = Verdict.INCONCLUSIVE, f"{reason} But the policy has changed since it began: {laxer}."
        elif config.promotion.segments or config.promotion.measures_speed:
            found = _on_its_rows(ws, config, plan, end)
            also = {name: found.to_dict()[name] for name in ("segments", "segment_margin", "speed", "policy")}
            verdict, reason = _less(found, reason)
    span = {"start": plan.started_at.isoformat(), "end": look["decided_at"]}
    hours = Window(floor_hour(plan.started_at), ceil_hour(end)).to_dict()
    about = {"model": plan.model, "version": plan.experiment_id, "window": hours}
    pin = state.pins.get(plan.challenger)
    body = {
        "basis": BASIS, "experiment_id": plan.experiment_id, "experiment": {"report_id": report, **plan.to_dict()},
        "verdict": str(verdict), "reason": reason, **{name: look.get(name) for name in NUMBERS}, **also,
        "champion": plan.champion, "challenger": plan.challenger, "champion_value": look["champion"]["mean_loss"],
        "challenger_value": look["challenger"]["mean_loss"], "metric": plan.metric, "alpha": plan.alpha,
        "level": plan.alpha, "prior_comparisons": 0, "holdout": span, "until": end.isoformat(),
        "decision_id": decision_id(plan.experiment_id), "mlflow_run_id": pin.run_id if pin else None,
        "forced_by": None, "requested_by": None, "model": plan.model,
        "report_id": report_id("comparison", about), "sentence": f"{plan.experiment_id}: {reason}",
    }  # fmt: skip
    keep(ws, body)
    return body


def decision_id(experiment_id: str) -> str:
    """Return the id of the decision that ends an experiment: it has one."""
    return f"end-{hashlib.sha256(experiment_id.encode()).hexdigest()[:16]}"


def log_to_registry(ws: Workspace, body: Plain) -> None:
    """Keep a comparison with the challenger's run in MLflow, as every comparison is."""
    if body["mlflow_run_id"]:
        ws.registry.log_report(body["mlflow_run_id"], "comparison", body, page=render(body))


def _on_its_rows(ws: Workspace, config: ModelConfig, plan: Plan, end: datetime) -> Comparison:
    """Judge both versions on all labelled rows of the experiment's time, each row scored by both."""
    rows = ws.predictions(config).labelled(plan.started_at, end - plan.label_delay)
    return compare_versions(
        score_version(ws, config, plan.champion, rows),
        score_version(ws, config, plan.challenger, rows),
        metric=config.performance.metric,
        policy=config.promotion,
        times=rows["time"].to_numpy().astype("datetime64[us]"),
        segments={name: rows[name].to_numpy(zero_copy_only=False) for name in config.promotion.segments},
        prior_comparisons=0,
        holdout_end=end,
        speed=measure_speed(ws, config, plan.champion, plan.challenger, rows),
    )


def _less(found: Comparison, reason: str) -> tuple[Verdict, str]:
    """Return what is left of a pass after what else the policy asks for, and why."""
    margin, speed = found.policy.segment_margin, found.speed
    against = list(speed.exceeded if speed else ())
    if worse := found.segments.of(SegmentStatus.INFERIOR):
        against.append(f"worse by more than {margin:g} within {named(worse)}")
    elif unclear := found.segments.of(SegmentStatus.NOT_SHOWN):
        against.append(f"not shown to be worse by less than {margin:g} within {named(unclear)}")
    if against:
        return Verdict.FAIL, f"{reason} But the policy also asks for what it does not meet: {'; '.join(against)}."
    missing = list(speed.missing if speed else ())
    if undefined := found.segments.of(SegmentStatus.UNDEFINED):
        missing.append(f"{found.metric} within {named(undefined)}")
    if not math.isfinite(found.improvement):
        missing.append(found.reason)
    if missing:
        return (
            Verdict.INCONCLUSIVE,
            f"{reason} But what else the policy asks for was not measured: {'; '.join(missing)}.",
        )
    return Verdict.PASS, reason
