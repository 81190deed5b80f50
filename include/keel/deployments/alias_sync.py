"""The registry's side of every transition: MLflow's aliases and ``keel.status`` tags follow the ledger.

MLflow offers neither transactions nor compare-and-swap. So only the holder of a lock writes there, and it never writes
what it was asked to write but what the ledger says by then: a slow projector cannot put back an older state. When all
is written, ``projections.seq`` says up to which row of the ledger that is so. A projection that is cut short anywhere
leaves it behind, and whoever looks next completes it.
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
from keel.errors import RegistryUnavailable
from keel.ledger import entries as ledger
from keel.ledger.entries import Action, Entry
from keel.store.database.tables import projections
from keel.store.records import insert

if TYPE_CHECKING:
    from datetime import datetime

    from keel.registry.registry import Registry, VersionInfo
    from keel.store import Store
    from keel.store.database.locks import Held

log = logging.getLogger(__name__)

STATUS_TAG = "keel.status"


@dataclass(frozen=True)
class Finding:
    """What was not as the ledger says, such as an alias that somebody moved; None stands for no version."""

    what: str
    expected: int | None
    found: int | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class SyncState:
    """A model's rows in the ledger, and up to which of them the registry follows."""

    model: str
    entries: tuple[Entry, ...]
    mark: int

    @cached_property
    def state(self) -> History:
        """What all rows add up to."""
        return fold(self.model, self.entries)

    @cached_property
    def news(self) -> tuple[Entry, ...]:
        """The rows which say something of versions, and which the registry does not follow yet."""
        return tuple(e for e in self.entries if e.seq > self.mark and ("to" in e.body or "statuses" in e.body))

    @property
    def moving(self) -> bool:
        """Whether a change of the deployment is among the news, and not only stations of other versions."""
        return any("to" in entry.body for entry in self.news)

    @cached_property
    def passed(self) -> dict[str, set[int | None]]:
        """Where each alias that a pending change moves may be by Keel's own hand: where it was, or where it was to be.

        More than two places where several changes were left behind, each of which may have come as far as this alias.
        """
        before = fold(self.model, (e for e in self.entries if e.seq <= self.mark)).deployment.aliases
        changes = [before, *(entry.body["to"] for entry in self.news if "to" in entry.body)]
        places = {alias: {change[alias] for change in changes} for alias in before}
        return {alias: versions for alias, versions in places.items() if len(versions) > 1}

    def knows(self, evidence: Mapping[str, Any]) -> bool:
        """Whether a finding was recorded by somebody who then did not come to the end of it."""
        return any(
            entry.action == Action.OUT_OF_BAND and entry.body.get("evidence") == evidence
            for entry in self.entries
            if entry.seq > self.mark
        )


def look_at(store: Store, model: str) -> SyncState:
    """Read the mark first: what is committed after it must never be taken for followed."""
    with store.connect() as connection:
        mark = connection.execute(select(projections.c.seq).where(projections.c.model == model)).scalar()
    return SyncState(model, tuple(ledger.entries(store, model)), mark or 0)


def sync_pending(store: Store, model: str) -> bool:
    """Whether the registry does not follow the ledger yet, because somebody is at it or was cut short."""
    return bool(look_at(store, model).news)


def exclusive(store: Store, model: str) -> AbstractContextManager[Held]:
    """Be the only one who writes a model's aliases and tags."""
    return store.lock(f"projection-{model}")


def sync_aliases(store: Store, registry: Registry, model: str) -> list[Finding]:
    """Complete what is pending, if anything is; idempotent; returns the aliases that were moved by hand meanwhile.

    Keel's change wins over those. An alias that no pending change moves is left to `keel.deployments.reconcile`.
    """
    with exclusive(store, model) as held:
        return complete(store, registry, look_at(store, model), held)


def complete(store: Store, registry: Registry, look: SyncState, held: Held) -> list[Finding]:
    """Do what `project` does, for who holds the lock."""
    if not look.news:
        return []
    found = _overwritten(look, registry.aliases(look.model)) if look.passed else []
    if found:
        for finding in found:
            log.warning("%s", finding.sentence)
        last = look.news[-1]
        record(store, look, found, actor=last.actor, now=last.at)
        look = look_at(store, look.model)
    follow(store, registry, look, held)
    return found


def record(
    store: Store, look: SyncState, found: list[Finding], *, actor: str, now: datetime, statuses: Statuses = NONE
) -> None:
    """Say in the ledger what was found, unless it was said by somebody who did not come to the end."""
    evidence = evidence_of(found)
    if not look.knows(evidence):
        body = {"evidence": evidence}
        append(store, look.model, actor=actor, action=Action.OUT_OF_BAND, body=body, now=now, statuses=statuses)


def evidence_of(found: list[Finding]) -> dict[str, Any]:
    """Return what a row says about findings."""
    return {"sentence": " ".join(f.sentence for f in found), "findings": [f.to_dict() for f in found]}


def follow(store: Store, registry: Registry, look: SyncState, held: Held, also: Collection[str] = ()) -> None:
    """Make the registry say what the ledger says, and then say so: the aliases that pending changes move or ``also``
    names, and all tags. Versions that the registry does not have any more are passed over.
    """
    versions = versions_of(registry, look)
    there = {version.version for version in versions} | {None}
    wanted = look.state.deployment.aliases.items()
    held()
    registry.set_aliases(look.model, {a: v for a, v in wanted if (a in look.passed or a in also) and v in there})
    held()
    for version, status in untagged(look, versions).items():
        registry.set_tags(look.model, version, {STATUS_TAG: status})
    _mark(store, look)


def versions_of(registry: Registry, look: SyncState) -> list[VersionInfo]:
    """Return the registry's versions of a model.

    Raises
    ------
    RegistryUnavailable
        It has none, though the ledger knows some: that is another registry sooner than that each version was deleted.

    """
    versions = registry.versions(look.model)
    if not versions and look.state.version_statuses:
        raise RegistryUnavailable(
            f"MLflow has no version of {look.model}, though the ledger knows {len(look.state.version_statuses)}: "
            "see whether MLFLOW_TRACKING_URI names the right server; if they were all deleted, train another: "
            f"airflow dags trigger {look.model}.retrain"
        )
    return versions


def untagged(look: SyncState, versions: Iterable[VersionInfo]) -> dict[int, str]:
    """Return the stations of those versions whose tag does not say it."""
    stations = {version: str(standing.status) for version, standing in look.state.version_statuses.items()}
    return {
        v.version: stations[v.version]
        for v in versions
        if v.version in stations and v.tags.get(STATUS_TAG) != stations[v.version]
    }


def _overwritten(look: SyncState, aliases: Mapping[str, int]) -> list[Finding]:
    found = []
    deployment = look.state.deployment
    for alias, places in look.passed.items():
        seen, expected = aliases.get(alias), deployment.aliases[alias]
        if seen not in places:
            moved = "was removed by hand" if seen is None else f"was moved by hand to version {seen}"
            target = "nothing" if expected is None else f"version {expected}"
            sentence = (
                f"The alias {alias} of {look.model} {moved} while the change to generation {deployment.generation} was "
                f"under way; the change stands, and the alias says {target}. Move it again if that is not right."
            )
            found.append(Finding(alias, expected, seen, sentence))
    return found


def _mark(store: Store, look: SyncState) -> None:
    with store.begin() as connection:
        first = insert(connection, projections).values(model=look.model, seq=look.state.seq)
        connection.execute(
            first.on_conflict_do_update(
                index_elements=["model"], set_={"seq": first.excluded.seq}, where=projections.c.seq < first.excluded.seq
            )
        )
