"""What a step may rest on: comparisons as they were kept, and versions that may go into production."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keel.deployments.history import PROMOTABLE, History, Status
from keel.errors import NotPromotable
from keel.evaluation.holdout.comparison import NotShownBetter, Verdict

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import Plain
    from keel.workspace import Workspace


def kept(ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any]) -> Plain:
    """Return a comparison as it was kept, whatever the reference to it says of it."""
    reference = str(comparison.get("report_id"))
    found = ws.store.reports.get(reference)
    if found is None or found["kind"] != "comparison" or found["model"] != config.model:
        raise NotShownBetter(f"{config.model}: there is no comparison {reference!r} in the store: run compare first")
    body: Plain = found["body"]
    return body


def shown(ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any]) -> Plain:
    """Return a comparison that speaks for its challenger, or that a person has overruled."""
    body = kept(ws, config, comparison)
    if body["verdict"] != Verdict.PASS and not body["forced_by"]:
        raise NotShownBetter(f"{config.model}: version {body['challenger']} stays out: {body['sentence']}")
    return body


def require_promotable(state: History, version: int) -> None:
    """Raise `NotPromotable`, with the way out, for a version that may not go into production."""
    model, standing = state.deployment.model, state.version_statuses.get(version)
    if standing is None:
        raise NotPromotable(
            f"{model}: version {version} is not known to Keel, as it was not registered by it; {promotable(state)}"
        )
    if standing.status in PROMOTABLE:
        return
    ways = {
        Status.PRODUCTION: "it is in production already",
        Status.PREVIOUS: f"to go back to it: airflow dags trigger {model}.rollback",
        Status.ARCHIVED: f"to go back to it: airflow dags trigger {model}.rollback, naming the version",
        Status.REJECTED: f"to give it another chance: keel versions reinstate {model} {version} --reason …",
        Status.QUARANTINED: f"once its harm is understood: keel versions reinstate {model} {version} --reason …",
        Status.DELETED: "its artifacts are gone; train another",
    }
    raise NotPromotable(
        f"{model}: version {version} is {standing.status} ({standing.reason}); {ways[standing.status]}; "
        f"{promotable(state)}"
    )


def promotable(state: History) -> str:
    """Name the versions that may go into production."""
    found = [
        str(version) for version, standing in sorted(state.version_statuses.items()) if standing.status in PROMOTABLE
    ]
    model = state.deployment.model
    none = f"none; to train another: airflow dags trigger {model}.retrain"
    return f"versions that can be promoted: {', '.join(found) or none}"
