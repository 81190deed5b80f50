"""Comparisons that rest on an experiment, for who asks for a promotion by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keel.deployments import experiments
from keel.deployments.experiments import Outcome
from keel.errors import ExperimentRefused
from keel.evaluation.holdout.comparison import Verdict
from keel.ledger import entries as ledger
from keel.window import now_utc, times_of

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import Plain
    from keel.workspace import Workspace

BASIS = "experiment"
"""What a comparison says that it rests on, where it is no holdout."""


def proven_by(ws: Workspace, config: ModelConfig, experiment_id: str) -> Plain:
    """Return the comparison that an experiment ended with, as the ledger has it.

    Raises
    ------
    ExperimentRefused
        It has not ended with one that speaks for its challenger.
    UnknownExperiment
        The model has none of that id.

    """
    found = experiments.get(ws.store, config.model, experiment_id)
    for row in ledger.entries(ws.store, config.model, ledger.Action.EXPERIMENT_END):
        evidence = row.body["evidence"]
        if evidence["experiment_id"] == experiment_id and evidence["outcome"] == Outcome.PROMOTE:
            comparison: Plain = evidence["comparison"]
            if comparison["verdict"] == Verdict.PASS:
                return comparison
    ended = found.outcome["outcome"] if found.outcome else "it still runs"
    raise ExperimentRefused(
        f"{config.model}: {experiment_id} does not speak for version {found.plan.challenger}: {ended}"
    )


def as_asked(ws: Workspace, comparison: Plain, provenance: Mapping[str, Any], identity: str) -> Plain:
    """Keep an experiment's comparison once more, as what somebody who asks for the promotion rests it on."""
    body = {**comparison, **provenance, "report_id": identity}
    keep(ws, body)
    return body


def keep(ws: Workspace, body: Plain) -> None:
    """Store a comparison that rests on an experiment."""
    window = times_of(body["holdout"])
    args = (body["report_id"], body["model"], body["challenger"], "comparison", *window, body["verdict"], body)
    ws.store.reports.put(*args, now_utc())
