"""Evaluate a deployment every hour: the version on probation, then the running experiment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.rollout.experiment.watch import watch_experiment
from keel.rollout.probation import watch

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import ExperimentDecision, ProbationDecision, ReconcileRecord
    from keel.workspace import Workspace


def watch_deployment(
    ws: Workspace,
    config: ModelConfig,
    *,
    end: datetime,
    run_id: str,
    reconciled: ReconcileRecord | None = None,
) -> ProbationDecision | ExperimentDecision:
    """Evaluate the version on probation and the running experiment, and return what follows, one thing a run.

    The probation comes first, because a rollback ends the experiment too. The next run is an hour away.

    reconciled: what `reconcile` found, for the message about whatever follows.
    """
    probation = watch(ws, config, end=end, run_id=run_id, reconciled=reconciled)
    if probation.branch in ("rollback", "confirm"):
        return probation
    experiment = watch_experiment(ws, config, end=end, run_id=run_id, reconciled=reconciled)
    return probation if experiment.branch == "no_action" else experiment
