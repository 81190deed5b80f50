"""Compare MLflow with the ledger: complete interrupted copies, and find changes that were made outside Keel.

Keel moves an alias only while it holds the alias lock. Therefore, if the lock is held and no row is pending, an alias
that differs from the ledger was moved outside Keel. The compare-and-swap that adopts such a change notices a deployment
that another process changes at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from keel.deployments.alias_sync import (
    Finding,
    SyncState,
    alias_lock,
    complete_sync,
    findings_evidence,
    outdated_tags,
    read_sync_state,
    record_findings,
    registry_versions,
    update_registry,
)
from keel.deployments.history import Deployment, Status, changed_statuses
from keel.deployments.transitions import Statuses, read, swap
from keel.errors import StaleGeneration
from keel.ledger.entries import Action
from keel.registry.mlflow_client import replacement

if TYPE_CHECKING:
    from keel.registry.registry import Registry
    from keel.store import Store
    from keel.store.database.locks import Held

ATTEMPTS = 5
"""Attempts while other processes change the deployment; the next reconciliation finds the rest."""


@dataclass(frozen=True)
class Reconciled:
    """The result of one reconciliation."""

    model: str
    completed: bool
    out_of_band: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """The result in plain sentences."""
        sentences = [f"Keel completed an interrupted change of {self.model}."] if self.completed else []
        sentences += [finding.sentence for finding in self.out_of_band]
        return " ".join(sentences) or f"MLflow agrees with the ledger about {self.model}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``findings`` are sentences."""
        return {
            "model": self.model,
            "completed": self.completed,
            "sentence": self.sentence,
            "findings": [finding.sentence for finding in self.out_of_band],
            "out_of_band": [finding.to_dict() for finding in self.out_of_band],
        }


@dataclass(frozen=True)
class OutOfBandChange:
    """What was changed in MLflow outside Keel, while no ledger row was pending."""

    sync: SyncState
    aliases: Mapping[str, int]
    existing: frozenset[int]
    """The versions that MLflow has."""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.sync.model

    @property
    def deployment(self) -> Deployment:
        """The deployment in the ledger, which the aliases should show."""
        return self.sync.state.deployment

    @cached_property
    def moved(self) -> dict[str, int]:
        """The aliases that were moved, with their new version."""
        expected = self.deployment.aliases
        return {a: v for a, v in self.aliases.items() if a in expected and v != expected[a] and v in self.existing}

    @cached_property
    def lost(self) -> dict[str, int]:
        """The aliases that are missing, with the version that they should have."""
        expected = self.deployment.aliases.items()
        return {a: v for a, v in expected if v is not None and a not in self.moved and self.aliases.get(a) != v}

    @cached_property
    def removed(self) -> tuple[str, ...]:
        """The missing aliases whose version still exists."""
        return tuple(alias for alias, version in self.lost.items() if version in self.existing)

    @cached_property
    def wanted(self) -> Deployment:
        """The deployment after the change is adopted.

        A replaced production version becomes ``previous``. A deleted production version keeps its alias.
        """
        changed: dict[str, Any] = {a: None for a in self.lost if a not in self.removed and a != "production"}
        wanted = replace(self.deployment, **{**changed, **self.moved})
        if "production" in self.moved:
            before = self.deployment.production
            if "previous" not in self.moved:
                wanted = replace(wanted, previous=before if before in self.existing else None)
            if "staging" not in self.moved and wanted.staging == wanted.production:
                wanted = replace(wanted, staging=None)
        return wanted

    @cached_property
    def statuses(self) -> Statuses:
        """The new statuses of versions that the ledger does not have yet."""
        reached: dict[int, tuple[Status, str]] = {
            version: (status, "changed in MLflow outside Keel")
            for version, status in changed_statuses(self.deployment, self.wanted).items()
        }
        for alias, version in self.deployment.aliases.items():
            if version is not None and version not in self.existing and self.aliases.get(alias) != version:
                reached[version] = (Status.DELETED, "deleted from MLflow")
        return {v: status for v, status in reached.items() if self.sync.state.status(v) is not status[0]}

    def findings(self, *, adopted: bool) -> list[Finding]:
        """Return the changes as findings; adopted: whether Keel adopts them."""
        found = []
        for alias, expected in self.deployment.aliases.items():
            if alias in self.moved:
                found.append(Finding(alias, expected, self.moved[alias], self._describe_moved(alias, adopted)))
            elif alias in self.lost:
                describe = self._describe_removed if alias in self.removed else self._describe_deleted
                found.append(Finding(alias, expected, None, describe(alias, adopted)))
        return found

    def _describe_moved(self, alias: str, adopted: bool) -> str:
        before, version = self.deployment.aliases[alias], self.moved[alias]
        known = self.sync.state.version_statuses.get(version)
        doubt = ""
        if known is None:
            doubt = ", which Keel did not register and will not load"
        elif known.status in (Status.QUARANTINED, Status.REJECTED):
            doubt = f", which is {known.status} ({known.reason})"
        origin = "" if before is None else f"from version {before} "
        if before is not None and before not in self.existing:
            origin = f"from version {before}, which is deleted, "
        result = f"Keel adopts the change as generation {self.deployment.generation + 1}"
        if not adopted:
            result = f"Keel still uses {'no version' if before is None else f'version {before}'}"
        return (
            f"The alias {alias} of {self.model} was moved outside Keel {origin}to version {version}{doubt}. {result}."
        )

    def _describe_removed(self, alias: str, adopted: bool) -> str:
        before, after = self.deployment.aliases[alias], self.wanted.aliases[alias]
        result = f"It should be version {before}"
        if adopted:
            result = f"Keel restored it to version {after}" if after == before else f"Keel set it to version {after}"
        return f"The alias {alias} of {self.model} was removed outside Keel. {result}."

    def _describe_deleted(self, alias: str, adopted: bool) -> str:
        version, previous = self.deployment.aliases[alias], self.deployment.previous
        deleted = f"Version {version} of {self.model} was deleted from MLflow while it was {alias}"
        if alias != "production":
            after = self.wanted.aliases[alias]
            result = f"No version is {alias} now" if after is None else f"Version {after} is {alias} now"
            return f"{deleted}. {result if adopted else 'The ledger still names it'}."
        if previous in self.existing:
            return f"{deleted}. Roll back to version {previous}: airflow dags trigger {self.model}.rollback"
        way_out = replacement(self.model)
        return f"{deleted}. {way_out[0].upper()}{way_out[1:]}"


def reconcile(store: Store, registry: Registry, model: str, *, actor: str, now: datetime, adopt: bool) -> Reconciled:
    """Complete pending copies to MLflow, then find changes that were made outside Keel.

    Parameters
    ----------
    adopt
        Whether to adopt the changes, each with a ledger row: a moved alias becomes the deployment, a removed one is
        restored. A deleted production version keeps its place, since the ledger names no successor. Without
        ``adopt``, changes are only reported. Outdated tags are corrected either way.

    """
    completed, found = False, list[Finding]()
    with alias_lock(store, model) as held:
        for _ in range(ATTEMPTS):
            row, sync = read(store, model), read_sync_state(store, model)
            if sync.pending:
                found += complete_sync(store, registry, sync, held)
                completed |= sync.changes_deployment
                continue
            if wrong := _wrong_row(sync, row):
                found.append(wrong)
                break
            aliases, versions = registry.aliases(model), registry_versions(registry, sync)
            change = OutOfBandChange(sync, aliases, frozenset(version.version for version in versions))
            unchanged = not (change.moved or change.lost)
            if outdated_tags(sync, versions) or (unchanged and sync.synced_seq < sync.state.seq):
                update_registry(store, registry, sync, held)
            if adopt and not _adopted(store, registry, change, held, actor=actor, now=now):
                continue
            found += change.findings(adopted=adopt)
            break
    return Reconciled(model, completed, tuple(found))


def _adopted(
    store: Store, registry: Registry, change: OutOfBandChange, held: Held, *, actor: str, now: datetime
) -> bool:
    """Make the change the deployment, or restore an alias; False if another process changed the deployment first."""
    if not (change.moved or change.removed or change.statuses):
        return True
    found = change.findings(adopted=True)
    held()
    if change.wanted == change.deployment:
        record_findings(store, change.sync, found, actor=actor, now=now, statuses=change.statuses)
    else:
        ends_probation = {"probation": None} if "production" in change.moved else {}
        body = {"evidence": findings_evidence(found), **ends_probation}
        try:
            swap(
                store,
                change.deployment,
                change.wanted,
                actor=actor,
                action=Action.OUT_OF_BAND,
                body=body,
                now=now,
                statuses=change.statuses,
            )
        except StaleGeneration:
            return False
    update_registry(store, registry, read_sync_state(store, change.model), held, also=change.removed)
    return True


def _wrong_row(sync: SyncState, row: Deployment) -> Finding | None:
    """Compare the ``deployments`` row, which was read before the ledger, with the state of the ledger.

    Both change in one transaction. A change between the two reads would be pending: only the holder of the lock could
    have copied it to MLflow.
    """
    right = sync.state.deployment
    if row == right:
        return None
    sentence = (
        f"The deployments row of {sync.model} (generation {row.generation}) differs from the ledger "
        f"(generation {right.generation}). Rebuild it from the ledger: keel ledger rebuild {sync.model}"
    )
    return Finding("deployments", right.generation, row.generation, sentence)
