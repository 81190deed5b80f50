"""Requests that change something come from Airflow's own pages, or from a program that sends a token.

A browser sends Airflow's cookie along with requests that a page of others makes it send. It also says where they come
from: by ``Sec-Fetch-Site``, and, where that is missing as without TLS, by ``Origin``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import Request

from keel_airflow.web import limits, problems
from keel_airflow.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOrigin:
    """Middleware: refuses what another site's page makes a browser do.

    is_ambient: whether a browser authenticates a request by itself; see `keel_airflow.web.security.is_ambient`.
    """

    def __init__(self, app: ASGIApp, is_ambient: Callable[[Request], bool]) -> None:
        self._app, self._is_ambient = app, is_ambient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] not in SAFE:
            request = Request(scope)
            if self._is_ambient(request) and (problem := refused(request)):
                await problems.response(problem, request)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refused(request: Request) -> Problem | None:
    """Return why a request with ambient credentials is refused; None where it may pass."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        foreign = site != "same-origin"
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    if foreign:
        return Problem(
            403,
            "The request comes from another site",
            "A request that is authenticated by a cookie must come from a page of this Airflow. Programs send a token.",
        )
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in limits.FORM_TYPES:
        return Problem(415, "The body is of another type than expected", "send application/json instead of a form")
    return None
