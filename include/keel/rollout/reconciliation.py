"""Complete interrupted changes of a deployment, and find changes made outside Keel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel import deployments
from keel.monitoring.records import ReconcileRecord
from keel.store.undelivered import undelivered_records
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


def reconcile(ws: Workspace, config: ModelConfig, *, actor: str, run_id: str, adopt: bool = True) -> ReconcileRecord:
    """Complete an interrupted change, and find aliases that were moved in MLflow outside Keel.

    adopt: make a moved alias the deployment; without it, findings are only reported.

    Findings include predictions that the scoring service could not store, which are ``undelivered``.
    """
    found = deployments.reconcile(ws.store, ws.registry, config.model, actor=actor, now=now_utc(), adopt=adopt)
    undelivered = undelivered_records(ws.store, config.model, run_id=run_id)
    plain = found.to_dict()
    return ReconcileRecord.from_dict(
        {**plain, "findings": [*plain["findings"], *undelivered], "undelivered": undelivered}
    )
