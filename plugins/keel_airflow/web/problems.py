"""Errors as problem details (RFC 9457), and the status of each of Keel's errors, in one place."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from keel import errors as keel_errors
from keel.errors import KeelError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a request that found something unavailable is worth repeating."""
MOST_ERRORS, LONGEST_TEXT = 100, 2_000
"""Entries of ``errors``, and characters of a text: both can depend on what a client sends."""

INVALID_TITLE = "The request is not valid"
ALTERNATIVES = frozenset({"constrained-int", "constrained-str"})
"""What pydantic adds to the place of a value that may be of one type or of another."""
SCHEMA = "#/components/schemas/Problem"
DESCRIPTIONS = {
    400: "The request cannot be read, such as a body that is no JSON.",
    401: "No login, or an expired one.",
    403: "The caller may not do this, or the request comes from another site.",
    404: "There is nothing of this name or number.",
    409: "Not possible in the present state.",
    413: "The body is too large.",
    415: "The body is of another type than expected.",
    422: "The request is not valid; an entry a field.",
    503: "The store, MLflow or Airflow does not answer, or too many requests are running: see Retry-After.",
    504: "It took longer than it may.",
}
"""What a problem's status means, for the OpenAPI document."""

UNKNOWN = (
    keel_errors.UnknownModel,
    keel_errors.UnknownVersion,
    keel_errors.UnknownWindow,
    keel_errors.UnknownQuarantine,
    keel_errors.UnknownAlert,
    keel_errors.UnknownSilence,
    keel_errors.UnknownExperiment,
    keel_errors.UnknownDelivery,
)
INVALID = (
    keel_errors.ConfigError,
    keel_errors.SchemaError,
    keel_errors.InsufficientData,
    keel_errors.BadSilence,
)
UNAVAILABLE = (keel_errors.ConnectionUnreadable, keel_errors.NoConnection)


class Problem(Exception):
    """An answer other than success.

    errors: an entry a field, with ``field``, ``message`` and ``remedy``.
    retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: Iterable[Mapping[str, str]] = (),
        retry_after: int | None = None,
        type: str = "about:blank",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status, self.title, self.detail, self.type = int(status), title, detail, type
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    def to_dict(self, instance: str | None = None) -> dict[str, Any]:
        """Return JSON values. instance: the path of the request."""
        body: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail[:LONGEST_TEXT],
        }
        if instance is not None:
            body["instance"] = instance[:LONGEST_TEXT]
        body["errors"] = [dict(each) for each in self.errors[:MOST_ERRORS]]
        return body


def entry(field: str, message: str, remedy: str = "") -> dict[str, str]:
    """Return what is wrong with one field of a request, and what would be right."""
    return {"field": field, "message": message[:LONGEST_TEXT], "remedy": remedy[:LONGEST_TEXT]}


def of_error(error: KeelError) -> Problem:
    """Return the problem that tells a client of an error of Keel's."""
    if error.in_public:
        log.warning("%s: %s", type(error).__name__, error)
        return Problem(503, "Not available at the moment", error.public, retry_after=RETRY_AFTER)
    detail = str(error)
    if isinstance(error, UNKNOWN):
        return Problem(404, "Not found", detail)
    if isinstance(error, keel_errors.BadRequest):
        if error.status != 422:
            return Problem(error.status, _phrase(error.status), detail)
        return Problem(422, INVALID_TITLE, detail, errors=_entries(detail))
    if isinstance(error, INVALID):
        return Problem(422, INVALID_TITLE, detail, errors=_entries(detail))
    if isinstance(error, UNAVAILABLE) or not error.permanent:
        return Problem(503, "Not available at the moment", detail, retry_after=RETRY_AFTER)
    return Problem(409, "Not possible in the present state", detail)


def _entries(detail: str) -> list[dict[str, str]]:
    """Return an entry for each line of an error's message: ``overrides: drift.alpha: …`` is overrides.drift.alpha."""
    found = [re.fullmatch(r"((?:[^\s:]+: )*)(.*)", line) for line in detail.splitlines()]
    return [entry(each[1].rstrip(": ").replace(": ", "."), each[2], "correct it") for each in found if each]


def of_database(error: SQLAlchemyError) -> Problem:
    """Return the problem of Airflow's own database failing. Its words may quote values, and are logged only."""
    log.error("Airflow's database fails: %s", type(error).__name__, exc_info=error)
    return Problem(503, "Not available at the moment", "Airflow's database does not answer", retry_after=RETRY_AFTER)


def of_exception(error: Exception) -> Problem:
    """Return the problem for any exception; what is not known by name is logged, and told to nobody."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, KeelError):
        return of_error(error)
    if isinstance(error, SQLAlchemyError):
        return of_database(error)
    if isinstance(error, RequestValidationError):
        return of_validation(error.errors())
    if isinstance(error, HTTPException):
        return Problem(error.status_code, _phrase(error.status_code), str(error.detail), headers=error.headers)
    log.error("a request failed unexpectedly", exc_info=error)
    return Problem(500, "Internal error", "The request failed unexpectedly; the API server's log says why.")


def of_validation(found: Sequence[Any]) -> Problem:
    """Return the problem of a request that does not fit its schema: 400 where it is no JSON, else 422."""
    if any(each["type"] == "json_invalid" for each in found):
        why = str(found[0].get("ctx", {}).get("error", ""))
        return Problem(400, "The body is not valid JSON", f"{why} at character {found[0]['loc'][-1]}")
    errors = [
        entry(_field(each["loc"]), str(each["msg"]).removeprefix("Value error, "), _remedy(each))
        for each in found[:MOST_ERRORS]
    ]
    fields = ", ".join(dict.fromkeys(each["field"] for each in errors))
    return Problem(422, INVALID_TITLE, f"not valid: {fields}", errors=errors)


def response(problem: Problem, request: Request) -> Response:
    """Return a problem as a response. JSON is ASCII, so that any text of a request can be repeated in it."""
    headers = {**problem.headers, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    instance = request.url.path
    return Response(json.dumps(problem.to_dict(instance)), problem.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let an app answer every error as a problem."""
    for kind in (Problem, KeelError, SQLAlchemyError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)
    app.add_middleware(Contained)


class Contained:
    """Middleware: whatever still fails inside becomes a problem, and does not reach Airflow's app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await response(of_exception(error), Request(scope))(scope, receive, send)


def _handle(request: Request, error: Exception) -> Response:
    return response(of_exception(error), request)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _field(location: Sequence[Any]) -> str:
    """Return where a value is, such as ``rows.3.dep_delay``: without the part that only says body, query or path."""
    parts = [str(part) for part in location if part not in ALTERNATIVES]
    return ".".join(parts[1:] or parts)[:LONGEST_TEXT]


def _remedy(found: Mapping[str, Any]) -> str:
    """Return what to do about one mistake."""
    context = found.get("ctx") or {}
    if found["type"] == "missing":
        return "give a value"
    if found["type"] == "extra_forbidden":
        return "remove it, or correct its name"
    if expected := context.get("expected"):
        return f"give {expected}"
    if pattern := context.get("pattern"):
        return f"give a text of the form {pattern}"
    for key, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if key in context:
            return f"give {words} {context[key]}"
    return "correct the value: the OpenAPI document says what is valid"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems of a route for the OpenAPI document. `keel_airflow.web.openapi` adds those of every route."""
    return {
        status: {"description": DESCRIPTIONS[status], "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMA}}}}
        for status in statuses
    }
