"""Where a request ends: real sockets, uvicorn as the service runs it, and harmless bodies that look like requests."""

from __future__ import annotations

import pytest

from keel.serving.http.connection_limits import MAX_HEAD
from tests.support.serving.echo_server import answers, echoing, exchange

HEAD = b"POST /first HTTP/1.1\r\nHost: x\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
"""A body that would be a request of its own if the server took its beginning for the end of the one around it."""
LENGTH = b"Content-Length: %d\r\n\r\n" % len(INNER)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)


@pytest.fixture(scope="module")
def address():
    with echoing() as found:
        yield found


def paths(received):
    return [(status, body.get("path")) for status, body in answers(received)]


@pytest.mark.parametrize("rest", [LENGTH + INNER, CHUNKED + CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("offer", [OFFER, b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", b""])
def test_request_with_an_upgrade_offer_is_an_ordinary_one_body_and_all(address, offer, rest):
    request = HEAD + offer + rest
    found = answers(exchange(address, request + request + LAST))
    assert [(status, body["path"]) for status, body in found] == [(200, "/first"), (200, "/first"), (200, "/last")]
    for _, body in found[:2]:
        assert body["body"].encode() == INNER
        assert not body["headers"].keys() & {"upgrade", "http2-settings"}
        assert "pgrade" not in body["headers"].get("connection", "")


def test_request_with_an_upgrade_offer_may_arrive_in_any_pieces(address):
    request = HEAD + OFFER + LENGTH + INNER + LAST
    for size in (1, 7, 60):
        pieces = [request[start : start + size] for start in range(0, len(request), size)]
        [first, last] = answers(exchange(address, *pieces, pause=0.0005))
        assert (first[0], first[1]["body"].encode(), last[1]["path"]) == (200, INNER, "/last")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 0\r\nContent-Length: 2\r\n\r\n", 400),
        (HEAD + b"Content-Length: +0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 0, 0\r\n\r\n", 400),
        (HEAD + b"Content-Length : 0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: identity\r\n\r\n", 501),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (HEAD + b"A: b\n\r\n", 400),
        (HEAD + b"A: b\r\n c\r\n\r\n", 400),
        (HEAD + CHUNKED + b"0x0\r\n\r\n", 400),
        (HEAD + CHUNKED + b"0\n\n", 400),
        (HEAD + CHUNKED + b"10000000000000000\r\n", 400),
        (HEAD + CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n", 400),
        (b"POST /first HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"Host: y\r\n\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /\r\n", 400),
        (b"GET nothing HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_request_whose_end_is_not_clear_is_refused_and_is_the_last(address, request_, status):
    received = exchange(address, request_ + LAST)
    assert paths(received) == [(status, None)]
    assert b"connection: close" in received


@pytest.mark.parametrize("broken", [b"\xff\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n", HEAD + CHUNKED + b"zz\r\n"])
def test_error_follows_the_answers_of_the_requests_before_it(address, broken):
    received = exchange(address, HEAD + LENGTH + INNER + HEAD + LENGTH + INNER + broken + LAST)
    assert paths(received) == [(200, "/first"), (200, "/first"), (400, None)]


def test_error_in_a_body_whose_request_is_answered_closes_without_a_second_answer(address):
    early = b"POST /early HTTP/1.1\r\nHost: x\r\n" + CHUNKED
    assert paths(exchange(address, early, b"zz\r\n", pause=0.1)) == [(200, "/early")]


def test_trailers_are_not_headers(address):
    trailer = b"0\r\nX-API-Key: k\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    [first, last] = answers(exchange(address, HEAD + CHUNKED + trailer + LAST))
    assert set(first[1]["headers"]) == {"host", "transfer-encoding"}
    assert last[1]["path"] == "/last"


def test_host_of_an_absolute_target_replaces_the_header(address):
    target = b"GET http://other:80/last?a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    [(status, body)] = answers(exchange(address, target))
    assert (status, body["path"], body["headers"]["host"]) == (200, "/last", "other:80")


@pytest.mark.parametrize("pieces", [1, 2, 50])
@pytest.mark.parametrize("many", [True, False])
def test_head_over_the_limit_is_431_in_however_many_pieces(address, pieces, many):
    long = b"X: a\r\n" * (MAX_HEAD // 5) if many else b"X: " + b"a" * MAX_HEAD + b"\r\n"
    request = HEAD + long + b"\r\n" + LAST
    size = -(-len(request) // pieces)
    received = exchange(address, *[request[start : start + size] for start in range(0, len(request), size)])
    assert paths(received) == [(431, None)]


def test_head_below_the_limit_may_come_with_a_body_in_one_piece(address):
    long = b"X: " + b"a" * (MAX_HEAD - 2_000) + b"\r\n"
    body = b"b" * MAX_HEAD
    request = HEAD + long + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert paths(exchange(address, request + LAST)) == [(200, "/first"), (200, "/last")]
