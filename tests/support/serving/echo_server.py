"""A server with the service's HTTP protocol and an application that tells what it received, for tests on the wire."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from keel.serving.http.connection_limits import BoundedProtocol


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method, the path, the headers' names and the body; ``/early`` answers before it has the body."""
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    seen = {"method": scope["method"], "path": scope["path"], "size": len(body), "body": body[:99].decode("latin-1")}
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    answer = json.dumps({**seen, "headers": headers}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})


@contextlib.contextmanager
def echoing() -> Iterator[tuple[str, int]]:
    """Run the server in a thread; yields its address."""
    config = uvicorn.Config(
        echo, port=0, http=BoundedProtocol, loop="uvloop", lifespan="off", ws="none", log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join()


def exchange(address: tuple[str, int], *parts: bytes, seconds: float = 10.0, pause: float = 0.0) -> bytes:
    """Send parts, and return all bytes until the server closes the connection; fails if it does not."""
    answer = b""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(2**16):
                answer += part
    return answer


def answers(received: bytes) -> list[tuple[int, Any]]:
    """Return status and JSON of each response in ``received``."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        [length] = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        assert head.startswith(b"HTTP/1.1 "), head
        found.append((int(head[9:12]), json.loads(rest[:length])))
        received = rest[length:]
    return found
