"""Copy a model's state from the ledger to MLflow: its aliases and its ``keel.status`` tags.

MLflow offers neither transactions nor compare-and-swap. Therefore only the holder of a lock writes there, and it always
writes the latest state of the ledger: a slow process cannot restore an older state. ``projections.seq`` stores the last
ledger row that was copied. If a copy is interrupted, the number stays behind, and the next process completes the copy.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from keel.deployments.history import History, fold
from keel.deployments.transitions import NONE, Statuses, append
from keel.errors import RegistryRefused, RegistryUnavailable, UnknownVersion
from keel.ledger import entries as ledger
from keel.ledger.entries import Action, Entry
from keel.registry.mlflow_client import STATUS_TAG
from keel.store.database.tables import projections
from keel.store.records import insert

if TYPE_CHECKING:
    from datetime import datetime

    from keel.registry.registry import Registry, VersionInfo
    from keel.store import Store
    from keel.store.database.locks import Held

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Attempts to write aliases and tags while other processes delete versions."""


@dataclass(frozen=True)
class Finding:
    """A difference from the ledger, such as an alias that was moved outside Keel; None stands for no version."""

    what: str
    """An alias, or ``deployments`` for the row of that table."""
    expected: int | None
    found: int | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class SyncState:
    """A model's ledger rows, and the number of the last one that was copied to MLflow."""

    model: str
    entries: tuple[Entry, ...]
    synced_seq: int

    @cached_property
    def state(self) -> History:
        """The state after all rows."""
        return fold(self.model, self.entries)

    @cached_property
    def pending(self) -> tuple[Entry, ...]:
        """The rows about versions that are not copied to MLflow yet."""
        return tuple(e for e in self.entries if e.seq > self.synced_seq and ("to" in e.body or "statuses" in e.body))

    @property
    def changes_deployment(self) -> bool:
        """Whether a pending row changes the deployment, rather than only statuses of other versions."""
        return any("to" in entry.body for entry in self.pending)

    @cached_property
    def aliases_in_flight(self) -> dict[str, set[int | None]]:
        """The versions that Keel itself may have set for each alias that a pending row moves: the old and the new one.

        There are more than two after several interrupted changes, since each may have come as far as this alias.
        """
        before = fold(self.model, (e for e in self.entries if e.seq <= self.synced_seq)).deployment.aliases
        changes = [before, *(entry.body["to"] for entry in self.pending if "to" in entry.body)]
        possible = {alias: {change[alias] for change in changes} for alias in before}
        return {alias: versions for alias, versions in possible.items() if len(versions) > 1}

    def has_recorded(self, evidence: Mapping[str, Any]) -> bool:
        """Whether an interrupted process has recorded these findings since the last copy."""
        return any(
            entry.action == Action.OUT_OF_BAND and entry.body.get("evidence") == evidence
            for entry in self.entries
            if entry.seq > self.synced_seq
        )


def read_sync_state(store: Store, model: str) -> SyncState:
    """Read the number first: a row that is committed after it must never count as copied."""
    with store.connect() as connection:
        synced = connection.execute(select(projections.c.seq).where(projections.c.model == model)).scalar()
    return SyncState(model, tuple(ledger.entries(store, model)), synced or 0)


def sync_pending(store: Store, model: str) -> bool:
    """Whether ledger rows are not copied to MLflow yet: a process is copying them, or was interrupted."""
    return bool(read_sync_state(store, model).pending)


def alias_lock(store: Store, model: str) -> AbstractContextManager[Held]:
    """Return the lock whose holder alone writes a model's aliases and tags."""
    return store.lock(f"projection-{model}")


def sync_aliases(store: Store, registry: Registry, model: str) -> list[Finding]:
    """Copy pending rows to MLflow, if there are any, and return the aliases that were moved outside Keel meanwhile.

    Idempotent. Keel's change overwrites such a move. An alias that no pending row moves is left to
    `keel.deployments.reconcile`.
    """
    with alias_lock(store, model) as held:
        return complete_sync(store, registry, read_sync_state(store, model), held)


def complete_sync(store: Store, registry: Registry, sync: SyncState, held: Held) -> list[Finding]:
    """Do what `sync_aliases` does; the caller holds the lock."""
    if not sync.pending:
        return []
    found = _overwritten_aliases(sync, registry.aliases(sync.model)) if sync.aliases_in_flight else []
    if found:
        for finding in found:
            log.warning("%s", finding.sentence)
        last = sync.pending[-1]
        record_findings(store, sync, found, actor=last.actor, now=last.at)
        sync = read_sync_state(store, sync.model)
    update_registry(store, registry, sync, held)
    return found


def record_findings(
    store: Store, sync: SyncState, found: list[Finding], *, actor: str, now: datetime, statuses: Statuses = NONE
) -> None:
    """Append a ledger row with findings, unless an interrupted process has recorded them."""
    evidence = findings_evidence(found)
    if not sync.has_recorded(evidence):
        body = {"evidence": evidence}
        append(store, sync.model, actor=actor, action=Action.OUT_OF_BAND, body=body, now=now, statuses=statuses)


def findings_evidence(found: list[Finding]) -> dict[str, Any]:
    """Return findings as the evidence of a ledger row."""
    return {"sentence": " ".join(f.sentence for f in found), "findings": [f.to_dict() for f in found]}


def update_registry(store: Store, registry: Registry, sync: SyncState, held: Held, also: Collection[str] = ()) -> None:
    """Write the aliases that pending rows move, those in ``also`` and all outdated tags to MLflow, then record that.

    Versions that MLflow no longer has are skipped, also those that another process deletes meanwhile.
    """
    for attempt in range(ATTEMPTS):
        try:
            _write(registry, sync, held, also)
            break
        except UnknownVersion as error:
            if attempt == ATTEMPTS - 1:
                raise RegistryRefused(str(error)) from error
            log.info("a version was deleted while its aliases and tags were written: %s", error)
    _store_synced_seq(store, sync)


def _write(registry: Registry, sync: SyncState, held: Held, also: Collection[str]) -> None:
    versions = registry_versions(registry, sync)
    existing = {version.version for version in versions} | {None}
    wanted = sync.state.deployment.aliases.items()
    held()
    registry.set_aliases(
        sync.model, {a: v for a, v in wanted if (a in sync.aliases_in_flight or a in also) and v in existing}
    )
    held()
    for version, status in outdated_tags(sync, versions).items():
        registry.set_tags(sync.model, version, {STATUS_TAG: status})


def registry_versions(registry: Registry, sync: SyncState) -> list[VersionInfo]:
    """Return the versions of a model in MLflow.

    Raises
    ------
    RegistryUnavailable
        MLflow has none, but the ledger has: probably this is another MLflow server, not one whose versions were all
        deleted.

    """
    versions = registry.versions(sync.model)
    if not versions and sync.state.version_statuses:
        raise RegistryUnavailable(
            f"MLflow has no version of {sync.model}, but the ledger has {len(sync.state.version_statuses)}: "
            "check that MLFLOW_TRACKING_URI names the right server; if all were deleted, train another: "
            f"airflow dags trigger {sync.model}.retrain"
        )
    return versions


def outdated_tags(sync: SyncState, versions: Iterable[VersionInfo]) -> dict[int, str]:
    """Return the status of each version whose ``keel.status`` tag differs from it."""
    statuses = {version: str(reached.status) for version, reached in sync.state.version_statuses.items()}
    return {
        v.version: statuses[v.version]
        for v in versions
        if v.version in statuses and v.tags.get(STATUS_TAG) != statuses[v.version]
    }


def _overwritten_aliases(sync: SyncState, aliases: Mapping[str, int]) -> list[Finding]:
    found = []
    deployment = sync.state.deployment
    for alias, possible in sync.aliases_in_flight.items():
        actual, expected = aliases.get(alias), deployment.aliases[alias]
        if actual not in possible:
            moved = "removed" if actual is None else f"moved to version {actual}"
            restored = "removes it" if expected is None else f"sets it to version {expected}"
            sentence = (
                f"The alias {alias} of {sync.model} was {moved} outside Keel during the change to generation "
                f"{deployment.generation}. The change stands, and Keel {restored}. "
                "Move the alias again if that is wrong."
            )
            found.append(Finding(alias, expected, actual, sentence))
    return found


def _store_synced_seq(store: Store, sync: SyncState) -> None:
    with store.begin() as connection:
        first = insert(connection, projections).values(model=sync.model, seq=sync.state.seq)
        connection.execute(
            first.on_conflict_do_update(
                index_elements=["model"], set_={"seq": first.excluded.seq}, where=projections.c.seq < first.excluded.seq
            )
        )
