"""Stored reports: which there are, and one with its body."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query

from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.problems import Problem
from keel_airflow.web.schemas.common import ModelName, StoredId, Time, VersionNumber
from keel_airflow.web.schemas.reports import Report, ReportPage, ReportSummary
from keel_airflow.web.security import CallerDep, readable, require_read

if TYPE_CHECKING:
    from keel.store.report_listing import ReportHeader
    from keel.workspace import Workspace

router = APIRouter(route_class=BoundedRoute, tags=["reports"])

MOST = 500
"""Reports of one page."""


@router.get("/reports", responses=problems.documented(404))
def list_stored_reports(
    caller: CallerDep,
    model: Annotated[ModelName | None, Query(description="only of this model; default: every one you may read")] = None,
    kind: Annotated[StoredId | None, Query(description="such as drift, performance or comparison")] = None,
    version: Annotated[VersionNumber | None, Query()] = None,
    since: Annotated[Time | None, Query(description="only of windows that end at this time or later")] = None,
    until: Annotated[Time | None, Query(description="only of windows that end at this time or earlier")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    before: Annotated[StoredId | None, Query(description="next_before of the page before")] = None,
) -> ReportPage:
    """List stored reports, newest first, without their bodies."""
    from keel.store.report_listing import list_reports

    models = _models(caller, model)
    ws = installation.workspace()
    found = list_reports(
        ws.store,
        models,
        kind=kind,
        version=version,
        since=since,
        until=until,
        before=_last_of_page(ws, before, models) if before else None,
        limit=limit + 1,
    )
    page = [ReportSummary(**asdict(each)) for each in found[:limit]]
    return ReportPage(reports=page, next_before=page[-1].report_id if len(found) > limit else None)


@router.get("/reports/{report_id}", responses=problems.documented(404))
def get_stored_report(caller: CallerDep, report_id: Annotated[StoredId, Path()]) -> Report:
    """Return a stored report with its body."""
    found = installation.workspace().store.reports.get(report_id)
    if found is None or not readable(caller, [found["model"]]):
        raise unknown_report(report_id)
    return Report(**found)


def unknown_report(report_id: str) -> Problem:
    """Return the problem that there is no report of an id. Who may not read its model learns no more."""
    remedy = "GET /drift/reports lists the reports that you may read"
    return Problem(
        404, "Not found", f"no report {report_id!r} is stored", errors=[problems.entry("report_id", "unknown", remedy)]
    )


def _models(caller: Any, model: str | None) -> list[str]:
    if model is None:
        return readable(caller, installation.configurations()[0])
    require_read(caller, model)
    return [installation.model_config(model).model]


def _last_of_page(ws: Workspace, report_id: str, models: list[str]) -> ReportHeader:
    from keel.store.report_listing import find_header

    found = find_header(ws.store, report_id)
    if found is None or found.model not in models:
        raise unknown_report(report_id)
    return found
