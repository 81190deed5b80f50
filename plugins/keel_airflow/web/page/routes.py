"""The addresses of the pages. Every one asks who calls, as the REST API does; an error is a page, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from keel.errors import KeelError
from keel.reports import html
from keel_airflow.web import computing, problems, security
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.page import documents, views
from keel_airflow.web.page.static_files import static_files
from keel_airflow.web.problems import Problem
from keel_airflow.web.schemas.common import StoredId  # noqa: TC001 FastAPI reads the annotation

if TYPE_CHECKING:
    from keel_airflow.web.page.views import View
    from keel_airflow.web.security import Caller

router = APIRouter(route_class=BoundedRoute, default_response_class=HTMLResponse, include_in_schema=False)

Window = Annotated[str, Query(max_length=100)]
SECONDS_KEPT = 86_400
"""For which a browser keeps a file: its address changes when it does."""


@router.get("/")
def show_overview(request: Request, caller: security.CallerDep) -> Response:
    """Show all models, the worst first."""
    return _shown(request, caller, lambda: views.overview(caller))


@router.get("/models/{model}")
def show_model(request: Request, caller: security.CallerDep, model: str) -> Response:
    """Show a model."""
    return _shown(request, caller, lambda: views.model(caller, model))


@router.get("/models/{model}/columns/{column:path}")
def show_column(request: Request, caller: security.CallerDep, model: str, column: str, window: Window = "") -> Response:
    """Show a column in the window of a check: reference against window."""
    return _shown(request, caller, lambda: views.column(caller, model, column, window))


@router.get("/models/{model}/checks")
def show_check(request: Request, caller: security.CallerDep, model: str, window: Window = "") -> Response:
    """Show a check as its report does; without a window the newest."""
    return _shown(request, caller, lambda: views.check(caller, model, window))


@router.get("/reports/{report_id}")
def show_report(request: Request, caller: security.CallerDep, report_id: Annotated[StoredId, Path()]) -> Response:
    """Show a stored report."""
    return _shown(request, caller, lambda: views.report(caller, report_id))


@router.get("/dag/{dag_id}")
def show_dag(request: Request, caller: security.CallerDep, dag_id: str) -> Response:
    """Show the model of a DAG, in the tab of the DAG."""
    return _shown(request, caller, lambda: views.dag(caller, dag_id))


@router.get("/static/{name}")
def get_static_file(caller: security.CallerDep, name: str) -> Response:
    """Return a style, a script or the icon of the pages."""
    file = static_files().get(name)
    if file is None:
        raise Problem(404, "Not found", f"there is no file {name[:100]!r}")
    kept = {"Cache-Control": f"private, max-age={SECONDS_KEPT}"}
    return Response(file.content, headers={**documents.HEADERS, **kept}, media_type=file.media_type)


def refusal(problem: Problem, request: Request) -> Response:
    """Return what somebody without a login gets: the way to Airflow's login, or the problem where JSON is asked for."""
    return (problems.response if _is_json(request) else documents.login_document)(problem, request)


def install(app: FastAPI) -> None:
    """Let an app with these routes answer errors as pages, save those about its JSON."""
    for kind in (Problem, KeelError, SQLAlchemyError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)


def _shown(request: Request, caller: Caller, build: Callable[[], View]) -> Response:
    """Return a view as a document, or what went wrong as one."""
    place = documents.place_of(request)
    try:
        view = build()
        if view.page is None:
            asked = {**view.asked, "root": place.root}
            return documents.slow_document(
                place, view, lambda: str(computing.ask("page", asked)["content"]), caller.name
            )
        may = cache(lambda dag_id: security.may_run(caller, dag_id))
        content = html.fragment(view.page, root=place.root, may=may)
    except Exception as error:
        problem = problems.of_exception(error)
        return documents.problem_document(place, problem, caller.name)
    return documents.document(place, view, content, caller.name)


def _handle(request: Request, error: Exception) -> Response:
    problem = problems.of_exception(error)
    if _is_json(request):
        return problems.response(problem, request)
    return documents.problem_document(documents.place_of(request), problem)


def _is_json(request: Request) -> bool:
    return request.url.path.endswith(".json")
