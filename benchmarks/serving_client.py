"""A client with little overhead: persistent sockets, one event loop, answers checked for length and status only.

``python -m benchmarks.serving_client URL BODIES CONNECTIONS SECONDS`` prints the latencies in seconds as JSON.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection:
    """One socket that sends one request after the other."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at, self.received = 0.0, b""

    def send(self, request: bytes) -> None:
        self.received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Receive bytes; return the body when the answer is complete."""
        found = self.socket.recv(1 << 18)
        if not found:
            raise ConnectionError("the server closed the connection")
        self.received += found
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return None
        length = LENGTH.search(head)
        assert length, head
        if len(body) < int(length[1]):
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(self.received[:500].decode(errors="replace"))
        return body


def requests_of(url: str, bodies: list[bytes]) -> list[bytes]:
    place = urlsplit(url)
    head = (
        f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n"
    )
    return [head.format(len(body)).encode() + body for body in bodies]


def measure(url: str, bodies: list[bytes], connections: int, seconds: float) -> list[float]:
    """Return the latencies of the requests answered within ``seconds``; ConnectionError if the server fails."""
    place, latencies = urlsplit(url), []
    requests = cycle(requests_of(url, bodies))
    opened = [Connection(place.hostname or "", place.port or 80) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for connection in opened:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(requests))
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            for key, _ in selector.select(1.0):
                connection = key.data
                if connection.receive() is not None:
                    latencies.append(time.perf_counter() - connection.sent_at)
                    connection.send(next(requests))
            if time.perf_counter() - now > 30:
                raise ConnectionError("no answer in 30 seconds")
    for connection in opened:
        connection.socket.close()
    return latencies


if __name__ == "__main__":
    url, file, connections, seconds = sys.argv[1:]
    bodies = [line.encode() for line in Path(file).read_text().splitlines()]
    json.dump(measure(url, bodies, int(connections), float(seconds)), sys.stdout)
