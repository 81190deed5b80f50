"""HTTP as uvicorn speaks it, with a bound on what a client may send before there is a request to be looked at."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 2**16
"""Bytes of a request's line and headers, as much as other servers take; nobody's key has been looked at by then."""
_SAID = {"error": f"a request's line and headers may be {MAX_HEAD:,} bytes long", "kind": "BadRequest"}
_BODY = json.dumps(_SAID).encode()
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection that has sent more than `MAX_HEAD` bytes since it last sent something of a body.

    So neither headers, nor trailers, nor what else a parser keeps to itself can fill the memory.
    """

    _unseen = 0

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._unseen += len(data)
        super().data_received(data)
        if self._unseen > MAX_HEAD and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:  # else it would stand within an answer
                self.transport.write(_REFUSAL)
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body: it is counted elsewhere."""
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take a request as complete."""
        self._unseen = 0
        super().on_message_complete()
