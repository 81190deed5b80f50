"""The versions of a model, and how two of them were compared. MLflow is not asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.common import ModelPath, StoredId, VersionName
from keel_airflow.web.schemas.models import Comparison, Version, Versions
from keel_airflow.web.security import CallerDep, require_read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keel.workspace import Workspace

router = APIRouter(route_class=BoundedRoute, tags=["versions"])


@router.get("/{model}/versions", responses=problems.documented(404, 409))
def list_versions(caller: CallerDep, model: ModelPath) -> Versions:
    """List the versions of a model, newest first, deleted ones included."""
    from keel.deployments.from_ledger import recorded_versions
    from keel.ledger.entries import entries

    require_read(caller, model)
    installation.model_config(model)
    ws = installation.workspace()
    found = recorded_versions(list(entries(ws.store, model)))
    holdouts = _holdouts(ws, model, [each.version for each in found])
    return Versions(
        model=model,
        versions=[Version(**asdict(each), holdout=holdouts.get(each.version, {})) for each in reversed(found)],
    )


@router.get("/{model}/compare", responses=problems.documented(404, 409))
def compare_versions(
    caller: CallerDep,
    model: ModelPath,
    first: Annotated[VersionName, Query(description="number or alias of a version")],
    second: Annotated[VersionName, Query(description="number or alias of the version it was compared with")],
    report: Annotated[StoredId | None, Query(description="id of a comparison; default: the newest of the two")] = None,
) -> Comparison:
    """Return how two versions were compared, on a holdout or in an experiment. Nothing is compared anew."""
    from keel.deployments.from_ledger import find_version
    from keel.ledger.entries import entries
    from keel.reports.comparison.find import find_comparison
    from keel.reports.comparison.words import with_current_names

    require_read(caller, model)
    installation.model_config(model)
    ws = installation.workspace()
    rows = list(entries(ws.store, model))
    one, other = find_version(rows, model, first), find_version(rows, model, second)
    chosen, others = find_comparison(ws.store, model, one, other, report or "")
    return Comparison(
        report_id=chosen["report_id"],
        model=model,
        verdict=chosen["status"],
        created_at=chosen["created_at"],
        comparison=with_current_names(chosen["body"]),
        others=list(others),
    )


def _holdouts(ws: Workspace, model: str, versions: Iterable[int]) -> dict[int, dict[str, float]]:
    """Return the holdout's metrics that the last check of each version was compared with."""
    newest = {}
    for key in reversed(ws.store.reports.keys(model, ["performance"])):
        newest[key.version] = key.report_id
    ids = {newest[version]: version for version in versions if version in newest}
    return {
        ids[identity]: {name: each["value"] for name, each in (body.get("reference") or {}).items()}
        for identity, body in ws.store.reports.bodies(list(ids)).items()
    }
