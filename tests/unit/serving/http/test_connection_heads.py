"""Limits of request heads: real sockets, and uvicorn as the service runs it."""

from __future__ import annotations

import socket

import pytest

from keel.serving.http.connection_limits import MAX_HEAD
from tests.support.serving.echo_server import echoing


@pytest.fixture(scope="module")
def address():
    with echoing() as found:
        yield found


def sent(address, *parts):
    """Send parts until the server closes the connection; return its answer."""
    with socket.create_connection(address, timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except TimeoutError:
            pytest.fail("the server neither reads nor closes the connection")
        except OSError:
            pass
        answer = b""
        try:
            while part := connection.recv(2**16):
                answer += part
        except TimeoutError:
            pytest.fail("the connection is still open")
        except OSError:
            pass
        return answer


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
FLOOD = [b"a" * 2**14] * 640  # 10 MB


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD, b"X: ", *FLOOD),
        (b"GET /", *FLOOD),
        (HEAD, *[b"X%d: y\r\n" % i * 500 for i in range(2_000)]),
    ],
    ids=["one header", "the path", "many headers"],
)
def test_head_that_does_not_end_is_431(address, parts):
    answer = sent(address, *parts)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 "), answer[:100]  # b"": reset, as more was being sent


def test_head_that_is_slightly_too_long_is_431_in_json(address):
    answer = sent(address, HEAD, b"X: " + b"a" * MAX_HEAD)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"kind": "BadRequest"' in answer


def test_trailers_that_do_not_end_close_the_connection(address):
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    assert b"200 OK" not in sent(address, chunked, *[b"X: yyyyyyyy\r\n" * 1_000] * 400)


@pytest.mark.parametrize("headers", [b"", b"X: " + b"a" * (MAX_HEAD // 2) + b"\r\n"])
def test_long_bodies_and_many_requests_on_one_connection_are_answered(address, headers):
    size = 3 * 2**20
    body = HEAD + headers + b"Content-Length: %d\r\n\r\n" % size + b"b" * size
    last = HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    answer = sent(address, body, body, body, last)
    assert answer.count(b"200 OK") == 4
    assert answer.count(b'"size": %d' % size) == 3
