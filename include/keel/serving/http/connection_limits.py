"""HTTP as uvicorn speaks it, with bounds on what clients may send, hold and delay before there is a request."""

from __future__ import annotations

import asyncio
import json
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 2**16
"""Bytes of a request's line and headers, as much as other servers take; nobody's key has been looked at by then."""
CROWDED = "keel.crowded"
"""Key of a request's ``state`` if it came when all connections that may be open were busy."""


def bounded(*, seconds: float, connections: int) -> type[BoundedProtocol]:
    """Return the protocol with these bounds; see `BoundedProtocol`."""
    return type("Bounded", (BoundedProtocol,), {"head_seconds": seconds, "most_connections": connections})


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose client sends too much, or too slowly, for what is no request yet.

    Too much: more than `MAX_HEAD` bytes since it last sent something of a body, so that neither headers, nor trailers,
    nor what else a parser keeps to itself can fill the memory. Too slowly: from the first byte of a head to its end it
    takes more than ``head_seconds``, or sends nothing at all for as long as an idle connection is kept. A body that the
    application waits for is bounded by `keel.serving.http.middleware`.

    Beyond ``most_connections`` a new one takes the place of the one that has waited longest without a request. If all
    have one, it is marked as `CROWDED` and closed after its answer.
    """

    head_seconds = 30.0
    most_connections = 1_000
    _unseen = 0
    _in_head = False
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        self._crowded = False
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if len(self.connections) > self.most_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a connection."""
        self._on_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._unseen += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unseen > MAX_HEAD:
            if not self._is_asking:  # else it would stand within an answer
                said = f"a request's line and headers may be {MAX_HEAD:,} bytes long"
                self.transport.write(_refusal(b"431 Request Header Fields Too Large", said))
            self.transport.close()
        elif self._is_asking:
            self._on_time()
        else:
            self._be_on_time()

    def on_message_begin(self) -> None:
        """Take the beginning of a request."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take a request's head."""
        self._in_head = False
        super().on_headers_complete()
        if self._crowded:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of a body: it is counted elsewhere."""
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take a request as complete."""
        self._unseen = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that a request is answered."""
        self._idle_since = time.monotonic()
        super().on_response_complete()
        if self._in_head and not self._is_asking:  # the next request has begun meanwhile
            self._be_on_time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self.transport.write(_refusal(b"400 Bad Request", "this is no HTTP request"))
        self.transport.close()

    @property
    def _is_asking(self) -> bool:
        """Whether the application has a request of this connection, or will have it when others are answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _be_on_time(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._end_late)

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_late(self) -> None:
        self._late = None
        if self.transport.is_closing() or self._is_asking:
            return
        if self._in_head:  # else it is the rest of a body that was answered already
            said = f"a request's line and headers must come within {self.head_seconds:g} s (KEEL_SERVING_RECEIVE)"
            self.transport.write(_refusal(b"408 Request Timeout", said))
        self.transport.close()

    def _make_room(self) -> None:
        others = [each for each in self.connections if each is not self and not each.transport.is_closing()]
        if len(others) < self.most_connections:
            return
        waiting = [each for each in others if isinstance(each, BoundedProtocol) and not each._is_asking]
        if waiting:
            min(waiting, key=lambda each: each._idle_since).transport.close()
        else:
            self._crowded = True
            self.app_state = {**self.app_state, CROWDED: True}


def _refusal(status: bytes, said: str) -> bytes:
    body = json.dumps({"error": said, "kind": "BadRequest"}).encode()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body
