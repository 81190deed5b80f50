"""Turn an experiment's verdict into a comparison, which is carried out like any other.

The experiment shows that the challenger is better on rows that were assigned at random. The policy's other requirements
(no worse segment, latency, size) are measured on the rows of the same time, and can only take a pass away.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments.experiments import Outcome
from keel.evaluation.holdout.comparison import Verdict, compare_versions
from keel.evaluation.holdout.segments import SegmentStatus, describe_segments
from keel.monitoring.records import ComparisonRecord
from keel.monitoring.storage import derived_id, report_id, store_comparison
from keel.rollout.experiment.start import laxer_than_the_gate
from keel.rollout.experiment_evidence import BASIS
from keel.rollout.gate import measure_speed
from keel.training.datasets import score_version
from keel.window import Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.deployments.history import History
    from keel.evaluation.experiment.plan import Plan
    from keel.evaluation.experiment.report import ExperimentEvaluation
    from keel.evaluation.holdout.comparison import Comparison
    from keel.workspace import Workspace

VERDICTS = {
    Outcome.PROMOTE: Verdict.PASS,
    Outcome.ROLL_BACK: Verdict.FAIL,
    Outcome.NO_DIFFERENCE: Verdict.INCONCLUSIVE,
}
NUMBERS = ("n", "loss", "improvement", "lower_bound", "upper_bound", "margin", "method", "decided_at")
"""What a comparison takes from the evaluation, by the same names; losses and differences in units of the loss."""


def comparison_of(
    ws: Workspace,
    config: ModelConfig,
    state: History,
    evaluation: ExperimentEvaluation,
    *,
    report_id: str,
    end: datetime,
) -> ComparisonRecord:
    """Store a conclusive evaluation as a comparison, and return it.

    It passes only if the plan is as strict as the policy is now, and the policy's other requirements are met.

    report_id: of the stored evaluation.
    """
    plan, found = evaluation.plan, evaluation.to_dict()
    verdict, reason, requirements = VERDICTS[Outcome(evaluation.verdict)], evaluation.sentence, dict[str, Any]()
    if verdict is Verdict.PASS:
        if laxer := laxer_than_the_gate(config, plan):
            verdict, reason = Verdict.INCONCLUSIVE, f"{reason} But the policy has changed since it began: {laxer}."
        elif config.promotion.segments or config.promotion.measures_speed:
            measured = _compared_on_its_rows(ws, config, plan, end)
            names = ("segments", "segment_margin", "speed", "policy")
            requirements = {name: measured.to_dict()[name] for name in names}
            verdict, reason = _with_requirements(measured, reason)
    pin = state.pins.get(plan.challenger)
    comparison = ComparisonRecord.from_dict(
        {
            **{name: found.get(name) for name in NUMBERS},
            **requirements,
            "report_id": _comparison_id(plan, end),
            "model": plan.model,
            "basis": BASIS,
            "experiment_id": plan.experiment_id,
            "experiment": {"report_id": report_id, **plan.to_dict()},
            "verdict": verdict,
            "reason": reason,
            "sentence": f"{plan.experiment_id}: {reason}",
            "champion": plan.champion,
            "challenger": plan.challenger,
            "champion_value": found["champion"]["mean_loss"],
            "challenger_value": found["challenger"]["mean_loss"],
            "metric": plan.metric,
            "alpha": plan.alpha,
            "level": plan.alpha,
            "holdout": {"start": plan.started_at, "end": evaluation.decided_at},
            "until": end,
            "decision_id": decision_id(plan.experiment_id),
            "mlflow_run_id": pin.run_id if pin else None,
        }
    )
    return store_comparison(ws, comparison)


def decision_id(experiment_id: str) -> str:
    """Return the id of the decision that ends an experiment: it has one."""
    return f"end-{derived_id(experiment_id)}"


def _comparison_id(plan: Plan, end: datetime) -> str:
    return report_id("comparison", plan.model, plan.experiment_id, Window(floor_hour(plan.started_at), ceil_hour(end)))


def _compared_on_its_rows(ws: Workspace, config: ModelConfig, plan: Plan, end: datetime) -> Comparison:
    """Compare both versions on all labelled rows of the experiment's time, each row scored by both."""
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


def _with_requirements(found: Comparison, reason: str) -> tuple[Verdict, str]:
    """Return what the policy's other requirements leave of a pass, and why."""
    margin, speed = found.policy.segment_margin, found.speed
    failed = list(speed.exceeded if speed else ())
    if worse := found.segments.of(SegmentStatus.INFERIOR):
        failed.append(f"worse by more than {margin:g} within {describe_segments(worse)}")
    elif unclear := found.segments.of(SegmentStatus.NOT_SHOWN):
        failed.append(f"not shown to be worse by less than {margin:g} within {describe_segments(unclear)}")
    if failed:
        return Verdict.FAIL, f"{reason} But it does not meet other requirements of the policy: {'; '.join(failed)}."
    missing = list(speed.missing if speed else ())
    if undefined := found.segments.of(SegmentStatus.UNDEFINED):
        missing.append(f"{found.metric} within {describe_segments(undefined)}")
    if not math.isfinite(found.improvement):
        missing.append(found.reason)
    if missing:
        return (
            Verdict.INCONCLUSIVE,
            f"{reason} But other requirements of the policy could not be measured: {'; '.join(missing)}.",
        )
    return Verdict.PASS, reason
