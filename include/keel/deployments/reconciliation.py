"""Whether the registry says what the ledger says: completing what was cut short, finding what was moved by hand.

Nobody of Keel's moves an alias without the projection's lock. Under it, and with nothing pending, an alias that differs
was moved by somebody else. A deployment that changes while one looks is noticed by the swap that takes a finding over.
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
    complete,
    evidence_of,
    exclusive,
    follow,
    look_at,
    record,
    untagged,
    versions_of,
)
from keel.deployments.history import Deployment, Status, changed_statuses
from keel.deployments.transitions import Statuses, read, swap
from keel.errors import StaleGeneration
from keel.ledger.entries import Action

if TYPE_CHECKING:
    from keel.registry.registry import Registry
    from keel.store import Store
    from keel.store.database.locks import Held

LOOKS = 5
"""How often one looks again because others change the deployment meanwhile; who looks next finds the rest."""


@dataclass(frozen=True)
class Reconciled:
    """What one look has found and done."""

    model: str
    completed: bool
    out_of_band: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """All of it, for people."""
        said = [f"A change of {self.model} that was cut short is completed."] if self.completed else []
        said += [finding.sentence for finding in self.out_of_band]
        return " ".join(said) or f"The registry says of {self.model} what the ledger says."

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``findings`` are sentences."""
        return {
            "model": self.model, "completed": self.completed, "sentence": self.sentence,
            "findings": [finding.sentence for finding in self.out_of_band],
            "out_of_band": [finding.to_dict() for finding in self.out_of_band],
        }  # fmt: skip


@dataclass(frozen=True)
class OutOfBandChange:
    """What somebody else has done to a model in the registry, with nothing of Keel's pending there."""

    look: SyncState
    aliases: Mapping[str, int]
    there: frozenset[int]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.look.model

    @property
    def deployment(self) -> Deployment:
        """What the ledger says, and the aliases should."""
        return self.look.state.deployment

    @cached_property
    def moved(self) -> dict[str, int]:
        """The aliases that say another version."""
        expected = self.deployment.aliases
        return {a: v for a, v in self.aliases.items() if a in expected and v != expected[a] and v in self.there}

    @cached_property
    def lost(self) -> dict[str, int]:
        """The aliases that are not there, with the versions that they should say."""
        expected = self.deployment.aliases.items()
        return {a: v for a, v in expected if v is not None and a not in self.moved and self.aliases.get(a) != v}

    @cached_property
    def removed(self) -> tuple[str, ...]:
        """The lost aliases whose version is still there."""
        return tuple(alias for alias, version in self.lost.items() if version in self.there)

    @cached_property
    def wanted(self) -> Deployment:
        """The deployment that takes it over.

        A production version that serves no longer can be gone back to; one that was deleted stays where it was.
        """
        changed: dict[str, Any] = {a: None for a in self.lost if a not in self.removed and a != "production"}
        wanted = replace(self.deployment, **{**changed, **self.moved})
        if "production" in self.moved:
            before = self.deployment.production
            if "previous" not in self.moved:
                wanted = replace(wanted, previous=before if before in self.there else None)
            if "staging" not in self.moved and wanted.staging == wanted.production:
                wanted = replace(wanted, staging=None)
        return wanted

    @cached_property
    def statuses(self) -> Statuses:
        """The stations that versions have reached, as far as the ledger does not know it."""
        reached: dict[int, tuple[Status, str]] = {
            version: (station, "moved by hand in the registry")
            for version, station in changed_statuses(self.deployment, self.wanted).items()
        }
        for alias, version in self.deployment.aliases.items():
            if version is not None and version not in self.there and self.aliases.get(alias) != version:
                reached[version] = (Status.DELETED, "deleted from the registry")
        return {v: said for v, said in reached.items() if self.look.state.status(v) is not said[0]}

    def findings(self, *, adopted: bool) -> list[Finding]:
        """Say it for people; ``adopted``: Keel takes it over."""
        found = []
        for alias, expected in self.deployment.aliases.items():
            if alias in self.moved:
                found.append(Finding(alias, expected, self.moved[alias], self._say_moved(alias, adopted)))
            elif alias in self.lost:
                say = self._say_removed if alias in self.removed else self._say_deleted
                found.append(Finding(alias, expected, None, say(alias, adopted)))
        return found

    def _say_moved(self, alias: str, adopted: bool) -> str:
        before, version = self.deployment.aliases[alias], self.moved[alias]
        standing = self.look.state.version_statuses.get(version)
        doubt = ""
        if standing is None:
            doubt = ", which Keel did not register and will not load"
        elif standing.status in (Status.QUARANTINED, Status.REJECTED):
            doubt = f", which is {standing.status} ({standing.reason})"
        origin = "" if before is None else f"from version {before} "
        if before is not None and before not in self.there:
            origin = f"from version {before}, which is deleted, "
        settled = f"Keel takes that over as generation {self.deployment.generation + 1}"
        if not adopted:
            settled = f"Keel still goes by {'none' if before is None else f'version {before}'}"
        return f"The alias {alias} of {self.model} was moved by hand {origin}to version {version}{doubt}; {settled}."

    def _say_removed(self, alias: str, adopted: bool) -> str:
        before, becomes = self.deployment.aliases[alias], self.wanted.aliases[alias]
        settled = f"it should say version {before}"
        if adopted:
            settled = f"it says version {becomes} {'again' if becomes == before else 'now'}"
        return f"The alias {alias} of {self.model} was removed by hand; {settled}."

    def _say_deleted(self, alias: str, adopted: bool) -> str:
        version, previous = self.deployment.aliases[alias], self.deployment.previous
        said = f"Version {version} of {self.model} was deleted from the registry while it was {alias}"
        if alias != "production":
            becomes = self.wanted.aliases[alias]
            settled = f"no version is {alias} now" if becomes is None else f"version {becomes} is {alias} now"
            return f"{said}; {settled if adopted else 'Keel still names it'}."
        if previous in self.there:
            return f"{said}; go back to version {previous}: airflow dags trigger {self.model}.rollback"
        return f"{said}; train another: airflow dags trigger {self.model}.retrain"


def reconcile(store: Store, registry: Registry, model: str, *, actor: str, now: datetime, adopt: bool) -> Reconciled:
    """Complete what is pending; then find what was moved by hand.

    adopt: take findings over, each with a row in the ledger: an alias that was moved becomes the deployment, one that
    was removed is put back. A production version that was deleted stays, as nothing tells what should serve instead.
    Without ``adopt`` findings are only reported. Tags are nobody's decision, and are set right either way.
    """
    completed, found = False, list[Finding]()
    with exclusive(store, model) as held:
        for _ in range(LOOKS):
            row, look = read(store, model), look_at(store, model)
            if look.news:
                found += complete(store, registry, look, held)
                completed |= look.moving
                continue
            if wrong := _wrong_row(look, row):
                found.append(wrong)
                break
            aliases, versions = registry.aliases(model), versions_of(registry, look)
            hand = OutOfBandChange(look, aliases, frozenset(version.version for version in versions))
            at_rest = not (hand.moved or hand.lost)
            if untagged(look, versions) or (at_rest and look.mark < look.state.seq):
                follow(store, registry, look, held)
            if adopt and not _taken_over(store, registry, hand, held, actor=actor, now=now):
                continue
            found += hand.findings(adopted=adopt)
            break
    return Reconciled(model, completed, tuple(found))


def _taken_over(
    store: Store, registry: Registry, hand: OutOfBandChange, held: Held, *, actor: str, now: datetime
) -> bool:
    """Make what was done by hand the deployment, or put it back; False if somebody changed the deployment meanwhile."""
    if not (hand.moved or hand.removed or hand.statuses):
        return True
    found = hand.findings(adopted=True)
    held()
    if hand.wanted == hand.deployment:
        record(store, hand.look, found, actor=actor, now=now, statuses=hand.statuses)
    else:
        body = {"evidence": evidence_of(found), **({"probation": None} if "production" in hand.moved else {})}
        try:
            swap(
                store, hand.deployment, hand.wanted, actor=actor, action=Action.OUT_OF_BAND, body=body, now=now,
                statuses=hand.statuses,
            )  # fmt: skip
        except StaleGeneration:
            return False
    follow(store, registry, look_at(store, hand.look.model), held, also=hand.removed)
    return True


def _wrong_row(look: SyncState, row: Deployment) -> Finding | None:
    """Compare the deployments row, read before the ledger, with what the ledger adds up to.

    They change in one transaction. A change between the two reads would be pending, as nobody else can project it now.
    """
    right = look.state.deployment
    if row == right:
        return None
    sentence = (
        f"The deployments row of {look.model} (generation {row.generation}) is not what the ledger adds up to "
        f"(generation {right.generation}); write it anew from the ledger: keel ledger rebuild {look.model}"
    )
    return Finding("deployments", right.generation, row.generation, sentence)
