"""One hourly look at a deployment: the version on probation, then the running experiment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.rollout.experiment.watch import watch_experiment
from keel.rollout.probation import watch

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import Plain
    from keel.workspace import Workspace


def watch_deployment(
    ws: Workspace, config: ModelConfig, *, end: datetime, run_id: str, findings: Mapping[str, Any] | None = None
) -> Plain:
    """Look at the version on probation and at the running experiment, and return what is to be done, one thing a run.

    What the probation leads to comes first: a rollback ends the experiment too. Then what the experiment leads to, with
    what else there is to tell; the next run is an hour away.
    """
    watched = watch(ws, config, end=end, run_id=run_id, findings=findings)
    if watched["branch"] in ("rollback", "confirm"):
        return watched
    tried = watch_experiment(ws, config, end=end, run_id=run_id, findings=watched["findings"])
    return watched if tried["branch"] == "no_action" else tried
