"""Evaluate a deployment every hour: the version on probation, then the running experiment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from keel.rollout.experiment.watch import watch_experiment
from keel.rollout.probation import watch

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import ExperimentDecision, ProbationDecision
    from keel.workspace import Workspace


def watch_deployment(
    ws: Workspace,
    config: ModelConfig,
    *,
    end: datetime,
    run_id: str,
    findings: Sequence[str] = (),
    undelivered: Sequence[str] = (),
) -> ProbationDecision | ExperimentDecision:
    """Evaluate the version on probation and the running experiment, and return what follows, one thing a run.

    The probation comes first, because a rollback ends the experiment too. The next run is an hour away.

    findings, undelivered: of `reconcile`, for the message about whatever follows.
    """
    probation = watch(ws, config, end=end, run_id=run_id, findings=findings, undelivered=undelivered)
    if probation.branch in ("rollback", "confirm"):
        return probation
    experiment = watch_experiment(ws, config, end=end, run_id=run_id, findings=findings, undelivered=undelivered)
    return probation if experiment.branch == "no_action" else experiment
