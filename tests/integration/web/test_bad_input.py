"""Bad requests of every kind to every route of a running API server: a named status, and nothing of code or data."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.integration.web.test_every_route import CALLS, PROBLEM, Call, assert_problem
from tests.support.web.api_server import NOBODY
from tests.support.web.api_server import PASSWORD as SECRET

if TYPE_CHECKING:
    from tests.support.web.api_server import ApiServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

INJECTIONS = (
    "' OR '1'='1",
    "tide'; DROP TABLE ledger; --",
    "tide\x00",
    "tide\n",
    "../../../etc/passwd",
    "..%2f..%2f",
    "<img src=x onerror=alert(1)>",
    "{{7*7}}",
    "tide.drift_check.x",
    "TIDE",
    "ⓣⓘⓓⓔ",
    "\u202etide",
    "%",
    "_",
    "a" * 3000,
)
"""Names of models, records and files that are none."""
MEGABYTE = 2**20
POSTED = [call for call in CALLS if call.body is not None]
NAMED = [call for call in CALLS if "{" in call.route]


@pytest.fixture(scope="module")
def ids(web: ApiServer) -> dict[str, str]:
    return {"model": "tide", "report_id": "none", "alert_id": "none", "experiment_id": "none", "silence_id": "none"}


@pytest.fixture(autouse=True)
def nothing_unexpected(web: ApiServer) -> Iterator[None]:
    """No request may end in an error that Keel does not know by name: the log would have its stack trace."""
    before = len(web.log())
    yield
    assert "Traceback" not in web.log()[before:]
    assert "failed unexpectedly" not in web.log()[before:]


@pytest.mark.parametrize("name", INJECTIONS, ids=range(len(INJECTIONS)))
@pytest.mark.parametrize("call", NAMED, ids=lambda call: call.id)
def test_a_name_of_nothing_is_not_found(web: ApiServer, ids: dict[str, str], call: Call, name: str) -> None:
    parameter = call.route.split("{")[-1].split("}")[0].removesuffix(":path")
    path = call.route.replace(":path}", "}").format_map({**ids, **call.parameters, parameter: quote(name, safe="")})
    answer = web.ask(
        call.method,
        path,
        json=call.content(ids),
        params={key: value.format_map(ids) for key, value in call.query.items()},
    )
    assert answer.status_code in (404, 405, 422), answer.text
    if answer.headers["content-type"] == PROBLEM:
        assert_problem(answer, call)
    assert "<img" not in answer.text or answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
def test_wrong_and_unknown_parameters_of_a_query_are_refused_or_passed_over(
    web: ApiServer, ids: dict[str, str], call: Call
) -> None:
    wrong = {
        "limit": "-1",
        "since": "yesterday",
        "until": "0",
        "version": "x",
        "state": "🌊",
        "before": "\x00",
        "at": "?",
    }
    wrong |= {"wait": "1e9", "window": "\u0000", "first": "0", "second": "-1", "model": "🌊" * 10, "report": "'"}
    for key, value in wrong.items():
        values = {**{name: given.format_map(ids) for name, given in call.query.items()}, key: value}
        answer = web.ask(call.method, call.path(ids), params=values, json=call.content(ids))
        assert answer.status_code < 500, (key, answer.text)


@pytest.mark.parametrize("call", POSTED, ids=lambda call: call.id)
def test_a_body_that_is_none_is_refused(web: ApiServer, ids: dict[str, str], call: Call) -> None:
    path = call.path(ids)
    json_type = {"Content-Type": "application/json"}
    bodies = {
        400: (b"{", b"\xff\xfe", b'{"model": "tide"', b"[" * 100_000),
        422: (b"null", b"[]", b'"tide"', b"17", b'{"model": {"$ne": 1}}', b'{"no such key": 1}', b'{"model": NaN}'),
    }
    for status, several in bodies.items():
        for body in several:
            answer = web.ask(call.method, path, content=body, headers=json_type)
            # where a body may be left out, null is none: the record is unknown then
            may_be = {b"null": 404, b'{"model": NaN}': 400}.get(body, status)
            assert answer.status_code in (status, may_be), (body[:40], answer.text)
            assert_problem(answer, call)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png", ""):
        answer = web.ask(call.method, path, content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415, (kind, answer.text)


@pytest.mark.parametrize("call", POSTED, ids=lambda call: call.id)
@pytest.mark.parametrize("how", ["declared", "chunked"])
def test_a_huge_body_is_refused_before_it_is_held(web: ApiServer, ids: dict[str, str], call: Call, how: str) -> None:
    before = web.resident_bytes()
    megabytes = 200

    def content() -> Iterator[bytes]:
        for _ in range(megabytes):
            yield b" " * MEGABYTE

    headers = {"Content-Type": "application/json"}
    if how == "declared":
        headers["Content-Length"] = str(megabytes * MEGABYTE)
    try:
        answer = web.ask(call.method, call.path(ids), content=content(), headers=headers)
    except httpx.TransportError:  # the server has answered, and closed the connection while more was sent
        pass
    else:
        assert answer.status_code == 413
        assert_problem(answer, call)
    assert web.resident_bytes() - before < 50 * MEGABYTE


@pytest.mark.parametrize("call", POSTED, ids=lambda call: call.id)
def test_a_page_of_another_site_changes_nothing(web: ApiServer, ids: dict[str, str], call: Call) -> None:
    cookie = {"Cookie": f"_token={web.token('olga')}"}
    foreign = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": web.url},
        {"Sec-Fetch-Site": "same-site", "Origin": web.url},
        {"Sec-Fetch-Site": "none"},
    )
    for headers in foreign:
        answer = web.ask(
            call.method, call.path(ids), user=NOBODY, json=call.content(ids), headers={**cookie, **headers}
        )
        assert answer.status_code == 403, (headers, answer.text)
    form = {**cookie, "Origin": web.url, "Content-Type": "text/plain"}
    answer = web.ask(call.method, call.path(ids), user=NOBODY, content=b"{}", headers=form)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "Basic b2xnYTo=", "Bearer", "Bearer " + "x" * 5000, "Bearer null", f"Basic {SECRET}"]
)
@pytest.mark.parametrize(
    "path", ["/models", "/drift/reports", "/keel/", "/keel/static/keel.css", "/models/x/y/z", "/keel/no"]
)
def test_what_is_no_token_opens_nothing(web: ApiServer, path: str, token: str) -> None:
    answer = web.ask("GET", path, user=NOBODY, headers={"Authorization": token})
    assert answer.status_code == 401, answer.text


def test_a_token_for_another_secret_or_without_a_signature_opens_nothing(web: ApiServer) -> None:
    import jwt

    claims = jwt.decode(web.token("olga"), options={"verify_signature": False})
    forged = [jwt.encode(claims, "x" * 64, algorithm="HS512"), jwt.encode(claims, None, algorithm="none")]
    for token in forged:
        answer = web.ask("GET", "/models", user=NOBODY, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401


def test_airflow_is_answered_while_keel_works(web: ApiServer) -> None:
    reads = [call for call in CALLS if call.method == "GET"]
    ids = {"model": "tide", "report_id": "none", "alert_id": "none", "experiment_id": "none", "silence_id": "none"}
    begun = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(call.send, web, ids, user="olga") for _ in range(20) for call in reads]
        waited = []
        while not all(each.done() for each in asked):
            sent = time.monotonic()
            assert web.ask("GET", "/api/v2/version").status_code == 200
            waited.append(time.monotonic() - sent)
    assert {each.result().status_code for each in asked} <= {200, 404, 503}
    print(f"{len(asked)} requests in {time.monotonic() - begun:.1f} s; Airflow's answers {median(waited):.2f} s")
    assert median(waited) < 1


def test_clients_that_send_slowly_or_break_off_hold_up_nobody(web: ApiServer) -> None:
    address = urlsplit(web.url)
    head = b"POST /models/promote HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
    held = []
    for _ in range(60):
        one = socket.create_connection((address.hostname, address.port))
        one.sendall(head % web.token("olga").encode() + b"Content-Length: 1000\r\n\r\n{")
        held.append(one)
    threads = threading.active_count()
    assert web.ask("GET", "/models").status_code == 200
    assert threading.active_count() == threads
    for one in held:
        one.close()
    assert web.ask("GET", "/models").status_code == 200
