"""A model's state, derived from its ledger rows: the status of each version, its pin, probation and experiment.

`fold` applies the rows from the first to the last. Everything else that Keel stores about versions (the ``deployments``
row, MLflow's aliases and tags) is a copy of this state and can be rebuilt from it.
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
    """The statuses of a version; also the values of MLflow's tag ``keel.status``."""

    CANDIDATE = "candidate"
    STAGING = "staging"
    PRODUCTION = "production"
    PREVIOUS = "previous"
    ARCHIVED = "archived"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    DELETED = "deleted"


PROMOTABLE = (Status.CANDIDATE, Status.STAGING)
"""Statuses from which a version may be promoted, and from which it may be a challenger in an experiment."""


@dataclass(frozen=True)
class Deployment:
    """The versions of a model that are deployed; generation 0 means that nothing was ever deployed."""

    model: str
    production: int | None = None
    staging: int | None = None
    previous: int | None = None
    generation: int = 0

    @property
    def aliases(self) -> dict[str, int | None]:
        """The version of each MLflow alias; None for an alias that is not set."""
        return {"production": self.production, "staging": self.staging, "previous": self.previous}

    @property
    def statuses(self) -> dict[int, Status]:
        """The status of each deployed version; of a version with two aliases, that of the first in this order."""
        of_alias = {"production": Status.PRODUCTION, "staging": Status.STAGING, "previous": Status.PREVIOUS}
        deployed = [(version, of_alias[alias]) for alias, version in self.aliases.items() if version is not None]
        return dict(reversed(deployed))


def changed_statuses(before: Deployment, after: Deployment) -> dict[int, Status]:
    """Return the new status of each version whose status changes.

    A version that is no longer deployed is archived, or a candidate again if it was only staged.
    """
    old, new = before.statuses, after.statuses
    removed = {
        version: Status.CANDIDATE if status is Status.STAGING else Status.ARCHIVED
        for version, status in old.items()
        if version not in new
    }
    return removed | {version: status for version, status in new.items() if old.get(version) is not status}


@dataclass(frozen=True)
class VersionStatus:
    """The status of a version, its reason and time, and the number of the ledger row that set it."""

    status: Status
    reason: str
    since: datetime
    seq: int


@dataclass(frozen=True)
class Probation:
    """The probation of a promoted version; ``since`` and ``until`` are in the data's time."""

    version: int
    previous: int | None
    since: datetime
    until: datetime
    seq: int


@dataclass(frozen=True)
class History:
    """The state of one model after its ledger row ``seq``."""

    deployment: Deployment
    version_statuses: Mapping[int, VersionStatus] = field(default_factory=dict)
    pins: Mapping[int, Pin] = field(default_factory=dict)
    probation: Probation | None = None
    plan: Mapping[str, Any] | None = None
    """The plan of the running experiment, as stored in the ledger."""
    seq: int = 0

    @cached_property
    def experiment(self) -> Plan | None:
        """The plan of the running experiment; None without one."""
        return None if self.plan is None else Plan.from_dict(self.plan)

    def status(self, version: int) -> Status | None:
        """Return the status of a version; None for a version that the ledger does not have."""
        found = self.version_statuses.get(version)
        return found.status if found else None


def history(store: Store, model: str) -> History:
    """Return the state of a model from its ledger rows."""
    return fold(model, ledger.entries(store, model))


@dataclass(frozen=True)
class Term:
    """The time that a version is in production, from one change to the next."""

    version: int
    since: datetime
    """In the data's time where the ledger has it. A rollback, and a change made in MLflow, have the time of their row
    alone."""
    arrival: int
    """The last arrival number that the model had taken before; 0 of a change by a release without such numbers."""


def production_term(entries: Iterable[Entry]) -> Term | None:
    """Return the present term of the version in production; None without one.

    entries: the ledger rows of one model, oldest first.
    """
    production: int | None = None
    began: Entry | None = None
    for entry in entries:
        if "to" in entry.body and entry.body["to"]["production"] != production:
            production, began = entry.body["to"]["production"], entry
    if began is None or production is None:
        return None
    since, probation = began.at, began.body.get("probation")
    # A rollback resumes a probation that began when its version was promoted.
    if probation and began.action != ledger.Action.ROLLBACK:
        since = datetime.fromisoformat(str(probation["since"]))
    return Term(production, since, int(began.body.get("arrival", 0)))


def production_since(entries: Iterable[Entry]) -> datetime | None:
    """Return when the version in production went there (`Term.since`); None without one."""
    term = production_term(entries)
    return None if term is None else term.since


def fold(model: str, entries: Iterable[Entry]) -> History:
    """Return the state after a model's rows, given oldest first."""
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
        if "statuses" not in body:  # rows of versions before 0.1.0
            reason = body.get("evidence", {}).get("sentence") or entry.action
            changed = changed_statuses(before, state.deployment)
            statuses = {version: {"status": status, "reason": reason} for version, status in changed.items()}
        if state.probation and state.probation.version != state.deployment.production:
            state = replace(state, probation=None)
    if statuses:
        new = {
            int(version): VersionStatus(Status(status["status"]), status["reason"], entry.at, entry.seq)
            for version, status in statuses.items()
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


def _probation(body: Mapping[str, Any] | None, seq: int) -> Probation | None:
    """Return the probation that a row begins; None in the row ends the probation."""
    if body is None:
        return None
    since, until = (datetime.fromisoformat(str(body[name])) for name in ("since", "until"))
    return Probation(body["version"], body["previous"], since, until, seq)
