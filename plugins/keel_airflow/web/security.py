"""Who calls, and what they may: the one module that imports Airflow's API server.

Airflow leaves an app of a plugin open to everybody. `Login` therefore wraps a whole app, so that a path is guarded
before it is known whether it exists, and before a body is read. What a caller may do is asked of Airflow's auth
manager, in the endpoints, which run on threads: an auth manager may ask a database or a server of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from keel.config import MODEL_NAME
from keel_airflow.web import problems
from keel_airflow.web.problems import Problem

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from fastapi.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_SECONDS = 300
"""Life of the token with which an action of a caller with a cookie is handed on to Airflow's API."""


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    name: str
    """As Airflow names them in a run that they trigger, and so as in the ledger."""
    user: BaseUser
    credentials: Mapping[str, str]
    """Headers that authenticate the same caller against Airflow's public API."""


class Login:
    """Middleware: whoever has no valid login to Airflow gets no answer but the refusal.

    refusal: what to answer; it gets the problem (401, or 503 where Airflow's database is down) and the request.
    """

    def __init__(self, app: ASGIApp, refusal: Callable[[Problem, Request], Response] = problems.response) -> None:
        self._app, self._refusal = app, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise TypeError(f"Keel answers no {scope['type']} requests")
        request = Request(scope)
        try:
            request.state.keel_caller = await _authenticate(request)
        except Exception as error:
            await self._refusal(problems.of_exception(error), request)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _caller(request: Request) -> Caller:
    """Return who calls. An app without `Login` asks here, so that no endpoint of Keel's is open by mistake."""
    known = getattr(request.state, "keel_caller", None)
    return known if isinstance(known, Caller) else await _authenticate(request)


CallerDep = Annotated[Caller, Depends(_caller)]


async def _authenticate(request: Request) -> Caller:
    """Return the caller that a bearer token, else Airflow's cookie, names.

    Raises
    ------
    Problem
        401: there is none, or it is expired, revoked or no token of this Airflow.

    """
    bearer = await bearer_scheme(request)
    try:
        user = await get_user(request, None, bearer)
    except HTTPException as error:
        raise Problem(
            401,
            "Log in to Airflow",
            f"{error.detail}. Send a token in the header Authorization: Bearer …; POST /auth/token gives one.",
            headers={"WWW-Authenticate": "Bearer"},
        ) from None
    if bearer is not None and bearer.scheme.lower() == "bearer":
        token = bearer.credentials
    else:
        # The cookie's token may be one that Airflow has just renewed for this request.
        token = get_auth_manager().generate_jwt(user, expiration_time_in_seconds=TOKEN_SECONDS)
    return Caller(user.get_name(), user, {"Authorization": f"Bearer {token}"})


def is_ambient(request: Request) -> bool:
    """Return whether a browser authenticates the request without being told to by the page that sends it."""
    if conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False):
        return True
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    return scheme != "bearer" and COOKIE_NAME_JWT_TOKEN in request.cookies


def require_read(caller: Caller, model: str) -> None:
    """Raise a problem unless the caller may read the DAG ``<model>.drift_check``: 403, or 404 for no model's name."""
    require_name(model)
    dag_id = f"{model}.drift_check"
    if not _may(caller, dag_id, "GET"):
        raise Problem(403, "Not permitted", f"{caller.name} may not read the DAG {dag_id}")


def require_run(caller: Caller, dag_id: str) -> None:
    """Raise a problem, 403, unless the caller may start runs of a DAG."""
    require_name(dag_id.partition(".")[0])
    if not may_run(caller, dag_id):
        raise Problem(403, "Not permitted", f"{caller.name} may not start runs of the DAG {dag_id}")


def may_run(caller: Caller, dag_id: str) -> bool:
    """Return whether the caller may start runs of a DAG."""
    return _may(caller, dag_id, "POST", DagAccessEntity.RUN)


def readable(caller: Caller, models: Iterable[str]) -> list[str]:
    """Return those of some models that the caller may read, in the same order."""
    dag_ids = {name: f"{name}.drift_check" for name in models}
    teams = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids.values()))
    of_team: dict[str | None, set[str]] = defaultdict(set)
    for dag_id in dag_ids.values():
        of_team[teams.get(dag_id)].add(dag_id)
    ask = get_auth_manager().filter_authorized_dag_ids  # an auth manager may answer it for all at once
    allowed = set().union(*(ask(dag_ids=some, user=caller.user, team_name=team) for team, some in of_team.items()))
    return [name for name, dag_id in dag_ids.items() if dag_id in allowed]


def require_name(model: str) -> None:
    """Raise a problem, 404, for a text that can be no model's name; it is asked of no database."""
    if not MODEL_NAME.fullmatch(model):
        raise unknown_model(model)


def unknown_model(model: str) -> Problem:
    """Return the problem that no model of a name is configured. It lists no others: not everybody may read them all."""
    return Problem(
        404,
        "Not found",
        f"no model named {model[:100]!r} is configured",
        errors=[problems.entry("model", "no such model", "GET /models lists the models that you may read")],
    )


def _may(caller: Caller, dag_id: str, method: Any, entity: DagAccessEntity | None = None) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return bool(
        get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=caller.user)
    )
