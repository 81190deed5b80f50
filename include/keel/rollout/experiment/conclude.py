"""Carrying out what a look at an experiment has decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keel.deployments import experiments
from keel.deployments.experiments import Outcome
from keel.errors import StaleGeneration
from keel.monitoring.decision import Action
from keel.monitoring.records import Plain, outcome_of
from keel.rollout.decline import keep_champion
from keel.rollout.eligibility import kept
from keel.rollout.experiment.verdict import branch_of, log_to_registry
from keel.rollout.promotion import promote, stage
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


def conclude_experiment(
    ws: Workspace, config: ModelConfig, decision: Mapping[str, Any], *, actor: str, run_id: str
) -> Plain:
    """End an experiment as was decided, and let its verdict have its effect. A task that runs again completes it.

    decision: of `watch_experiment`; all but its id is read as it was kept. First the ledger says that the experiment is
    over, with its evidence, so that the challenger answers nobody any more. Then the verdict goes the way of every
    comparison: *promote* promotes, or offers where a person must agree; *roll_back* rejects the challenger, and
    *no_difference* leaves it a candidate. After a *mismatch*, or where it is *void*, that is all.

    Raises
    ------
    StaleGeneration
        No decision to end an experiment was kept under that id.
    ExperimentRefused
        It has ended in another way meanwhile, such as by a person.
    NotPromotable, ArtifactChanged, RegistryUnavailable
        As for `promote`: the experiment is over by then, and the challenger not in production.

    """
    body = _kept(ws, config, decision)
    comparison = kept(ws, config, {"report_id": body["comparison_id"]}) if body["comparison_id"] else None
    look = ws.store.reports.get(str(body["report_id"]))
    evidence = {
        "sentence": body["sentence"], "report_id": body["report_id"], "decision_id": body["decision_id"],
        "comparison_id": body["comparison_id"], "comparison": comparison, "look": look["body"] if look else None,
    }  # fmt: skip
    experiments.end(
        ws.store, config.model, body["experiment_id"], outcome=Outcome(body["outcome"]), actor=actor, now=now_utc(),
        evidence=evidence, run_id=run_id,
    )  # fmt: skip
    if comparison is None:
        return outcome_of("experiment_ended", body, body["sentence"], version=body["version"])
    log_to_registry(ws, comparison)
    step = {"promote": promote, "stage": stage, "end_experiment": keep_champion}[branch_of(body)]
    return step(ws, config, comparison, actor=actor, run_id=run_id)


def _kept(ws: Workspace, config: ModelConfig, decision: Mapping[str, Any]) -> Plain:
    """Return a decision that ends an experiment as it was kept, whatever the reference to it says of it."""
    found = ws.store.decisions.get(str(decision.get("decision_id")))
    if found is None or (found["model"], found["action"]) != (config.model, Action.END_EXPERIMENT):
        raise StaleGeneration(f"{config.model}: no decision to end an experiment was kept: look at it anew")
    body: Plain = found["body"]
    return body
