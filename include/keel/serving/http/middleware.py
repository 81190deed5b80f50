"""The middleware around every request: API key, body limits, error responses and request metrics."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from keel.errors import (
    KeelError,
    NoProductionVersion,
    Overloaded,
    RegistryRefused,
    RegistryUnavailable,
    ScoringFailed,
    SpoolFailed,
    SpoolFull,
    StoreUnavailable,
    UnknownExperiment,
    UnknownModel,
    UnknownVersion,
)
from keel.serving.api_keys import ApiKeys, keys_in
from keel.serving.http.connection_limits import OVERLOADED
from keel.serving.http.paths import Access, NotFound, Path, Target, target_of
from keel.serving.http.request_bodies import LimitedBody
from keel.values.scalars import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as Request

    from keel.serving.service import Service

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[KeelError], int], ...] = (
    (UnknownModel, 404),
    (UnknownVersion, 404),
    (UnknownExperiment, 404),
    (NoProductionVersion, 503),
    (SpoolFull, 503),
    (SpoolFailed, 503),
    (StoreUnavailable, 503),
    (RegistryUnavailable, 503),
    (RegistryRefused, 503),
)
RETRY_AFTER = "2"
"""Seconds after which a client may retry a request that got 503."""


class Unauthorized(KeelError):
    """A request without a known API key."""

    status = 401


class Forbidden(KeelError):
    """A request whose API key is for something else."""

    status = 403


class Misdirected(KeelError):
    """A request for another host than this one."""

    status = 421


class RequestMiddleware:
    """ASGI middleware around the whole service.

    paths: all that there are. max_body: bytes of a body. seconds: time limit of a body. is_own_host: whether this
    service answers for a name in a request's header ``Host``; None: for any.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: Service,
        paths: Mapping[str, Path],
        keys: ApiKeys | None,
        max_body: int,
        seconds: float = float("inf"),
        is_own_host: Callable[[str], bool] | None = None,
    ) -> None:
        self.app, self.service, self.paths, self.keys = app, service, paths, keys
        self.max_body, self.seconds, self.is_own_host = max_body, seconds, is_own_host

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        """Pass a request on; an error of any kind becomes one response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        body = LimitedBody(scope["headers"], receive, self.max_body, self.seconds)
        target = target_of(scope["path"], self.paths)

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if body.may_never_come:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        try:
            self._admit(scope, target)
            await self.app(scope, body.receive, record_status)
        except ClientDisconnect:
            status = 499  # the usual code for it; there is no client to answer
        except Exception as error:
            await error_response(error)(scope, receive, record_status)
        finally:
            self.service.metrics.answered(
                self._counted_model(target), target.endpoint, status, time.perf_counter() - started
            )

    def _admit(self, scope: Request, target: Target) -> None:
        """Raise Misdirected, Overloaded, Unauthorized, NotFound or Forbidden if the request may not pass.

        Only a request for a known path passes, whatever the router makes of it.
        """
        headers, path = scope["headers"], target.path
        if self.is_own_host is not None:
            self._require_own_host(headers)
        if path is not None and path.needs is Access.OPEN:
            return
        if scope.get("state", {}).get(OVERLOADED):
            raise Overloaded("all connections are busy (KEEL_SERVING_CONNECTIONS); retry soon")
        scopes = None if self.keys is None else self.keys.scopes_of(keys_in(headers))
        if self.keys is not None and scopes is None:
            raise Unauthorized(
                "this path needs a known API key: send it as 'Authorization: Bearer …' or 'X-API-Key: …'"
            )
        if path is None:
            raise NotFound(f"there is no path {shown(scope['path'])}; there are {', '.join(self.paths)}")
        if scopes is not None and path.needs is not Access.ANY_KEY and path.needs not in scopes:
            given = ", ".join(sorted(scopes))
            raise Forbidden(f"this path needs an API key with the scope {path.needs}, and yours has {given}")

    def _require_own_host(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Raise Misdirected for another host's name: a page in a browser may have its own name point to this machine.

        A request without a name, which HTTP/1.0 allows, comes from no browser.
        """
        for name, value in headers:
            if name == b"host" and not self.is_own_host(host := value.decode("latin-1")):  # type: ignore[misc]
                raise Misdirected(
                    f"this service does not answer for the host {host[:100]!r}: without API keys it answers only for "
                    "names of the local machine, such as localhost; add names to KEEL_SERVING_HOSTS"
                )

    def _counted_model(self, target: Target) -> str:
        """Return a request's model as in metrics; names that are not configured are not in them."""
        model = target.model
        if not model and target.endpoint in ("invocations", "feedback"):
            model = self.service.configured.only or ""
        return model if model in self.service.models else ""


def error_response(error: Exception) -> Response:
    """Return the response for an error: its status, and JSON with its message and kind."""
    headers: dict[str, str] = {}
    if isinstance(error, KeelError):
        status = getattr(error, "status", None) or next(
            (code for kind, code in _STATUS if isinstance(error, kind)), 500
        )
    else:
        status = 500
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = RETRY_AFTER
    if status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    if isinstance(error, KeelError):
        if status == 500:
            message = error.without_values if isinstance(error, ScoringFailed) else error
            log.error("%s: %s", type(error).__name__, message)
        return json_error(status, str(error), type(error).__name__, headers)
    log.error("a request failed unexpectedly", exc_info=error)
    return json_error(status, "the service failed unexpectedly; see its log", "InternalError", headers)


def json_error(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error response in the form that all errors have."""
    body = json.dumps({"error": message, "kind": kind}, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, media_type="application/json")
