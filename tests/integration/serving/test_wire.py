"""A running service on the wire: a real Java client, and requests that clients' libraries do not send."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time

import pytest

from conftest import NEEDS_TOOL
from tests.support.paths import PROJECT
from tests.support.serving.echo_server import answers, exchange
from tests.support.serving.process import MODEL, ROW, ForkedServing, copy_home, stored_ids
from tests.support.waiting import until

pytestmark = pytest.mark.integration
JAVA_CLIENT = PROJECT / "tests" / "support" / "serving" / "JavaClient.java"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
HOST = b"Host: 127.0.0.1\r\n"
LAST = b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


def sent(serving, *requests):
    return answers(exchange(("127.0.0.1", serving.port), *requests, LAST))


def invocation(identity, headers=b""):
    body = json.dumps({"dataframe_records": [ROW], "keel": {"ids": [identity]}}).encode()
    head = b"POST /models/%b/invocations HTTP/1.1\r\n" % MODEL.encode() + HOST + headers
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("java") is None or shutil.which("javac") is None,
    reason=f"{NEEDS_TOOL}: java and javac (Debian's package default-jdk-headless)",
)
def test_javas_default_client_gets_answers_and_its_labels_are_accepted(shared):
    rows, label = {"dataframe_records": [ROW]}, {"id": "java", "label": 1}
    command = [
        *("java", str(JAVA_CLIENT)),
        *(f"{shared.url}/models/{MODEL}/invocations", json.dumps(rows)),
        *(f"{shared.url}/models/{MODEL}/feedback", json.dumps(label)),
    ]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    found = [(int(line[:3]), json.loads(line[4:])) for line in lines]
    assert [status for status, _ in found] == [200, 202] * 6
    ids = {body["keel"]["ids"][0] for _, body in found[::2]}
    assert len(ids) == 6
    until(lambda: ids <= set(stored_ids(shared.home)))


def test_row_in_a_request_that_offers_an_upgrade_is_answered_and_stored(shared):
    requests = [invocation(f"offer-{number}", OFFER) for number in range(3)]
    found = sent(shared, *requests)
    assert [status for status, _ in found] == [200] * 4
    assert [body["keel"]["ids"] for _, body in found[:3]] == [["offer-0"], ["offer-1"], ["offer-2"]]
    until(lambda: {"offer-0", "offer-1", "offer-2"} <= set(stored_ids(shared.home)))


def test_body_of_a_request_that_offers_an_upgrade_is_no_request_of_its_own(shared):
    outer = b"POST /models/%b/invocations HTTP/1.1\r\n" % MODEL.encode() + HOST + OFFER
    inner = invocation("inside")
    head = outer + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(inner)
    # head and body apart, as many clients send them
    received = exchange(("127.0.0.1", shared.port), head, inner, LAST, seconds=30, pause=0.1)
    [(status, body), (last, _)] = answers(received)
    assert (status, body["kind"], last) == (400, "BadRequest", 200)
    until(lambda: shared.client.get("/version").json()["spool"]["records"] == 0)
    assert "inside" not in stored_ids(shared.home)


def test_request_whose_client_waits_for_leave_and_gets_none_is_the_last(shared):
    """The client may send the body or another request, and nobody can tell one from the other."""
    head = b"POST /nothing HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    received = exchange(("127.0.0.1", shared.port), head, seconds=30)
    assert [status for status, _ in answers(received)] == [404]
    assert b"connection: close" in received


@pytest.mark.parametrize(
    ("length", "status"),
    [(b"9" * 5_000, 400), (b"0" * 5_000 + b"9" * 18, 413), (b"0" * 5_000 + b"2", 422), (b"1" * 19, 413)],
    ids=["too many digits", "zeros and too large", "zeros and right", "too large"],
)
def test_length_of_any_number_of_digits_is_read_or_refused(shared, length, status):
    head = b"POST /feedback HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: " + length
    found = answers(exchange(("127.0.0.1", shared.port), head + b"\r\n\r\n{}" + LAST, seconds=30))
    assert [each for each, _ in found] == [status, *([200] if status == 422 else [])]


def test_slash_too_many_another_host_and_a_long_head_are_refused(shared):
    slash = b"GET /version/ HTTP/1.1\r\n" + HOST + b"\r\n"
    elsewhere = b"GET /version HTTP/1.1\r\nHost: example.org\r\n\r\n"
    absolute = b"GET http://example.org/version HTTP/1.1\r\n" + HOST + b"\r\n"
    long = b"GET /version HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n"
    found = answers(exchange(("127.0.0.1", shared.port), slash, elsewhere, absolute, long, LAST))
    assert [status for status, _ in found] == [404, 421, 421, 431]


@pytest.fixture(scope="module")
def keyed(trained, tmp_path_factory):
    """A service with API keys, and their file."""
    home = copy_home(trained, tmp_path_factory.mktemp("keyed"))
    keys = home / "keys"
    keys.write_text(f"ann:{'a' * 32}\nbob:{'b' * 32} predict\n")
    with ForkedServing(home, KEEL_API_KEYS_FILE=str(keys)) as serving:
        yield serving, keys


def version(*headers, trailers=b""):
    head = b"GET /version HTTP/1.1\r\n" + HOST + b"".join(header + b"\r\n" for header in headers)
    return head + (b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers if trailers else b"") + b"\r\n"


def test_key_counts_in_a_header_in_any_order_and_in_no_trailer(keyed):
    serving, _ = keyed
    ann, bob, other = (b"X-API-Key: " + letter * 32 for letter in (b"a", b"b", b"c"))
    bearer = b"Authorization: Bearer " + b"a" * 32
    requests = [version(ann), version(other, bearer), version(bob, ann), version(bob), version(other), version()]
    assert [status for status, _ in sent(serving, *requests)] == [200, 200, 200, 403, 401, 401, 200]
    assert [status for status, _ in sent(serving, version(trailers=ann + b"\r\n"))] == [401, 200]


def test_no_request_is_refused_while_the_keys_file_is_rewritten_in_place(keyed):
    serving, keys = keyed
    content, statuses, ended = keys.read_bytes(), [], threading.Event()

    def rewrite():
        while not ended.is_set():
            with keys.open("wb") as file:  # empty from here on
                time.sleep(0.002)
                file.write(content[:40])
                file.flush()
                time.sleep(0.002)
                file.write(content[40:])

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        headers = {"x-api-key": "b" * 32}
        body = {"dataframe_records": [ROW]}
        until_enough = time.monotonic() + 1.5
        while time.monotonic() < until_enough:
            statuses.append(serving.client.post("/invocations", json=body, headers=headers).status_code)
    finally:
        ended.set()
        writer.join()
    assert len(statuses) > 50
    assert set(statuses) == {200}
    keys.write_text(f"ann:{'a' * 32}\n")
    until(lambda: serving.client.post("/invocations", json=body, headers=headers).status_code == 401)
