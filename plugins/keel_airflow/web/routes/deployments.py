"""Which versions of a model are deployed, now or at a time, and every change to that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.common import ModelPath, Time
from keel_airflow.web.schemas.models import DeploymentChange, Deployments, Probation
from keel_airflow.web.security import CallerDep, require_read

router = APIRouter(route_class=BoundedRoute, tags=["deployments"])


@router.get("/{model}/deployments", responses=problems.documented(404, 409))
def get_deployments(
    caller: CallerDep,
    model: ModelPath,
    at: Annotated[Time | None, Query(description="which versions were deployed then; default: now")] = None,
) -> Deployments:
    """Return which versions are deployed, and the changes that led there, newest first."""
    from keel.deployments.from_ledger import ALIASES, deployed_at, deployment_changes
    from keel.deployments.history import fold
    from keel.ledger.entries import entries

    require_read(caller, model)
    installation.model_config(model)
    rows = list(entries(installation.workspace().store, model))
    changes = deployment_changes(rows)
    probation = None
    if at is not None:
        last = deployed_at(changes, at)
        changes = changes[: changes.index(last) + 1] if last else []
    elif (now := fold(model, rows).probation) is not None:
        probation = Probation(version=now.version, previous=now.previous, since=now.since, until=now.until)
    return Deployments(
        model=model,
        at=at,
        **{alias: getattr(changes[-1], alias) if changes else None for alias in ALIASES},
        probation=probation,
        changes=[DeploymentChange(**asdict(each)) for each in reversed(changes)],
    )
