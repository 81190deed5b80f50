"""The middleware around every request: API key, body limits, error responses and request metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from keel.errors import (
    BadRequest,
    KeelError,
    NoProductionVersion,
    Overloaded,
    RegistryUnavailable,
    ScoringFailed,
    SpoolFailed,
    SpoolFull,
    StoreUnavailable,
    UnknownExperiment,
    UnknownModel,
    UnknownVersion,
)
from keel.serving.api_keys import ApiKeys, key_in
from keel.serving.http.connection_limits import OVERLOADED

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from keel.serving.service import Service

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health", "/ping", "/ready"})
"""Paths that need no key, for load balancers and service managers."""
ENDPOINTS = frozenset(
    {"invocations", "feedback", "performance", "experiments", "health", "ping", "ready", "version", "metrics"}
)
_STATUS: tuple[tuple[type[KeelError], int], ...] = (
    (UnknownModel, 404),
    (UnknownVersion, 404),
    (UnknownExperiment, 404),
    (NoProductionVersion, 503),
    (SpoolFull, 503),
    (SpoolFailed, 503),
    (StoreUnavailable, 503),
    (RegistryUnavailable, 503),
)
RETRY_AFTER = "2"
"""Seconds after which a client may retry a request that got 503."""


class Unauthorized(KeelError):
    """A request without a known API key."""


class RequestMiddleware:
    """ASGI middleware around the whole service.

    max_body: bytes of a body. seconds: time limit of a body.
    """

    def __init__(
        self, app: ASGIApp, *, service: Service, keys: ApiKeys | None, max_body: int, seconds: float = float("inf")
    ) -> None:
        self.app, self.service, self.keys, self.max_body, self.seconds = app, service, keys, max_body, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; an error of any kind becomes one response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._admit(scope)
            await self.app(scope, _limited(scope, receive, self.max_body, self.seconds), record_status)
        except ClientDisconnect:
            status = 499  # the usual code for it; there is no client to answer
        except Exception as error:
            await error_response(error)(scope, receive, record_status)
        finally:
            model, endpoint = self._metric_labels(scope["path"])
            self.service.metrics.answered(model, endpoint, status, time.perf_counter() - started)

    def _admit(self, scope: Scope) -> None:
        """Raise Overloaded or Unauthorized if the request may not pass."""
        if scope["path"] in OPEN_PATHS:
            return
        if scope.get("state", {}).get(OVERLOADED):
            raise Overloaded("all connections are busy (KEEL_SERVING_CONNECTIONS); retry soon")
        if self.keys is None:
            return
        key = key_in(scope["headers"])
        if key is None or self.keys.name_of(key) is None:
            raise Unauthorized(
                "this path needs a known API key: send it as 'Authorization: Bearer …' or 'X-API-Key: …'"
            )

    def _metric_labels(self, path: str) -> tuple[str, str]:
        """Return model and endpoint of a path; names that are not configured get no label of their own."""
        first, _, rest = path.strip("/").partition("/")
        model, endpoint = ("", first) if first != "models" else rest.partition("/")[::2]
        if not model and len(self.service.models) == 1 and endpoint in ("invocations", "feedback"):
            model = self.service.only_model()
        return (model if model in self.service.models else ""), (endpoint if endpoint in ENDPOINTS else "other")


def error_response(error: Exception) -> Response:
    """Return the response for an error: its status, and JSON with its message and kind."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthorized):
        status, headers["WWW-Authenticate"] = 401, "Bearer"
    elif isinstance(error, BadRequest):
        status = error.status
    elif isinstance(error, KeelError):
        status = getattr(error, "status", None) or next(
            (code for kind, code in _STATUS if isinstance(error, kind)), 500
        )
    else:
        status = 500
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


def _limited(scope: Scope, receive: Receive, max_body: int, seconds: float) -> Receive:
    """Return ``receive`` that raises BadRequest as soon as a body is too large (413) or too slow (408)."""
    content_length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    stated_size = int(content_length) if content_length.isdigit() else 0
    deadline = asyncio.get_running_loop().time() + seconds
    size, more = 0, True

    async def limited() -> Message:
        nonlocal size, more
        if not more:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise BadRequest(
                f"the body did not arrive within {seconds:g} s: send fewer rows per request, or raise "
                "KEEL_SERVING_RECEIVE",
                status=408,
            ) from None
        if message["type"] == "http.request":
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
            if max(size, stated_size) > max_body:
                await _discard(receive, message, max_body, deadline)
                raise BadRequest(
                    f"the body is larger than {max_body:,} bytes: send fewer rows per request, or raise "
                    "KEEL_SERVING_MAX_BODY",
                    status=413,
                )
        return message

    return limited


async def _discard(receive: Receive, message: Message, max_bytes: int, deadline: float) -> None:
    """Read on for a while: a client that is cut off while it sends sees a broken connection, not the response."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while message["type"] == "http.request" and message.get("more_body") and size <= max_bytes:
                message = await receive()
                size += len(message.get("body", b""))
