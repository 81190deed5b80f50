"""Request framing: uvicorn's HTTP protocol, which agrees with every client on where a request ends, or closes.

Parser, server and client must agree on the bytes of each request, else the end of one is read as the beginning of the
next. The parser refuses unclear lengths (two lengths, a length beside chunks, bare line feeds). This class adds what
uvicorn leaves open:

- An offer to upgrade the protocol is not accepted, so its request is an ordinary one, body and all (RFC 9110, 7.8). The
  parser takes an offer for the end of HTTP, and skips the body: https://github.com/encode/uvicorn/issues/2722.
- A head that uvicorn would interpret in another way than the client is refused: CONNECT, other versions of HTTP, a
  transfer coding other than ``chunked``, none or several ``Host``.
- Trailers are not headers.
- After an error nothing more is read. Its response follows those of the requests before it, and is the last.
"""

from __future__ import annotations

import json

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

VERSIONS = ("1.0", "1.1")
OFFER = frozenset({b"upgrade", b"http2-settings"})
"""Headers of an offer to upgrade, and the options that name them in ``Connection``."""
NOT_HTTP = "these bytes are not an HTTP request"


class FramedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the rules of this module; it never accepts an upgrade, so it supports no WebSockets."""

    _in_head = False
    _in_body = False
    _refusal: bytes | None = None

    def data_received(self, data: bytes) -> None:
        """Receive bytes; after an error they are ignored until the connection is closed."""
        self._unset_keepalive_if_required()
        while data and self._refusal is None:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = self._head_without_offer() + data[offer.args[0] :]
                self._new_parser()
            except httptools.HttpParserError:
                self.refuse(b"400 Bad Request", NOT_HTTP)

    def on_message_begin(self) -> None:
        """Note that a head has started."""
        if self._refusal is None:
            self._in_head = True
            super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header, or a trailer, which nothing reads: a client must not add headers after they were read."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is refused, or is parsed again without its offer."""
        if self._refusal is not None:
            return
        if error := self._head_error():
            self.refuse(*error)
        elif not self.parser.should_upgrade():
            self._use_authority_of_target()
            super().on_headers_complete()  # raises for a target that is none, so there is no request then
            self._in_head, self._in_body = False, True

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body."""
        if self._in_body:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        if self._in_body:
            self._in_body = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next request, or answer the refused one if all before it are answered."""
        last = not self.pipeline
        super().on_response_complete()
        if last and self._refusal is not None:
            self._end()

    def refuse(self, status: bytes, message: str) -> None:
        """Answer what is being received with an error, after the answers before it, and close the connection."""
        if self._refusal is not None or self.transport.is_closing():
            return
        self._refusal = error_response(status, message)
        if self._in_body:
            self._refuse_body()
        elif not self.has_request:
            self._end()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP."""
        self.refuse(b"400 Bad Request", NOT_HTTP)

    @property
    def has_request(self) -> bool:
        """Whether the application has a request of this connection, or one is queued for it."""
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_body(self) -> None:
        """End the request whose body is invalid. A response to it that has started cannot become another one."""
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # it waits for another request, whose response comes first
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._end()

    def _end(self) -> None:
        if not self.transport.is_closing():
            assert self._refusal is not None
            self.transport.write(self._refusal)
            self.transport.close()

    def _head_error(self) -> tuple[bytes, str] | None:
        """Return status and message for a head that uvicorn would read in another way than the client."""
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            return b"505 HTTP Version Not Supported", f"HTTP/{version} is not supported; send HTTP/1.1"
        if self.parser.get_method() == b"CONNECT":
            return b"501 Not Implemented", "CONNECT is not supported: this is no proxy"
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                return b"501 Not Implemented", "Transfer-Encoding: only chunked is supported"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return b"400 Bad Request", f"the request has {hosts or 'no'} Host headers; send one"
        return None

    def _use_authority_of_target(self) -> None:
        """Replace the header ``Host`` by the host of an absolute target, as RFC 9112, 3.2.2 requires."""
        if self.url[:1] in (b"/", b"*"):
            return
        authority = self.url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0].rpartition(b"@")[2]
        self.headers[:] = [each for each in self.headers if each[0] != b"host"] + [(b"host", authority)]

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(each for each in value.split(b",") if each.strip().lower() not in OFFER)
            if name not in OFFER and (value or name != b"connection"):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def _new_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        # as uvicorn does: otherwise bytes after a request with Connection: close would be an error before its response
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)


def error_response(status: bytes, message: str) -> bytes:
    """Return the bytes of an error in the form that all errors have, after which the connection is closed."""
    body = json.dumps({"error": message, "kind": "BadRequest"}).encode()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body
