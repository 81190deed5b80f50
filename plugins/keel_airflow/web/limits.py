"""What one API server does for Keel at most: requests at once, and bytes of a body.

Airflow runs every plain ``def`` endpoint on threads that all of its endpoints share. Keel's endpoints read a database
that may be slow. So they have threads of their own: if those are all busy, only Keel has to wait.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from keel_airflow.web import problems
from keel_airflow.web.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

THREADS = 8
"""Endpoints of Keel's that run at once. Each needs at most one connection to the store."""
READING_SECONDS = 10.0
"""For which an endpoint that only reads is waited for: an open connection to a store that falls silent has no limit."""
WAITING = 32
"""Requests that may wait for one of the threads. Another is refused, and may come again."""
MAX_BODY = 8 * 2**20
"""Bytes of a request's body. JSON of this size is parsed in a fraction of a second, in the server's event loop."""

FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""What a page of another site can make a browser send without being asked by it first."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("keel_limiter")


async def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function on one of Keel's threads.

    Raises
    ------
    Problem
        503: as many requests as may are waiting already.

    """
    limiter = threads()
    _require_room(limiter)
    return await anyio.to_thread.run_sync(functools.partial(function, *args, **kwargs), limiter=limiter)


async def run_within(seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function that only reads on one of Keel's threads, and wait for it so long at most.

    A function that is late goes on, and its thread is taken until it ends: threads do not pile up.

    Raises
    ------
    Problem
        503: as many requests as may are waiting already, or there is no result in time.

    """
    limiter, borrower, begun = threads(), object(), threading.Event()
    _require_room(limiter)

    def work() -> Any:
        begun.set()
        try:
            return function(*args, **kwargs)
        finally:
            with contextlib.suppress(RuntimeError):  # the server is stopping
                anyio.from_thread.run_sync(limiter.release_on_behalf_of, borrower)

    try:
        with anyio.fail_after(seconds):
            await limiter.acquire_on_behalf_of(borrower)
            try:
                # `limiter` counts the thread until it ends; anyio's own would forget one that is abandoned
                uncounted = anyio.CapacityLimiter(1)
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=uncounted)
            except BaseException:
                if not begun.is_set():
                    limiter.release_on_behalf_of(borrower)
                raise
    except TimeoutError:
        late = f"There is no answer within {seconds:g} seconds: Keel's store may be down, or busy"
        raise Problem(503, "Not available at the moment", late, retry_after=problems.RETRY_AFTER) from None


def _require_room(limiter: anyio.CapacityLimiter) -> None:
    if limiter.statistics().tasks_waiting >= WAITING:
        raise Problem(
            503, "Too many requests", f"{THREADS} requests are running and {WAITING} are waiting", retry_after=1
        )


def threads() -> anyio.CapacityLimiter:
    """Return the limiter of Keel's threads in the running event loop."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
        return limiter


class BoundedRoute(APIRoute):
    """A route whose plain ``def`` endpoint runs on Keel's threads. Use it as ``APIRouter(route_class=BoundedRoute)``.

    Where it reads JSON, a body of another type is answered with 415.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        # an app that includes a router makes each of its routes anew
        if not getattr(endpoint, "is_bounded", False):
            if inspect.iscoroutinefunction(endpoint):
                raise TypeError(f"{path}: an endpoint of Keel's is a plain function, which may block")
            methods = set(kwargs.get("methods") or ())
            endpoint = bounded(endpoint, within=READING_SECONDS if methods <= {"GET", "HEAD"} else None)
        super().__init__(path, endpoint, **kwargs)

    def get_route_handler(self) -> Callable[[Request], Awaitable[Any]]:  # type: ignore[override]
        """Return the handler of the route, which refuses bodies of the wrong type before they are read."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def typed(request: Request) -> Any:
            require_json(request)
            return await handle(request)

        return typed


def bounded(endpoint: Callable[..., Any], *, within: float | None = None) -> Callable[..., Awaitable[Any]]:
    """Return a coroutine function with the signature of an endpoint, which runs it on Keel's threads.

    within: seconds to wait for it at most; None: until it ends, as what changes something must not be left half done.
    """

    @functools.wraps(endpoint)
    async def on_own_threads(*args: Any, **kwargs: Any) -> Any:
        if within is None:
            return await run(endpoint, *args, **kwargs)
        return await run_within(within, endpoint, *args, **kwargs)

    on_own_threads.is_bounded = True  # type: ignore[attr-defined]
    return on_own_threads


def require_json(request: Request) -> None:
    """Raise a problem, 415, unless the body is declared as JSON. A request without a body may declare nothing."""
    declared = request.headers.get("content-type", "")
    kind = declared.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    if not declared and request.headers.get("content-length", "0") == "0" and not _is_chunked(request):
        return
    raise Problem(
        415,
        "The body is of another type than expected",
        f"Content-Type is {declared[:100]!r}" if declared else "Content-Type is missing",
        errors=[problems.entry("Content-Type", "not JSON", "send application/json")],
    )


def _is_chunked(request: Request) -> bool:
    return "transfer-encoding" in request.headers


class BodyLimit:
    """Middleware: a body of more than `MAX_BODY` bytes is answered with 413, however it is sent."""

    def __init__(self, app: ASGIApp, most: int = MAX_BODY) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Request(scope).headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._most:
            await problems.response(_too_large(self._most), Request(scope))(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                # FastAPI passes on this exception alone while it reads a body
                raise HTTPException(413, _too_large(self._most).detail)
            return message

        await self._app(scope, counted, send)


def _too_large(most: int) -> Problem:
    return Problem(
        413,
        "The body is too large",
        f"a body has at most {most:,} bytes: send fewer rows, or name a window by since and until",
    )
