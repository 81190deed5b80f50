"""What every request passes: its key, its size, its errors made answers, and the clock."""

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
from keel.serving.api_keys import Keys, presented
from keel.serving.http.connection_limits import CROWDED

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from keel.serving.service import Service

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health", "/ping", "/ready"})
"""What machines that keep the service running ask, without a key."""
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
"""Seconds after which an answer of 503 may have become another."""


class Unauthorized(KeelError):
    """A request without a key that is known."""


class Gate:
    """ASGI middleware around the whole service.

    max_body: bytes of a body. seconds: that a body may take.
    """

    def __init__(
        self, app: ASGIApp, *, service: Service, keys: Keys | None, max_body: int, seconds: float = float("inf")
    ) -> None:
        self.app, self.service, self.keys, self.max_body, self.seconds = app, service, keys, max_body, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see to it that it gets exactly one answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._let_in(scope)
            await self.app(scope, _limited(scope, receive, self.max_body, self.seconds), noting)
        except ClientDisconnect:
            status = 499  # as others call it; nobody is there to be answered
        except Exception as error:
            await answer_to(error)(scope, receive, noting)
        finally:
            model, endpoint = self._place(scope["path"])
            self.service.metrics.answered(model, endpoint, status, time.perf_counter() - began)

    def _let_in(self, scope: Scope) -> None:
        if scope["path"] in OPEN_PATHS:
            return
        if scope.get("state", {}).get(CROWDED):
            raise Overloaded("all connections that may be open are busy (KEEL_SERVING_CONNECTIONS); try again soon")
        if self.keys is None:
            return
        key = presented(scope["headers"])
        if key is None or self.keys.name_of(key) is None:
            raise Unauthorized(
                "this needs a key that the service knows: send it as 'Authorization: Bearer …' or 'X-API-Key: …'"
            )

    def _place(self, path: str) -> tuple[str, str]:
        """Return model and endpoint for the metrics; what nobody has configured gets no label of its own."""
        first, _, rest = path.strip("/").partition("/")
        model, endpoint = ("", first) if first != "models" else rest.partition("/")[::2]
        if not model and len(self.service.models) == 1 and endpoint in ("invocations", "feedback"):
            model = self.service.only_model()
        return (model if model in self.service.models else ""), (endpoint if endpoint in ENDPOINTS else "other")


def answer_to(error: Exception) -> Response:
    """Return the answer that an error is: JSON with what went wrong and what kind it is, and its status."""
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
        headers["Connection"] = "close"  # what is left of the body is not read
    if isinstance(error, KeelError):
        if status == 500:
            said = error.without_values if isinstance(error, ScoringFailed) else error
            log.error("%s: %s", type(error).__name__, said)
        return problem(status, str(error), type(error).__name__, headers)
    log.error("a request failed for a reason nobody has foreseen", exc_info=error)
    return problem(status, "the service failed; its log says why", "InternalError", headers)


def problem(status: int, said: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    """Return an answer that says what is wrong, the same way everywhere."""
    body = json.dumps({"error": said, "kind": kind}, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, media_type="application/json")


def _limited(scope: Scope, receive: Receive, most: int, seconds: float) -> Receive:
    """Return ``receive`` that raises BadRequest as soon as a body is known to be too large (413) or too slow (408)."""
    stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    stated_size = int(stated) if stated.isdigit() else 0
    deadline = asyncio.get_running_loop().time() + seconds
    size, more = 0, True

    async def counted() -> Message:
        nonlocal size, more
        if not more:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise BadRequest(
                f"the body must come within {seconds:g} s: send fewer rows at once, or raise KEEL_SERVING_RECEIVE",
                status=408,
            ) from None
        if message["type"] == "http.request":
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
            if max(size, stated_size) > most:
                await _discard(receive, message, most, deadline)
                raise BadRequest(
                    f"the body is larger than {most:,} bytes: send fewer rows at once, or raise KEEL_SERVING_MAX_BODY",
                    status=413,
                )
        return message

    return counted


async def _discard(receive: Receive, message: Message, most: int, deadline: float) -> None:
    """Read on a little: a client that is cut off while it sends sees a broken connection, not the answer."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while message["type"] == "http.request" and message.get("more_body") and size <= most:
                message = await receive()
                size += len(message.get("body", b""))
