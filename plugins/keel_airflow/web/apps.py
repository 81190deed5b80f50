"""The FastAPI apps that Airflow's API server mounts: ``/drift``, ``/models`` and ``/keel``.

Each is whole or missing: an app is made of all of its routes and its guards before Airflow gets it, so an import error
leaves no route without its guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fastapi import FastAPI

from keel_airflow.web import limits, problems, same_origin, security
from keel_airflow.web.rest import rest_routers

if TYPE_CHECKING:
    from fastapi import APIRouter, Request, Response

    from keel_airflow.web.problems import Problem


def drift_app() -> FastAPI:
    """Return the app at ``/drift``: questions about drift and performance, checks, and their stored reports."""
    from keel_airflow.web import computing

    app = guarded("Keel: drift", rest_routers()["/drift"])
    # Airflow enters it with its own, so the helper process ends when the API server does
    app.router.lifespan_context = computing.lifespan
    return app


def models_app() -> FastAPI:
    """Return the app at ``/models``: versions, deployments, experiments and alerts."""
    return guarded("Keel: models", rest_routers()["/models"])


def page_app() -> FastAPI:
    """Return the app at ``/keel``: the pages for people, and the OpenAPI document."""
    from keel_airflow.web import openapi
    from keel_airflow.web.page import routes as pages

    app = guarded("Keel: pages", [openapi.router, pages.router], refusal=pages.refusal)
    pages.install(app)
    return app


def guarded(
    title: str,
    routers: Iterable[APIRouter],
    *,
    refusal: Callable[[Problem, Request], Response] = problems.response,
) -> FastAPI:
    """Return an app of some routers that answers nobody without a login.

    refusal: what to answer to those; by default the problem.
    """
    app = FastAPI(title=title, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    for router in routers:
        app.include_router(router)
    # the last one is the outermost: an error of any is contained, and the login comes before all that reads a request
    app.add_middleware(limits.BodyLimit)
    app.add_middleware(same_origin.SameOrigin, is_ambient=security.is_ambient)
    app.add_middleware(security.Login, refusal=refusal)
    problems.install(app)
    return app
