"""End an experiment, and carry out its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.deployments import experiments
from keel.deployments.experiments import Outcome as ExperimentOutcome
from keel.monitoring.records import ExperimentDecision, Outcome
from keel.rollout.decline import keep_champion
from keel.rollout.eligibility import stored_comparison, stored_decision
from keel.rollout.gate import log_to_mlflow
from keel.rollout.promotion import promote, stage
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

STEPS = {"promote": promote, "stage": stage, "end_experiment": keep_champion}
"""The step that carries out a comparison, by the decision's branch."""


def conclude_experiment(ws: Workspace, config: ModelConfig, decision_id: str, *, actor: str, run_id: str) -> Outcome:
    """End an experiment as decided, and carry out its verdict. A task that runs again completes what it began.

    decision_id: of `watch_experiment`.

    The ledger first records that the experiment is over, with its evidence, so that the challenger answers no more
    requests. Then the verdict is carried out like every comparison: *promote* promotes, or stages where a person must
    approve; *roll_back* rejects the challenger; *no_difference* leaves it a candidate. After *mismatch* and *void*
    nothing follows.

    Raises
    ------
    StaleGeneration
        No such decision is stored.
    ExperimentRefused
        The experiment ended in another way meanwhile, for example by a person.
    NotPromotable, ArtifactChanged, RegistryUnavailable
        As for `promote`: the experiment is over by then, and the challenger not in production.

    """
    decision = stored_decision(ws, config, decision_id, ExperimentDecision, purpose="end an experiment")
    comparison = stored_comparison(ws, config, decision.comparison_id) if decision.comparison_id else None
    report = ws.store.reports.get(str(decision.report_id))
    evidence = {
        "sentence": decision.sentence,
        "report_id": decision.report_id,
        "decision_id": decision.decision_id,
        "comparison_id": decision.comparison_id,
        "comparison": comparison and comparison.to_ledger(),
        "look": {name: value for name, value in report["body"].items() if name != "path"} if report else None,
    }
    experiments.end(
        ws.store,
        config.model,
        str(decision.experiment_id),
        outcome=ExperimentOutcome(str(decision.outcome)),
        actor=actor,
        now=now_utc(),
        evidence=evidence,
        run_id=run_id,
    )
    if comparison is None:
        return Outcome.of("experiment_ended", decision, decision.sentence, version=decision.version)
    log_to_mlflow(ws, comparison)
    return STEPS[decision.branch](ws, config, comparison.report_id, actor=actor, run_id=run_id)
