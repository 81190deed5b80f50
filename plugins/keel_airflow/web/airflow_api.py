"""Airflow's public API, asked from an endpoint of Keel's as its caller, without leaving the process.

A request goes to Airflow's own app, as one from outside would: through its middlewares, its login and its permissions.
So no address of the server is needed, whatever proxy is in front of it, and no server waits for itself.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import anyio.from_thread
import httpx

from keel_airflow.web import problems
from keel_airflow.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from keel_airflow.web.security import Caller

SCOPE_KEY = "keel_airflow.airflow_app"
SECONDS = 20.0
"""To wait for an answer of Airflow's."""
HERE = "http://airflow"
"""A host that is never asked: the request stays in the process."""


class KnowsAirflow:
    """Middleware of Airflow's app, by which the apps that are mounted in it find it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            scope[SCOPE_KEY] = scope["app"]
        await self._app(scope, receive, send)


class AirflowApi:
    """Airflow's public API for the caller of a request."""

    def __init__(self, request: Request, caller: Caller) -> None:
        self._app: FastAPI = request.scope[SCOPE_KEY]
        self._headers = {**caller.credentials, "Accept-Encoding": "identity"}
        self.root = self._app.root_path.rstrip("/")
        """The path below which Airflow is mounted; mostly empty."""

    def call(self, method: str, path: str, json: Mapping[str, Any] | None = None) -> httpx.Response:
        """Send a request from one of Keel's threads; see `ask`."""
        return anyio.from_thread.run(functools.partial(self.ask, method, path, json))

    async def ask(self, method: str, path: str, json: Mapping[str, Any] | None = None) -> httpx.Response:
        """Send a request, and return the response, whatever its status is below 500.

        path: such as ``/api/v2/dags/…``.

        Raises
        ------
        Problem
            503: Airflow fails, or does not answer in time. 401: the login has just ended.

        """
        transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
        try:
            with anyio.fail_after(SECONDS):
                async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=self._headers) as client:
                    response = await client.request(method, self.root + path, json=json)
        except TimeoutError:
            raise _unavailable(f"Airflow's API does not answer within {SECONDS:.0f} s") from None
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _unavailable(f"Airflow's API answers {response.status_code}; the API server's log says why")
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise Problem(401, "Log in to Airflow", "the login has ended", headers={"WWW-Authenticate": "Bearer"})
        return response


def path_of(*parts: str) -> str:
    """Return the path of a resource of the public API.

    >>> path_of("dags", "tide.promote", "dagRuns", "manual__1+00:00")
    '/api/v2/dags/tide.promote/dagRuns/manual__1%2B00%3A00'
    """
    return "/api/v2/" + "/".join(quote(part, safe="") for part in parts)


def detail_of(response: httpx.Response) -> str:
    """Return what Airflow says of a request that it refuses."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"Airflow answers {response.status_code}"
    if isinstance(detail, list):
        detail = "; ".join(str(each.get("msg", each)) if isinstance(each, dict) else str(each) for each in detail)
    return str(detail)


def _unavailable(detail: str) -> Problem:
    return Problem(503, "Not available at the moment", detail, retry_after=problems.RETRY_AFTER)
