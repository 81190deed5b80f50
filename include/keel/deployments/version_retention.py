"""Delete versions that are no longer needed, by the policy in docs/versions.md.

A deletion is first recorded in the ledger. That row is a change of the deployment to the same deployment, so that of a
promotion and a deletion at the same time only one succeeds. The next `prune` completes a deletion that was interrupted
after its row. Ledger rows are never deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import History, Status, history
from keel.errors import StaleGeneration
from keel.ledger import entries as ledger

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.registry.mlflow_client import VersionInfo
    from keel.registry.registry import Registry
    from keel.store import Store

log = logging.getLogger(__name__)

EXPIRING = (Status.CANDIDATE, Status.REJECTED, Status.ARCHIVED, Status.QUARANTINED)
"""The statuses in which a version expires."""
INTERRUPTED_AFTER = timedelta(days=1)
"""Age at which a registration without a ledger row counts as interrupted: the row follows within seconds."""
ATTEMPTS = 5
"""Attempts while other processes change the deployment; the next prune deletes the rest."""


@dataclass(frozen=True)
class ExpiredVersion:
    """A version that is deleted, or would be, and why."""

    version: int
    status: Status | None
    """Its status before; None for a version that the ledger does not have."""
    reason: str
    begun: bool = False
    """Whether the ledger has the deletion already."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


def prune(
    store: Store,
    registry: Registry,
    config: ModelConfig,
    *,
    now: datetime,
    actor: str,
    dry_run: bool = False,
    run_id: str | None = None,
) -> list[ExpiredVersion]:
    """Delete the expired versions of a model, and return them, oldest first.

    dry_run: only return the versions that would be deleted.
    """
    pruned: list[ExpiredVersion] = []
    for _ in range(ATTEMPTS):
        # In this order: a version that is registered after the ledger was read is not among them.
        versions = {v.version: v for v in registry.versions(config.model)}
        state = history(store, config.model)
        expired = expired_versions(state, registry, config, versions, now)
        if dry_run:
            return expired
        try:
            for each in expired:
                if not each.begun:
                    record_deletion(store, registry, config.model, each, now=now, actor=actor, run_id=run_id)
                registry.delete(versions[each.version])
                log.info("deleted version %d of %s: %s", each.version, config.model, each.reason)
                pruned.append(each)
            return pruned
        except StaleGeneration as error:
            log.info("%s", error)
    return pruned


def expired_versions(
    state: History, registry: Registry, config: ModelConfig, versions: Mapping[int, VersionInfo], now: datetime
) -> list[ExpiredVersion]:
    """Return which of MLflow's versions may be deleted, oldest first."""
    protected = protected_versions(state) | set(registry.aliases(config.model).values())
    unpinned = {v.version for v in registry.unpinned(config.model)}
    expired = []
    for number, version in sorted(versions.items()):
        known = state.version_statuses.get(number)
        created = version.created_at or now
        if number in protected:
            continue
        if known is None:
            if number in unpinned and created + INTERRUPTED_AFTER <= now:
                reason = f"its registration of {created:%Y-%m-%d %H:%M} UTC was interrupted"
                expired.append(ExpiredVersion(number, None, reason))
        elif known.status is Status.DELETED:
            # Not a new version with this number, in a registered model that was deleted and created again.
            if created <= known.since:
                expired.append(ExpiredVersion(number, Status.DELETED, known.reason, begun=True))
        elif known.status in EXPIRING and known.since + config.promotion.keep_versions <= now:
            reason = f"{known.status} since {known.since:%Y-%m-%d}"
            expired.append(ExpiredVersion(number, known.status, reason))
    return expired


def protected_versions(state: History) -> set[int]:
    """Return the versions that are deployed, on probation or in an experiment: they are not deleted at any age."""
    protected = set(state.deployment.aliases.values())
    if state.probation is not None:
        protected |= {state.probation.version, state.probation.previous}
    if state.experiment is not None:
        protected |= {state.experiment.champion, state.experiment.challenger}
    return {version for version in protected if version is not None}


def record_deletion(
    store: Store,
    registry: Registry,
    model: str,
    expired: ExpiredVersion,
    *,
    now: datetime,
    actor: str,
    run_id: str | None,
) -> None:
    """Record a deletion in the ledger; `StaleGeneration` if the version or the deployment has changed meanwhile."""
    state = history(store, model)
    if state.status(expired.version) is not expired.status or expired.version in protected_versions(state):
        raise StaleGeneration(f"{model}: version {expired.version} changed before it was deleted; it stays")
    evidence = {
        "sentence": f"Deleted version {expired.version}: {expired.reason}.",
        "version": expired.version,
        "reason": expired.reason,
        "was": expired.status,
    }
    deployments.change(
        store,
        registry,
        state.deployment,
        state.deployment,
        actor=actor,
        action=ledger.Action.DELETE_VERSION,
        body={"run_id": run_id, "evidence": evidence},
        now=now,
        statuses={expired.version: (Status.DELETED, expired.reason)},
    )
