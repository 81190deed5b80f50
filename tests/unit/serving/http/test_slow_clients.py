"""Clients that take their time, and more of them than there is room for: real sockets, uvicorn, and the gate."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn

from keel.serving.http.connection_limits import bounded
from keel.serving.http.middleware import Gate
from keel.serving.metrics import Metrics
from keel.serving.process.server import listen
from keel.serving.settings import Settings

SECONDS, MOST = 0.4, 5
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
def serving(seconds, keep_alive):
    """A server with these bounds: its address, its metrics, and the connections that it has."""
    service = SimpleNamespace(models={"toy": None}, only_model=lambda: "toy", metrics=Metrics())
    app = Gate(echo, service=service, keys=None, max_body=2**20, seconds=seconds)
    protocol = bounded(seconds=seconds, connections=MOST)
    listener = listen(Settings(port=0))
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


@pytest.fixture
def served(monkeypatch):
    """One that soon loses its patience."""
    monkeypatch.setattr("keel.serving.process.server.UNREAD_SECONDS", 1)
    with serving(SECONDS, 2) as found:
        yield found


@pytest.fixture
def patient():
    """One that does not, for what is about numbers of connections."""
    with serving(60.0, 60) as found:
        yield found


def dripped(address, begin, drip, seconds=10.0, every=0.05):
    """Send ``begin``, then ``drip`` again and again; return what was answered, and after how long that was over."""
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
def test_a_head_has_its_time(served, begin, drip):
    answer, seconds = dripped(served.address, begin, drip)
    assert answer.count(b"200 OK") == begin.count(GET)
    [head, body] = answer.rpartition(b"HTTP/1.1 ")[2].split(b"\r\n\r\n")
    assert head.startswith(b"408 ")
    assert json.loads(body)["kind"] == "BadRequest"
    assert SECONDS <= seconds < 1.5


@pytest.mark.parametrize("drip", [b"", b"a"])
def test_a_body_has_its_time_and_is_told_so(served, drip):
    answer, seconds = dripped(served.address, BODY, drip)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert "KEEL_SERVING_RECEIVE" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert SECONDS <= seconds < 1.5
    assert b'status="408"' in served.metrics.text()


def test_a_body_that_was_refused_is_not_waited_for_either(served):
    answer, seconds = dripped(served.address, HEAD + b"Content-Length: 9999999\r\n\r\n", b"a")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert seconds < 1.5


@pytest.mark.parametrize("begin", [b"", GET, b"\r\n"], ids=["nothing", "one request", "an empty line"])
def test_who_asks_nothing_is_not_kept_for_ever(served, begin):
    answer, seconds = dripped(served.address, begin, b"")
    assert answer.count(b"200 OK") == begin.count(GET)
    assert seconds < 4


def test_an_answer_that_is_not_taken_is_not_kept_for_ever(served):
    with socket.create_connection(served.address) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 10
        while served.connections or time.monotonic() < deadline - 9.5:
            assert time.monotonic() < deadline, "it is still open"
            time.sleep(0.05)


def test_time_runs_only_while_the_client_is_waited_for(served):
    """A request may begin late, and the next one be on its way while one is answered."""
    with socket.create_connection(served.address, timeout=5) as connection:
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


def test_whoever_waits_longest_makes_room(patient):
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(patient.address, timeout=30)) for _ in range(MOST)]
        while len(patient.connections) < MOST:
            time.sleep(0.01)
        opened[0].sendall(GET)  # the first has asked, so the second has waited longest
        assert opened[0].recv(2**16).startswith(b"HTTP/1.1 200 ")
        more = stack.enter_context(socket.create_connection(patient.address, timeout=30))
        more.sendall(GET)
        assert more.recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert opened[1].recv(1) == b""
        assert len(patient.connections) == MOST


def test_where_all_are_busy_only_health_is_told(patient):
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(socket.create_connection(patient.address, timeout=30)) for _ in range(MOST)]
        for each in busy:
            each.sendall(BODY + b"a")
        while len(patient.connections) < MOST or not all(each._is_asking for each in list(patient.connections)):
            time.sleep(0.01)
        refused, _ = dripped(patient.address, HEAD + b"Content-Length: 0\r\n\r\n", b"", 5)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in refused
        assert b"connection: close" in refused
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["kind"] == "Overloaded"
        told, _ = dripped(patient.address, GET, b"", 5)
        assert told.startswith(b"HTTP/1.1 200 ")
        for each in busy:
            each.sendall(b"a" * 999)
            assert each.recv(2**16).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_told_in_json(served):
    answer, _ = dripped(served.address, b"\xff\xfe\r\n\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["kind"] == "BadRequest"
