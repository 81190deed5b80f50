"""Connection limits: the service's HTTP protocol with bounds on the size and time of heads, and on connections."""

from __future__ import annotations

import asyncio
import time

from keel.serving.http.request_framing import FramedProtocol, error_response

MAX_HEAD = 2**16
"""Bytes of a request's line and headers, as in other servers. The API key is not checked before they are complete."""
OVERLOADED = "keel.overloaded"
"""Key of a request's ``state`` if all allowed connections were busy when it arrived."""
SEPARATORS = 4
"""Bytes of a header beside its name and value: the colon, a space and the end of the line."""
_TOO_LONG = (
    b"431 Request Header Fields Too Large",
    f"the request line and headers are longer than {MAX_HEAD:,} bytes; send fewer headers",
)


def bounded(*, seconds: float, connections: int) -> type[BoundedProtocol]:
    """Return the protocol class with these limits; see `BoundedProtocol`."""
    return type("Bounded", (BoundedProtocol,), {"head_seconds": seconds, "max_connections": connections})


class BoundedProtocol(FramedProtocol):
    """Closes a connection whose client sends too much or too slowly before there is a request.

    Too much: more than `MAX_HEAD` bytes since the last part of a body, so that neither headers nor trailers nor a
    parser's buffers can fill the memory. Too slowly: more than ``head_seconds`` from the first byte of a head to its
    end, or no byte at all for as long as an idle connection is kept. `keel.serving.http.middleware` limits the body.

    Beyond ``max_connections``, a new connection replaces the one that has been idle longest. If all have a request, the
    new one is marked as `OVERLOADED` and closed after its answer.
    """

    head_seconds = 30.0
    max_connections = 1_000
    _unread_bytes = 0
    """Bytes since the last part of a body, whether a parser has read them or not."""
    _head_size = 0
    """Bytes of the head so far, however many pieces it comes in, as far as the parser has read it."""
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        self._overloaded = False
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if len(self.connections) > self.max_connections:
            self._free_connection()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive bytes, and limit those that belong to a head."""
        self._unread_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unread_bytes > MAX_HEAD:
            self.refuse(*_TOO_LONG)
        elif self.has_request:
            self._stop_head_timer()
        else:
            self._start_head_timer()

    def on_message_begin(self) -> None:
        """Note that a head has started."""
        self._head_size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Receive a part of the path."""
        self._head_size += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header."""
        self._head_size += len(name) + len(value) + SEPARATORS
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is too long."""
        if self._head_size > MAX_HEAD:
            self.refuse(*_TOO_LONG)
            return
        super().on_headers_complete()
        if self._overloaded and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body, which the middleware counts."""
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._unread_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that a request is answered."""
        self._idle_since = time.monotonic()
        super().on_response_complete()
        if self._in_head and not self.has_request:  # the next request has already started
            self._start_head_timer()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_timed_out)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if self.transport.is_closing() or self.has_request:
            return
        if self._in_head:  # otherwise it is the rest of a body whose request is answered
            message = (
                f"the request line and headers did not arrive within {self.head_seconds:g} s (KEEL_SERVING_RECEIVE)"
            )
            self.transport.write(error_response(b"408 Request Timeout", message))
        self.transport.close()

    def _free_connection(self) -> None:
        others = [each for each in self.connections if each is not self and not each.transport.is_closing()]
        if len(others) < self.max_connections:
            return
        idle = [each for each in others if isinstance(each, BoundedProtocol) and not each.has_request]
        if idle:
            min(idle, key=lambda each: each._idle_since).transport.close()
        else:
            self._overloaded = True
            self.app_state = {**self.app_state, OVERLOADED: True}
