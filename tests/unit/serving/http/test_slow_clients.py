"""Slow clients, and more of them than allowed: real sockets, uvicorn, and the middleware."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn

from keel.serving.http.app import PATHS
from keel.serving.http.connection_limits import bounded
from keel.serving.http.middleware import RequestMiddleware
from keel.serving.metrics import Metrics
from keel.serving.process.server import listen
from keel.serving.settings import Settings

SECONDS, MOST = 0.25, 5
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
BODY = HEAD + b"Content-Length: 1000\r\n\r\n"


async def echo(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/large":
        size = 10**7
    body = b"x" * size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serving(seconds, keep_alive, unread_seconds=1):
    """Run a server with these limits; yields its address, its metrics and its connections."""
    service = SimpleNamespace(models={"toy": None}, configured=SimpleNamespace(only="toy"), metrics=Metrics())
    app = RequestMiddleware(echo, service=service, paths=PATHS, keys=None, max_body=2**20, seconds=seconds)
    protocol = bounded(seconds=seconds, connections=MOST)
    listener = listen(Settings(port=0), unread_seconds=unread_seconds)
    server = uvicorn.Server(
        uvicorn.Config(
            app, http=protocol, loop="uvloop", lifespan="off", log_level="error", timeout_keep_alive=keep_alive
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield SimpleNamespace(
        address=listener.getsockname(), metrics=service.metrics, connections=server.server_state.connections
    )
    server.should_exit = server.force_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def impatient():
    """A server with short time limits."""
    with serving(SECONDS, 1) as found:
        yield found


@pytest.fixture
def patient():
    """A server with long time limits, for tests about the number of connections."""
    with serving(60.0, 60) as found:
        yield found


def dripped(address, begin, drip, seconds=10.0, every=0.05):
    """Send ``begin``, then ``drip`` repeatedly; return the answer, and after how long the connection ended."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=every) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(begin)
            while time.monotonic() - began < seconds:
                try:
                    if drip:
                        connection.sendall(drip)
                    part = connection.recv(2**16)
                    if not part:
                        break
                    answer += part
                except TimeoutError:
                    pass
    return answer, time.monotonic() - began


@pytest.mark.parametrize(
    ("begin", "drip"),
    [(b"P", b""), (HEAD + b"X: ", b"a"), (b"GET /", b"a"), (GET + b"G", b""), (GET + HEAD, b"X: y\r\n")],
    ids=["one byte", "a header", "a path", "a second request", "its headers"],
)
def test_head_that_is_too_slow_is_408(impatient, begin, drip):
    answer, seconds = dripped(impatient.address, begin, drip)
    assert answer.count(b"200 OK") == begin.count(GET)
    [head, body] = answer.rpartition(b"HTTP/1.1 ")[2].split(b"\r\n\r\n")
    assert head.startswith(b"408 ")
    assert json.loads(body)["kind"] == "BadRequest"
    assert SECONDS <= seconds < 1.5


@pytest.mark.parametrize("drip", [b"", b"a"])
def test_body_that_is_too_slow_is_408_and_closes_the_connection(impatient, drip):
    answer, seconds = dripped(impatient.address, BODY, drip)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert "KEEL_SERVING_RECEIVE" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert SECONDS <= seconds < 1.5
    assert b'status="408"' in impatient.metrics.text()


def test_body_that_is_too_large_is_413_without_waiting_for_its_end(impatient):
    answer, seconds = dripped(impatient.address, HEAD + b"Content-Length: 9999999\r\n\r\n", b"a")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert seconds < 1.5


@pytest.mark.parametrize("begin", [b"", GET, b"\r\n"], ids=["nothing", "one request", "an empty line"])
def test_idle_connection_is_closed(impatient, begin):
    answer, seconds = dripped(impatient.address, begin, b"")
    assert answer.count(b"200 OK") == begin.count(GET)
    assert seconds < 4


def test_connection_whose_answer_is_not_read_is_closed(impatient):
    with socket.create_connection(impatient.address) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 10
        while impatient.connections or time.monotonic() < deadline - 9.5:
            assert time.monotonic() < deadline, "it is still open"
            time.sleep(0.05)


def test_time_limit_runs_only_while_the_service_waits_for_the_client(impatient):
    """A request may start late, and the next one may arrive while one is answered."""
    with socket.create_connection(impatient.address, timeout=5) as connection:
        for _ in range(3):
            time.sleep(SECONDS * 1.5)
            connection.sendall(GET[:20])
            time.sleep(SECONDS * 0.5)
            connection.sendall(GET[20:] + GET)
            answer = b""
            while answer.count(b"HTTP/1.1 ") < 2:
                part = connection.recv(2**16)
                assert part, "it was closed"
                answer += part
            assert answer.count(b" 200 OK") == 2


def test_new_connection_replaces_the_one_idle_longest(patient):
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(patient.address, timeout=30)) for _ in range(MOST)]
        while len(patient.connections) < MOST:
            time.sleep(0.01)
        opened[0].sendall(GET)  # so the second is idle longest
        assert opened[0].recv(2**16).startswith(b"HTTP/1.1 200 ")
        more = stack.enter_context(socket.create_connection(patient.address, timeout=30))
        more.sendall(GET)
        assert more.recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert opened[1].recv(1) == b""
        assert len(patient.connections) == MOST


def test_busy_connections_leave_only_health_reachable(patient):
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(socket.create_connection(patient.address, timeout=30)) for _ in range(MOST)]
        for each in busy:
            each.sendall(BODY + b"a")
        while len(patient.connections) < MOST or not all(each.has_request for each in list(patient.connections)):
            time.sleep(0.01)
        refused, _ = dripped(patient.address, HEAD + b"Content-Length: 0\r\n\r\n", b"", 5)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in refused
        assert b"connection: close" in refused
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["kind"] == "Overloaded"
        health, _ = dripped(patient.address, GET, b"", 5)
        assert health.startswith(b"HTTP/1.1 200 ")
        for each in busy:
            each.sendall(b"a" * 999)
            assert each.recv(2**16).startswith(b"HTTP/1.1 200 ")


def test_bytes_that_are_not_http_are_400_in_json(impatient):
    answer, _ = dripped(impatient.address, b"\xff\xfe\r\n\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["kind"] == "BadRequest"
