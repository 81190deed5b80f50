"""The deployment of each model: which version is in production, staged or previous, and every change to it.

The ledger is the source of truth; `history` derives the state from it. The ``deployments`` row is the newest state, for
compare-and-swap (`transitions`). MLflow's aliases and tags are copies of it (`alias_sync`). `reconcile` completes
interrupted copies and finds changes that were made outside Keel.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments.alias_sync import Finding, sync_aliases, sync_pending
from keel.deployments.history import Deployment
from keel.deployments.reconciliation import Reconciled, reconcile
from keel.deployments.transitions import (
    NONE,
    Statuses,
    append,
    append_once,
    read,
    rebuild,
    recorded,
    stale_generation,
    swap,
)
from keel.errors import NoProductionVersion, NoVersionYet, RegistryRefused, RegistryUnavailable, StoreUnavailable
from keel.ledger import entries as ledger

if TYPE_CHECKING:
    from keel.registry.registry import Registry
    from keel.store import Store

__all__ = [
    "Deployment",
    "Finding",
    "Reconciled",
    "append",
    "append_once",
    "change",
    "production_version",
    "read",
    "rebuild",
    "reconcile",
    "recorded",
    "stale_generation",
    "sync_aliases",
    "sync_pending",
]


def production_version(store: Store, model: str) -> int:
    """Return the version in production.

    Raises
    ------
    NoVersionYet
        There never was one; the message says how to get one.
    NoProductionVersion
        There is none any more.

    """
    version = read(store, model).production
    if version is not None:
        return version
    train = f"train one: airflow dags trigger {model}.retrain"
    if any((row.body.get("to") or {}).get("production") for row in ledger.entries(store, model)):
        raise NoProductionVersion(f"{model} has no production version any more; {train}")
    raise NoVersionYet(f"{model} has no production version yet; {train}")


def change(
    store: Store,
    registry: Registry,
    current: Deployment,
    wanted: Deployment,
    *,
    actor: str,
    action: str,
    body: Mapping[str, Any],
    now: datetime,
    statuses: Statuses = NONE,
) -> Deployment:
    """Replace ``current`` by ``wanted`` unless another process changed it, record the change, and update MLflow.

    Parameters
    ----------
    statuses
        Statuses that do not follow from the new deployment. By default a version gets the status of its alias; one
        that loses its alias is archived, or a candidate again if it was only staged.

    Raises
    ------
    StaleGeneration
        Another process changed the deployment first; nothing was written.
    RegistryUnavailable, RegistryRefused, StoreUnavailable
        If the message says so, the change is committed and only MLflow is not updated yet.

    """
    changed = swap(store, current, wanted, actor=actor, action=action, body=body, now=now, statuses=statuses)
    try:
        sync_aliases(store, registry, changed.model)
    except (RegistryUnavailable, RegistryRefused, StoreUnavailable) as error:
        raise type(error)(
            f"{changed.model}: the change is committed (generation {changed.generation}), but MLflow's aliases and "
            f"tags are not updated yet; a retry or the next reconciliation completes it: {error}"
        ) from error
    except Exception as error:
        error.add_note(
            f"{changed.model}: the change is committed (generation {changed.generation}); only MLflow is not updated."
        )
        raise
    return changed
