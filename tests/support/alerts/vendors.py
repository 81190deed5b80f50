"""A real HTTP server on the loopback address, in the place of Slack, Teams, PagerDuty, or a service of Apprise."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.support.alerts.mail_servers import free_port, make_certificate

if TYPE_CHECKING:
    from starlette.requests import Request

TS = "1700000000.{:06d}"


@dataclass
class Received:
    """One request."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """What arrived, and what is answered next. Without more answers the receiver behaves as the vendor's does."""

    port: int
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    careless: bool = False
    """Whether it refuses everything, and repeats the credentials that it was given."""
    answers: deque[tuple[int, dict[str, str], str] | float] = field(default_factory=deque)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def then(self, status: int, body: str = "", **headers: str) -> None:
        """Answer so, once. ``Retry_After`` is the header ``Retry-After``."""
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    def then_wait(self, seconds: float) -> None:
        """Answer nothing for so long, once, and then as the vendor does."""
        self.answers.append(seconds)

    async def handle(self, request: Request) -> Response:
        """Keep a request, and answer it."""
        path = request.url.path
        body = await request.body()
        self.received.append(Received(path, request.url.query, dict(request.headers), body))
        if self.careless:
            return Response(f"no: {path} {request.headers.get('authorization')}", 500)
        if self.answers:
            answer = self.answers.popleft()
            if not isinstance(answer, float):
                status, headers, text = answer
                return Response(text, status, headers)
            time.sleep(answer)
        return self._usual(path, body)

    def _usual(self, path: str, body: bytes) -> Response:
        """Answer as the vendors' documentation says that they do."""
        if path.startswith("/api/chat."):
            given = json.loads(body)
            ts = given.get("ts") or TS.format(len(self.received))
            text = json.dumps({"ok": True, "channel": "C0123456789", "ts": ts})
            return Response(text, media_type="application/json")
        if path.startswith("/v2/"):
            key = json.loads(body).get("dedup_key", "")
            text = json.dumps({"status": "success", "message": "Event processed", "dedup_key": key})
            return Response(text, 202, media_type="application/json")
        if path.startswith("/workflows/"):
            return Response("", 202)
        return Response("ok", 200)


@contextmanager
def receiver(folder: Path | None = None) -> Iterator[Receiver]:
    """Start one, and stop it. folder: with TLS, by the certificate ``folder / cert.pem``."""
    got, options = Receiver(free_port(), "https" if folder else "http"), dict[str, Any]()
    if folder:
        make_certificate(folder)
        options = {"ssl_certfile": folder / "cert.pem", "ssl_keyfile": folder / "key.pem"}
    app = Starlette(routes=[Route("/{path:path}", got.handle, methods=["GET", "POST", "PUT"])])
    options |= {"log_level": "error", "lifespan": "off", "access_log": False}
    config = uvicorn.Config(app, host="127.0.0.1", port=got.port, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the receiver did not start"
        assert time.monotonic() < deadline, "the receiver did not start"
        time.sleep(0.01)
    try:
        yield got
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
