"""What the ledger's rows add up to: where a model's versions stand now, and what is pinned of each.

The rows are folded from the first to the last. Whatever else Keel keeps about versions (the deployments row, MLflow's
aliases and tags) is this state projected, and can be made again from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from keel.evaluation.experiment.plan import Plan
from keel.ledger import entries as ledger
from keel.registry.pin import Pin

if TYPE_CHECKING:
    from keel.ledger.entries import Entry
    from keel.store import Store


class Status(StrEnum):
    """The stations of a version's life; also the values of MLflow's tag ``keel.status``."""

    CANDIDATE = "candidate"
    STAGING = "staging"
    PRODUCTION = "production"
    PREVIOUS = "previous"
    ARCHIVED = "archived"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    DELETED = "deleted"


PROMOTABLE = (Status.CANDIDATE, Status.STAGING)
"""Stations from which a version may go into production, and from which it may be tried there."""


@dataclass(frozen=True)
class Deployment:
    """Where a model's versions stand; generation 0 means nothing was ever deployed."""

    model: str
    production: int | None = None
    staging: int | None = None
    previous: int | None = None
    generation: int = 0

    @property
    def aliases(self) -> dict[str, int | None]:
        """What MLflow's aliases must say."""
        return {"production": self.production, "staging": self.staging, "previous": self.previous}

    @property
    def statuses(self) -> dict[int, Status]:
        """The station of each version that is deployed; of two places of one version the first in this order."""
        stations = {"production": Status.PRODUCTION, "staging": Status.STAGING, "previous": Status.PREVIOUS}
        taken = [(version, stations[alias]) for alias, version in self.aliases.items() if version is not None]
        return dict(reversed(taken))


def changed_statuses(before: Deployment, after: Deployment) -> dict[int, Status]:
    """Return the stations of the versions whose place changes.

    One that loses its place is archived, or a candidate as before if it was only offered.
    """
    was, becomes = before.statuses, after.statuses
    left = {
        version: Status.CANDIDATE if station is Status.STAGING else Status.ARCHIVED
        for version, station in was.items()
        if version not in becomes
    }
    return left | {version: station for version, station in becomes.items() if was.get(version) is not station}


@dataclass(frozen=True)
class VersionStatus:
    """The station a version has reached, why, and the ledger's row that says so."""

    status: Status
    reason: str
    since: datetime
    seq: int


@dataclass(frozen=True)
class Probation:
    """A version that is watched after its promotion, from and to in the data's own time."""

    version: int
    previous: int | None
    since: datetime
    until: datetime
    seq: int


@dataclass(frozen=True)
class History:
    """The state of one model after its last row ``seq``."""

    deployment: Deployment
    version_statuses: Mapping[int, VersionStatus] = field(default_factory=dict)
    pins: Mapping[int, Pin] = field(default_factory=dict)
    probation: Probation | None = None
    plan: Mapping[str, Any] | None = None
    """Of the experiment that runs, as the ledger has it."""
    seq: int = 0

    @cached_property
    def experiment(self) -> Plan | None:
        """The one that runs."""
        return None if self.plan is None else Plan.from_dict(self.plan)

    def status(self, version: int) -> Status | None:
        """Return a version's station; None for one that the ledger does not know."""
        standing = self.version_statuses.get(version)
        return standing.status if standing else None


def history(store: Store, model: str) -> History:
    """Return what a model's rows add up to."""
    return fold(model, ledger.entries(store, model))


def fold(model: str, entries: Iterable[Entry]) -> History:
    """Add up a model's rows, oldest first."""
    state = History(Deployment(model))
    for entry in entries:
        state = _after(state, entry)
    return state


def _after(state: History, entry: Entry) -> History:
    body = entry.body
    state = replace(state, seq=entry.seq)
    statuses = body.get("statuses", {})
    if "to" in body:
        before = state.deployment
        state = replace(state, deployment=Deployment(entry.model, **body["to"], generation=entry.generation_to))
        if "statuses" not in body:  # a row from before rows said it
            said = body.get("evidence", {}).get("sentence") or entry.action
            stations = changed_statuses(before, state.deployment).items()
            statuses = {version: {"status": station, "reason": said} for version, station in stations}
        if state.probation and state.probation.version != state.deployment.production:
            state = replace(state, probation=None)
    if statuses:
        new = {
            int(version): VersionStatus(Status(said["status"]), said["reason"], entry.at, entry.seq)
            for version, said in statuses.items()
        }
        state = replace(state, version_statuses={**state.version_statuses, **new})
    if artifacts := body.get("artifacts"):
        pin = Pin(artifacts["version"], artifacts["run_id"], artifacts["files"], entry.seq)
        state = replace(state, pins={**state.pins, pin.version: pin})
    if "probation" in body:
        state = replace(state, probation=_probation(body["probation"], entry.seq))
    if "experiment" in body:
        state = replace(state, plan=body["experiment"])
    return state


def _probation(said: Mapping[str, object] | None, seq: int) -> Probation | None:
    """None in a row's body ends a probation."""
    if said is None:
        return None
    since, until = (datetime.fromisoformat(str(said[name])) for name in ("since", "until"))
    return Probation(said["version"], said["previous"], since, until, seq)  # type: ignore[arg-type]
