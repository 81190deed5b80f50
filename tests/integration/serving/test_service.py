"""``keel serve`` as a process with a real version: answers, rejections, storage, restarts and exit codes."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import adbc_driver_sqlite.dbapi
import httpx
import numpy as np
import psutil
import pytest

from keel.workspace import Workspace
from tests.support.serving.process import MODEL, ROW, ForkedServing, copy_home, stored_ids
from tests.support.waiting import until

pytestmark = pytest.mark.integration
ANN, BOB = "a" * 32, "b" * 32


@contextmanager
def locked(home):
    """Lock the store against writing inside the block."""
    with (
        adbc_driver_sqlite.dbapi.connect(str(home / "keel.db"), autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("BEGIN IMMEDIATE")
        yield
        cursor.execute("ROLLBACK")


def until_stored(serving):
    """Wait until the spool is empty."""
    until(lambda: serving.client.get("/version").json()["spool"]["records"] == 0)


def test_answer_names_version_and_id_under_which_it_is_stored(shared):
    answer = shared.predict(ROW)
    assert answer.status_code == 200
    found = answer.json()
    [identity] = found["keel"]["ids"]
    assert answer.headers["x-keel-model"] == MODEL
    assert answer.headers["x-keel-version"] == "1"
    assert answer.headers["x-keel-prediction-id"] == identity
    unnamed = shared.client.post("/invocations", json={"dataframe_records": [ROW]}).json()
    assert unnamed["predictions"] == found["predictions"], "the only model needs no name"
    until_stored(shared)
    assert identity in stored_ids(shared.home)


def test_stored_rows_equal_the_answers(shared):
    answers = [shared.predict({**ROW, "x": x}, ids=[f"stored-{x}"]).json() for x in (-1.0, 0.0, 1.0)]
    until_stored(shared)
    import sqlalchemy as sa

    with Workspace.open(home=shared.home, environment={}) as ws, ws.store.connect() as connection:
        text = (
            "SELECT id, version, score, prediction, x, colour FROM predictions_toy WHERE id LIKE 'stored-%' ORDER BY x"
        )
        rows = connection.execute(sa.text(text)).all()
    assert [row.id for row in rows] == ["stored--1.0", "stored-0.0", "stored-1.0"]
    assert [row.score for row in rows] == pytest.approx([answer["predictions"][0][1] for answer in answers])
    assert {(row.version, row.colour) for row in rows} == {(1, "red")}
    assert all(row.prediction == (row.score >= 0.5) for row in rows)


BAD = [
    ("not JSON", b'{"dataframe_records": [', "application/json", 400, ""),
    ("no rows key", b"{}", "application/json", 400, ""),
    ("a number", b"7", "application/json", 400, ""),
    ("not UTF-8", b"\xff\xfe{}", "application/json", 400, ""),
    ("another type", b"x", "text/plain", 415, ""),
    ("no type", b"x", "", 415, ""),
    ("a missing column", {"dataframe_records": [{"x": 1.0, "colour": "red"}]}, "", 422, "z"),
    ("a wrong type", {"dataframe_records": [{**ROW, "x": "much"}]}, "", 422, "x"),
    ("an empty batch", {"dataframe_records": []}, "", 422, ""),
    ("ragged rows", {"dataframe_split": {"columns": ["x", "z", "colour"], "data": [[1.0]]}}, "", 400, "row 0"),
    ("too few ids", {"dataframe_records": [ROW, ROW], "keel": {"ids": ["a"]}}, "", 422, "ids"),
    ("an id twice", {"dataframe_records": [ROW, ROW], "keel": {"ids": ["a", "a"]}}, "", 422, "a"),
    ("a time to come", {"dataframe_records": [ROW], "keel": {"times": ["2999-01-01T00:00:00Z"]}}, "", 422, "future"),
    ("a time long ago", {"dataframe_records": [ROW], "keel": {"times": ["2001-01-01T00:00:00Z"]}}, "", 422, "max_age"),
    ("a CSV that is none", b'x,z,colour\n"1', "text/csv", 400, ""),
    ("a huge body", b" " * 70_000, "application/json", 413, "KEEL_SERVING_MAX_BODY"),
]


@pytest.mark.parametrize(("body", "kind", "status", "reason"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_invalid_request_is_rejected_by_name_and_stores_nothing(shared, body, kind, status, reason):
    until_stored(shared)
    before = stored_ids(shared.home), shared.metric("keel_predictions_total"), shared.metric("keel_spool_records")
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": kind or "application/json"} if kind or not isinstance(body, bytes) else {}
    answer = shared.client.post(f"/models/{MODEL}/invocations", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["kind"] == "BadRequest"
    assert reason in answer.json()["error"]
    assert before == (
        stored_ids(shared.home),
        shared.metric("keel_predictions_total"),
        shared.metric("keel_spool_records"),
    )


def test_nan_and_infinities_are_rejected_or_scored_as_missing(shared):
    for text in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        body = b'{"dataframe_records": [{"x": %s, "z": 1.0, "colour": "red"}]}' % text
        answer = shared.client.post("/invocations", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400, 422), answer.text
        if answer.status_code == 200:
            assert np.isfinite(answer.json()["predictions"]).all()
    assert shared.predict().status_code == 200


@pytest.mark.parametrize(
    "begin", [b"POST /invocations HT", b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"]
)
def test_client_that_stops_sending_gets_408(shared, begin):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=60) as connection:
        connection.sendall(begin)
        # to the end of the connection: head and body may arrive separately
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"KEEL_SERVING_RECEIVE" in answer
    assert shared.predict().status_code == 200


def test_body_without_a_content_length_is_limited(shared):
    def chunks():
        for _ in range(100):
            yield b" " * 4096

    answer = shared.client.post("/invocations", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert shared.predict().status_code == 200


def test_labels_are_matched_however_early_late_or_often_they_arrive(shared):
    names = ("keel_labels_total",)
    before = {o: shared.metric(*names, outcome=o) for o in ("stored", "duplicate", "conflict", "unmatched")}
    assert shared.client.post("/feedback", json={"id": "early", "label": 1}).status_code == 202
    until_stored(shared)
    shared.predict(ids=["early"])
    shared.predict(ids=["late"])
    when = shared.predict(entities=["ann"]).json()["keel"]["times"][0]
    labels = [
        {"id": "late", "label": 1},
        {"id": "late", "label": 1},
        {"id": "late", "label": 0},
        {"entity": "ann", "time": when, "label": 0},
        {"id": "early", "label": 1},
    ]
    answer = shared.client.post(f"/models/{MODEL}/feedback", json={"labels": labels})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 5)
    until_stored(shared)
    after = {o: shared.metric(*names, outcome=o) for o in before}
    assert {o: after[o] - before[o] for o in before} == {"stored": 3, "duplicate": 2, "conflict": 1, "unmatched": 1}


def test_metrics_count_predictions_requests_and_loads(shared):
    shared.predict(ROW, ROW)
    assert shared.metric("keel_predictions_total", model=MODEL, version="1", arm="") >= 2
    assert shared.metric("keel_requests_total", model=MODEL, endpoint="invocations", status="200") >= 1
    assert shared.metric("keel_request_duration_seconds_count", model=MODEL, endpoint="invocations") >= 1
    assert shared.metric("keel_reloads_total", model=MODEL, outcome="loaded") == 1
    assert shared.metric("keel_serves_version", model=MODEL, version="1", role="production") == 1
    text = shared.client.get("/metrics").text
    for name in ("keel_spool_records", "keel_spool_bytes", "keel_spool_oldest_seconds", "keel_spool_dead_letters"):
        assert re.search(rf"^{name} \d", text, re.MULTILINE), name


def test_store_that_is_down_costs_no_request_and_loses_no_row(shared):
    outcomes = {"stored": 1, "unmatched": 0}
    before = {outcome: shared.metric("keel_labels_total", outcome=outcome) for outcome in outcomes}
    until_stored(shared)
    with locked(shared.home):
        ids = [f"down-{n}" for n in range(200)]
        assert {shared.predict(ids=[name]).status_code for name in ids} == {200}
        assert shared.client.post("/feedback", json={"id": "down-0", "label": 1}).status_code == 202
        assert shared.metric("keel_spool_records") == 201
        until(lambda: shared.metric("keel_spool_oldest_seconds") > 0.5)
        assert not set(ids) & set(stored_ids(shared.home))
    until_stored(shared)
    assert sorted(name for name in stored_ids(shared.home) if name.startswith("down-")) == sorted(ids)
    for outcome, more in outcomes.items():
        assert shared.metric("keel_labels_total", outcome=outcome) - before[outcome] == more


@pytest.fixture(scope="module")
def restarted_home(trained, tmp_path_factory):
    return copy_home(trained, tmp_path_factory.mktemp("restarted"))


@pytest.fixture
def restarted(restarted_home):
    """A running service on an installation that the tests of restarts share; each may end it."""
    with ForkedServing(restarted_home) as serving:
        yield serving


def new_ids(home, prefix):
    return sorted(name for name in stored_ids(home) if name.startswith(prefix))


def test_stop_answers_requests_in_progress_and_stores_them(restarted):
    answered, refused = [], []
    go_on = threading.Event()
    go_on.set()

    def send_requests(client_number):
        with httpx.Client(base_url=restarted.url, trust_env=False, timeout=30) as client:
            number = 0
            while go_on.is_set():
                name = f"stop-{client_number}-{number}"
                body = {"dataframe_records": [ROW], "keel": {"ids": [name]}}
                try:
                    answer = client.post("/invocations", json=body)
                except httpx.TransportError as error:
                    refused.append(type(error).__name__)
                    return
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    answered.append(name)
                number += 1

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(send_requests, number) for number in range(4)]
        until(lambda: len(answered) > 100)
        assert restarted.stop() == 0
        go_on.clear()
        for job in jobs:
            job.result(30)
    assert "stopping" in restarted.logged()
    assert len(answered) > 100
    assert set(answered) <= set(stored_ids(restarted.home)), "stored without another start"


@pytest.mark.slow
def test_second_signal_ends_at_once_and_the_next_start_ships_the_rest(restarted):
    restarted.predict(ids=["signal-first"])
    until_stored(restarted)
    with locked(restarted.home):
        assert restarted.predict(ids=["signal-left"]).status_code == 200
        restarted.log.write_text("")
        restarted.process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in restarted.logged())
        time.sleep(0.5)
        assert restarted.process.poll() is None, "it tries to ship the spool"
        started = time.monotonic()
        restarted.process.send_signal(signal.SIGTERM)
        assert restarted.process.wait(5) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 2
    assert new_ids(restarted.home, "signal-") == ["signal-first"]
    restarted.start()
    restarted.until_ready()
    until_stored(restarted)
    assert new_ids(restarted.home, "signal-") == ["signal-first", "signal-left"]


@pytest.mark.slow
def test_full_spool_refuses_requests_until_there_is_space(home):
    with ForkedServing(home, KEEL_SPOOL_MAX_BYTES="64k") as serving:
        with locked(home):
            answered = []
            for number in range(2_000):
                answer = serving.predict(ids=[f"{number:04}"])
                if answer.status_code != 200:
                    break
                answered.append(f"{number:04}")
            assert (answer.status_code, answer.json()["kind"]) == (503, "SpoolFull")
            assert answer.headers["retry-after"]
            assert serving.client.get("/health").status_code == 200
            assert list(serving.client.get("/ready").json()["missing"]) == ["spool"]
        serving.until_ready()
        assert serving.predict(ids=["after"]).status_code == 200
        until_stored(serving)
        assert sorted(stored_ids(home)) == [*answered, "after"]


@pytest.mark.slow
def test_damaged_record_becomes_a_dead_letter_and_the_others_are_stored(restarted):
    with locked(restarted.home):
        ids = [f"damaged-{n}" for n in range(20)]
        assert {restarted.predict(ids=[name]).status_code for name in ids} == {200}
        restarted.kill()
    spool = restarted.home / "spool"
    [segment] = [path for path in spool.rglob("*") if path.is_file() and b"damaged-7" in path.read_bytes()]
    content = bytearray(segment.read_bytes())
    content[content.index(b"damaged-7")] ^= 0xFF
    segment.write_bytes(content)
    restarted.start()
    restarted.until_ready()
    until_stored(restarted)
    until(lambda: restarted.metric("keel_spool_dead_letters") == 1)
    assert new_ids(restarted.home, "damaged-") == sorted(set(ids) - {"damaged-7"})


def test_service_without_a_store_accepts_labels_and_says_what_it_waits_for(home):
    with ForkedServing(home, wait=False, KEEL_STORE_URL="postgresql://nobody:s3cret@127.0.0.1:1/none") as serving:
        serving.until_ready(path="/health")
        assert serving.client.post("/feedback", json={"id": "p", "label": 1}).status_code == 202
        until(lambda: "does not answer" in serving.client.get("/ready").text)
        answer = serving.predict()
        assert (answer.status_code, answer.json()["kind"]) == (503, "NoProductionVersion")
        assert serving.stop() == 0
        assert "s3cret" not in serving.logged() + answer.text
        serving.environment.pop("KEEL_STORE_URL")
        serving.start()
        serving.until_ready()
        until(lambda: serving.metric("keel_labels_total", outcome="stored") == 1)


def test_requests_need_a_key_and_a_new_key_is_valid_at_once(home):
    keys = home / "keys"
    keys.write_text(f"ann:{ANN}\n")
    with ForkedServing(home, wait=False, KEEL_API_KEYS_FILE=str(keys), KEEL_SERVING_HOST="0.0.0.0") as serving:
        serving.until_ready()
        assert serving.predict().status_code == 401
        serving.client.headers["x-api-key"] = ANN
        assert serving.predict().status_code == 200
        keys.write_text(f"bob:{BOB}\n")
        bob = {"authorization": f"Bearer {BOB}"}
        assert serving.client.get("/version", headers={**bob, "x-api-key": ""}).status_code == 200
        until(lambda: serving.predict().status_code == 401)
        assert serving.client.get("/version", headers={**bob, "x-api-key": ""}).status_code == 200
        assert not any(secret in serving.logged() for secret in (ANN, BOB))


@pytest.mark.slow
def test_workers_share_the_requests_and_one_that_dies_is_restarted(home):
    with ForkedServing(home, "--workers", "2") as serving:

        def workers():
            return [child.pid for child in psutil.Process(serving.process.pid).children()]

        ids = []

        def predict(name):
            # a new connection for each request, so that any worker may accept it
            body = {"dataframe_records": [ROW], "keel": {"ids": [name]}}
            try:
                if httpx.post(f"{serving.url}/invocations", json=body, trust_env=False, timeout=30).status_code == 200:
                    ids.append(name)
            except httpx.TransportError:
                pass

        before = workers()
        assert len(before) == 2
        state = serving.client.get("/version").json()
        assert state["worker"] in (0, 1)
        assert [worker["missing"] for worker in state["workers"]] == [{}, {}], "all that accept requests are ready"
        until(lambda: {w["pid"] for w in serving.client.get("/version").json()["workers"]} == set(before), 60)
        for n in range(50):
            predict(f"before-{n}")
        psutil.Process(before[0]).kill()
        for n in range(50):
            predict(f"during-{n}")
        until(lambda: len(workers()) == 2 and before[0] not in workers(), 60)
        until(lambda: "restarting it" in serving.logged())
        for n in range(50):
            predict(f"after-{n}")
        assert len(ids) > 145, "a restarted worker accepts no request before it can answer"
        until(
            lambda: [w["pid"] is None for w in serving.client.get("/version").json()["workers"]] == [False, False], 60
        )
        assert sorted(worker["ends"] for worker in serving.client.get("/version").json()["workers"]) == [0, 1]
        until(lambda: serving.metric("keel_worker_restarts_total") == 1)
        until(lambda: set(ids) <= set(stored_ids(home)), 60)
        assert len(stored_ids(home)) == len(set(stored_ids(home)))
        total = serving.metric("keel_predictions_total")
        assert total >= len(ids) - 1, "the counts of the ended worker remain"
        children = workers()
        assert serving.stop() == 0
        assert not any(psutil.pid_exists(pid) for pid in children)


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(home):
    with ForkedServing(home, "--workers", "2", wait=False) as serving:
        serving.until_ready(path="/health")  # one accepts requests; the other may still be starting
        children = [child.pid for child in psutil.Process(serving.process.pid).children()]
        assert len(children) == 2
        serving.process.kill()
        until(lambda: not any(psutil.pid_exists(pid) for pid in children))
