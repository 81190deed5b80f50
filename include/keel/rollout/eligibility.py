"""Read stored comparisons and decisions by id, and check which versions may go into production.

A step gets only the id of what it acts on, because any task could have written what is passed between tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from keel.deployments.history import PROMOTABLE, History, Status
from keel.errors import NotPromotable, StaleGeneration
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.monitoring.records import DecisionRecord
from keel.monitoring.storage import read_comparison, read_decision

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import ComparisonRecord
    from keel.workspace import Workspace

NO_PERSON = frozenset({None, "", "airflow"})
"""Actors that are no person: none is named, or a schedule started the run."""
DecisionT = TypeVar("DecisionT", bound=DecisionRecord)


def stored_comparison(ws: Workspace, config: ModelConfig, report_id: str | None) -> ComparisonRecord:
    """Return a comparison as it was stored; `NotShownBetter` if the model has none of that id."""
    found = read_comparison(ws, config.model, report_id)
    if found is None:
        raise NotShownBetter(f"{config.model}: the store has no comparison {report_id!r}: run compare first")
    return found


def passed_comparison(ws: Workspace, config: ModelConfig, report_id: str | None) -> ComparisonRecord:
    """Return a stored comparison that the challenger passed, or whose promotion a person forces."""
    found = stored_comparison(ws, config, report_id)
    if found.verdict != "pass" and not found.forced_by:
        raise NotShownBetter(f"{config.model}: version {found.challenger} is not promoted: {found.sentence}")
    return found


def stored_decision(
    ws: Workspace, config: ModelConfig, decision_id: str | None, kind: type[DecisionT], *, purpose: str
) -> DecisionT:
    """Return a decision of a kind as it was stored.

    purpose: what the step does with it, for the error.

    Raises
    ------
    StaleGeneration
        The model has no such decision.

    """
    if found := read_decision(ws, config.model, decision_id, kind):
        return found
    raise StaleGeneration(
        f"{config.model}: the store has no decision {decision_id!r} to {purpose}, so nothing was done: start a new run"
    )


def require_promotable(state: History, version: int) -> None:
    """Raise `NotPromotable`, with the way out, for a version that may not go into production."""
    model, reached = state.deployment.model, state.version_statuses.get(version)
    if reached is None:
        raise NotPromotable(
            f"{model}: version {version} is not known to Keel, because Keel did not register it; {promotable(state)}"
        )
    if reached.status in PROMOTABLE:
        return
    reinstate = f"keel versions reinstate {model} {version} --reason …"
    ways = {
        Status.PRODUCTION: "it is in production already",
        Status.PREVIOUS: f"to roll back to it: airflow dags trigger {model}.rollback",
        Status.ARCHIVED: f"to roll back to it: airflow dags trigger {model}.rollback, naming the version",
        Status.REJECTED: f"to make it a candidate again: {reinstate}",
        Status.QUARANTINED: f"once the harm is understood: {reinstate}",
        Status.DELETED: "its artifacts are deleted; train another",
    }
    raise NotPromotable(
        f"{model}: version {version} is {reached.status} ({reached.reason}); {ways[reached.status]}; "
        f"{promotable(state)}"
    )


def promotable(state: History) -> str:
    """Name the versions that may go into production."""
    found = [
        str(version) for version, reached in sorted(state.version_statuses.items()) if reached.status in PROMOTABLE
    ]
    none = f"none; to train another: airflow dags trigger {state.deployment.model}.retrain"
    return f"versions that can be promoted: {', '.join(found) or none}"
