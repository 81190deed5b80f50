"""What the ledger alone says of versions and deployments: no registry is asked, and nothing heavy is imported.

rows = list(entries(store, model))
recorded_versions(rows)          each version, oldest first
deployment_changes(rows)         which version went where, and when
find_version(rows, "staging")    the version that a number or an alias names
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments.history import Deployment, History, fold
from keel.errors import UnknownVersion, suggestion
from keel.ledger import entries as ledger
from keel.ledger import narrative

if TYPE_CHECKING:
    from keel.ledger.entries import Entry

ALIASES = ("production", "staging", "previous")
LONGEST_NUMBER = 9
"""Digits of a version's number. A longer one is none, and too large for some databases."""


@dataclass(frozen=True)
class RecordedVersion:
    """A version as the ledger has it."""

    version: int
    status: str
    """As `keel.deployments.history.Status`."""
    since: datetime
    reason: str
    """For its status."""
    alias: str | None
    """``production``, ``staging`` or ``previous`` of a deployed version."""
    registered_at: datetime | None
    trained_because: str
    training_start: datetime | None
    training_end: datetime | None
    holdout_end: datetime | None
    parent: int | None
    """The version in production when it was trained."""
    run_id: str | None
    """Of MLflow."""


@dataclass(frozen=True)
class DeploymentChange:
    """A change of which versions are deployed."""

    seq: int
    """Of the ledger's row."""
    recorded_at: datetime
    since: datetime
    """In the data's time where the ledger has it, as of a promotion; else when it was recorded."""
    action: str
    actor: str
    sentence: str
    production: int | None
    staging: int | None
    previous: int | None


def recorded_versions(rows: Sequence[Entry]) -> list[RecordedVersion]:
    """Return every version of a model that the ledger knows, oldest first, deleted ones included."""
    state = fold(rows[0].model, rows) if rows else History(Deployment(""))
    registered = {
        int(row.body["artifacts"]["version"]): row for row in rows if (row.body.get("artifacts") or {}).get("version")
    }
    return [_recorded(state, number, registered.get(number)) for number in sorted(state.version_statuses)]


def deployment_changes(rows: Sequence[Entry]) -> list[DeploymentChange]:
    """Return the changes of a model's deployment, oldest first. Rows that only confirm it are none."""
    changes: list[DeploymentChange] = []
    deployed: Mapping[str, Any] = dict.fromkeys(ALIASES)
    for row in rows:
        to = row.body.get("to")
        if to is None or all(to.get(alias) == deployed.get(alias) for alias in ALIASES):
            continue
        # A rollback resumes a probation that began when its version was promoted.
        probation = None if row.action == ledger.Action.ROLLBACK else row.body.get("probation")
        changes.append(
            DeploymentChange(
                seq=row.seq,
                recorded_at=row.at,
                since=_time((probation or {}).get("since")) or row.at,
                action=row.action,
                actor=row.actor,
                sentence=narrative.describe(row),
                **{alias: to.get(alias) for alias in ALIASES},
            )
        )
        deployed = to
    return changes


def deployed_at(changes: Sequence[DeploymentChange], at: datetime) -> DeploymentChange | None:
    """Return the change that was the last one at a time; None before the first."""
    return next((change for change in reversed(changes) if change.since <= at), None)


def find_version(rows: Sequence[Entry], model: str, name: str | int) -> int:
    """Return the number of the version that a number or an alias names.

    Raises
    ------
    UnknownVersion
        The ledger has no such version, or no version has the alias; the message lists those that there are.

    """
    state = fold(model, rows)
    text = str(name).strip()
    if text in ALIASES:
        found = state.deployment.aliases[text]
        if found is None:
            raise UnknownVersion(f"{model}: no version is {text}; {_known(state)}")
        return found
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else None
    if number is None or number not in state.version_statuses:
        raise UnknownVersion(f"{model} has no version {text[:100]!r}{suggestion(text, ALIASES)}; {_known(state)}")
    return number


def _known(state: History) -> str:
    versions = ", ".join(map(str, sorted(state.version_statuses)[-20:])) or "none"
    aliases = state.deployment.aliases.items()
    deployed = ", ".join(f"{alias} {number}" for alias, number in aliases if number is not None)
    return f"versions: {versions}; deployed: {deployed or 'none'}"


def _recorded(state: History, number: int, row: Entry | None) -> RecordedVersion:
    status = state.version_statuses[number]
    tags = (row.body.get("evidence") or {}).get("tags") or {} if row else {}
    parent = str(tags.get("keel.parent") or "")
    pin = state.pins.get(number)
    return RecordedVersion(
        version=number,
        status=str(status.status),
        since=status.since,
        reason=status.reason,
        alias=next((alias for alias, version in state.deployment.aliases.items() if version == number), None),
        registered_at=row.at if row else None,
        trained_because=str(tags.get("keel.reason") or ""),
        training_start=_time(tags.get("keel.training_start")),
        training_end=_time(tags.get("keel.training_end")),
        holdout_end=_time(tags.get("keel.holdout_end")),
        parent=int(parent) if parent.isdigit() else None,
        run_id=pin.run_id if pin else None,
    )


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
