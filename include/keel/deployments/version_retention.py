"""Which versions may be deleted, and deleting them: docs/versions.md is the policy that this carries out.

The ledger says first that a version is deleted. That row is a change of the deployment, to the same deployment: of a
promotion and a deletion that are decided at the same time only one is carried out. A deletion that is cut short after
its row is completed by the next `prune`. Rows of the ledger are never deleted.
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
"""The stations in which a version is not kept for ever."""
LEFTOVER_AGE = timedelta(days=1)
"""A registration whose ledger row is not there after this was cut short: it follows within seconds."""
LOOKS = 5
"""How often one looks again because others change the deployment meanwhile; the next prune finds the rest."""


@dataclass(frozen=True)
class Due:
    """A version that is deleted, or would be, and why."""

    version: int
    status: Status | None
    """Its station until then; None for one that the ledger does not know."""
    reason: str
    begun: bool = False
    """Whether the ledger says already that it is deleted."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


def prune(
    store: Store, registry: Registry, config: ModelConfig, *, now: datetime, actor: str, dry_run: bool = False,
    run_id: str | None = None,
) -> list[Due]:  # fmt: skip
    """Delete the versions that are deployed nowhere and were kept long enough, and return them, oldest first.

    dry_run: only return what would be deleted.
    """
    pruned: list[Due] = []
    for _ in range(LOOKS):
        # In this order: a version that is registered after the ledger was read is not among them.
        versions = {v.version: v for v in registry.versions(config.model)}
        state = history(store, config.model)
        found = due(state, registry, config, versions, now)
        if dry_run:
            return found
        try:
            for each in found:
                if not each.begun:
                    _record(store, registry, config.model, each, now=now, actor=actor, run_id=run_id)
                registry.delete(versions[each.version])
                log.info("deleted version %d of %s: %s", each.version, config.model, each.reason)
                pruned.append(each)
            return pruned
        except StaleGeneration as error:
            log.info("%s", error)
    return pruned


def due(
    state: History, registry: Registry, config: ModelConfig, versions: Mapping[int, VersionInfo], now: datetime
) -> list[Due]:
    """Return which of the versions in the registry may be deleted, oldest first."""
    kept = protected(state) | set(registry.aliases(config.model).values())
    leftovers = {v.version for v in registry.unpinned(config.model)}
    found = []
    for number, version in sorted(versions.items()):
        standing = state.version_statuses.get(number)
        created = version.created_at or now
        if number in kept:
            continue
        if standing is None:
            if number in leftovers and created + LEFTOVER_AGE <= now:
                found.append(Due(number, None, f"its registration of {created:%Y-%m-%d %H:%M} UTC was cut short"))
        elif standing.status is Status.DELETED:
            # Not one that has got the number since, in a registered model that somebody has made again.
            if created <= standing.since:
                found.append(Due(number, Status.DELETED, standing.reason, begun=True))
        elif standing.status in EXPIRING and standing.since + config.promotion.keep_versions <= now:
            found.append(Due(number, standing.status, f"{standing.status} since {standing.since:%Y-%m-%d}"))
    return found


def protected(state: History) -> set[int]:
    """Return the versions that are never deleted while they are where they are, whatever their age."""
    kept = set(state.deployment.aliases.values())
    if state.probation is not None:
        kept |= {state.probation.version, state.probation.previous}
    if state.experiment is not None:
        kept |= {state.experiment.champion, state.experiment.challenger}
    return {version for version in kept if version is not None}


def _record(
    store: Store, registry: Registry, model: str, found: Due, *, now: datetime, actor: str, run_id: str | None
) -> None:
    """Say that a version is deleted, unless its station or the deployment is not what it was when that was decided."""
    state = history(store, model)
    if state.status(found.version) is not found.status or found.version in protected(state):
        raise StaleGeneration(f"{model}: version {found.version} is not what it was when it was to be deleted")
    evidence = {
        "sentence": f"Deleted version {found.version}: {found.reason}.", "version": found.version,
        "reason": found.reason, "was": found.status,
    }  # fmt: skip
    deployments.change(
        store, registry, state.deployment, state.deployment, actor=actor, action=ledger.Action.DELETE_VERSION,
        body={"run_id": run_id, "evidence": evidence}, now=now,
        statuses={found.version: (Status.DELETED, found.reason)},
    )  # fmt: skip
