"""Complete interrupted changes, and find what was changed outside Keel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel import deployments
from keel.store.undelivered import undelivered_records
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import Plain
    from keel.workspace import Workspace


def reconcile(ws: Workspace, config: ModelConfig, *, actor: str, run_id: str, adopt: bool = True) -> Plain:
    """Complete what was interrupted, and find what was moved by hand; with ``adopt`` that becomes the deployment.

    Also finds what the scoring service could not store: ``set_aside``, sentences which stand among the ``findings``.
    """
    found = deployments.reconcile(ws.store, ws.registry, config.model, actor=actor, now=now_utc(), adopt=adopt)
    lost = undelivered_records(ws.store, config.model, run_id=run_id)
    return {**found.to_dict(), "findings": [*found.to_dict()["findings"], *lost], "set_aside": lost}
