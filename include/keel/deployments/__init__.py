"""Which version is where, and every way to change it.

The ledger is the truth, the deployments row its head for compare-and-swap (`transitions`), MLflow's aliases and tags
its projection (`projection`), which whoever looks next completes or corrects (`reconcile`).
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
from keel.errors import NoProductionVersion, RegistryUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from keel.registry.registry import Registry
    from keel.store import Store

__all__ = [
    "Deployment",
    "Finding",
    "Reconciled",
    "append_once",
    "change",
    "append",
    "sync_pending",
    "production_version",
    "sync_aliases",
    "read",
    "rebuild",
    "reconcile",
    "recorded",
    "stale_generation",
]  # fmt: skip


def production_version(store: Store, model: str) -> int:
    """Return the version in production; `NoProductionVersion` says how to get one."""
    version = read(store, model).production
    if version is None:
        raise NoProductionVersion(f"{model} has no production version; train one: airflow dags trigger {model}.retrain")
    return version


def change(
    store: Store, registry: Registry, current: Deployment, wanted: Deployment, *,
    actor: str, action: str, body: Mapping[str, Any], now: datetime, statuses: Statuses = NONE,
) -> Deployment:  # fmt: skip
    """Replace ``current`` by ``wanted`` if nobody else has changed it, record it, and have the registry follow.

    statuses: of versions that do not simply get the station of their new place, or none: one that lost its place is
    archived, or a candidate again if it was only staged.

    Raises
    ------
    StaleGeneration
        Somebody changed the deployment first; nothing was written.
    RegistryUnavailable, StoreUnavailable
        If the message says so, the change is made and only the registry does not follow yet.

    """
    changed = swap(store, current, wanted, actor=actor, action=action, body=body, now=now, statuses=statuses)
    try:
        sync_aliases(store, registry, changed.model)
    except (RegistryUnavailable, StoreUnavailable) as error:
        raise type(error)(
            f"{changed.model}: the change is made (generation {changed.generation}), but MLflow's aliases and tags do "
            f"not say so yet; a retry, or whoever looks next, completes it: {error}"
        ) from error
    except Exception as error:
        error.add_note(
            f"{changed.model}: the change is made (generation {changed.generation}); only the registry lags."
        )
        raise
    return changed
