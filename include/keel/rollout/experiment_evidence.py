"""Comparisons that rest on an experiment, for promotions that a person requests with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.deployments import experiments
from keel.deployments.experiments import Outcome
from keel.errors import ExperimentRefused
from keel.ledger import entries as ledger
from keel.monitoring.records import ComparisonRecord

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

BASIS = "experiment"
"""The ``basis`` of a comparison that rests on an experiment instead of a holdout."""


def comparison_of_experiment(ws: Workspace, config: ModelConfig, experiment_id: str) -> ComparisonRecord:
    """Return the comparison that an experiment ended with, as the ledger has it.

    Raises
    ------
    ExperimentRefused
        The experiment did not end with a comparison that its challenger passed.
    UnknownExperiment
        The model has no experiment of that id.

    """
    found = experiments.get(ws.store, config.model, experiment_id)
    for row in ledger.entries(ws.store, config.model, ledger.Action.EXPERIMENT_END):
        evidence = row.body["evidence"]
        if evidence["experiment_id"] == experiment_id and evidence["outcome"] == Outcome.PROMOTE:
            comparison = ComparisonRecord.from_dict(evidence["comparison"])
            if comparison.verdict == "pass":
                return comparison
    ended = found.outcome["outcome"] if found.outcome else "it is still running"
    raise ExperimentRefused(
        f"{config.model}: {experiment_id} is no evidence for version {found.plan.challenger}: {ended}"
    )
