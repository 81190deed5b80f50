"""What starts a DAG, what is done at once, and what is computed, on a running API server."""

from __future__ import annotations

import functools
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from keel import rollout
from keel.evaluation.experiment.plan import Stage
from keel.window import now_utc
from keel.workspace import Workspace
from tests.support.airflow import tide
from tests.support.web.api_server import NOBODY
from tests.support.web.filled_home import MODEL

if TYPE_CHECKING:
    import httpx

    from tests.support.web.api_server import ApiServer

pytestmark = pytest.mark.integration

DAY = {"since": "2024-03-12T00:00:00Z", "until": "2024-03-13T00:00:00Z"}
NESTED: dict[str, Any] = functools.reduce(lambda inner, _: {"a": inner}, range(500), {})
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


def fields_of(answer: httpx.Response) -> set[str]:
    return {each["field"] for each in answer.json()["errors"]}


def test_drift_of_a_window_is_answered_and_not_stored(web: ApiServer) -> None:
    before = web.ask("GET", "/drift/reports", params={"limit": 500}).json()["reports"]
    answer = web.ask("POST", "/drift/data-drift", json={"model": MODEL, **DAY}, user="vera")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["model"], found["version"], found["rows"] > 0) == (MODEL, 2, True)
    assert found["window"] == {"start": "2024-03-12T00:00:00Z", "end": "2024-03-13T00:00:00Z"}
    assert found["report"]["features"]
    assert web.ask("GET", "/drift/reports", params={"limit": 500}).json()["reports"] == before


def test_performance_of_a_window_is_answered_and_not_stored(web: ApiServer) -> None:
    body = {"model": MODEL, "version": "previous", "lookback": "7d", "until": DAY["until"]}
    answer = web.ask("POST", "/drift/model-performance-drift", json=body, user="vera")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in {"ok", "degraded"}
    assert answer.json()["report"]["n"] > 0


def test_rows_are_compared_as_json_and_as_arrow(web: ApiServer) -> None:
    table = tide.happen(tide.TURNED, tide.TURNED + 2 * tide.DAY, wind=3.0).drop_columns(["id", "time", "label"])
    body = {"model": MODEL, "version": 1, "rows": table.to_pylist()}
    as_json = web.ask("POST", "/drift/data-drift", json=body)
    assert as_json.status_code == 200, as_json.text
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    query = {"model": MODEL, "version": "1"}
    as_arrow = web.ask("POST", "/drift/data-drift", params=query, content=sink.getvalue(), headers=ARROW)
    assert as_arrow.status_code == 200, as_arrow.text
    assert as_arrow.json() == as_json.json()
    assert as_json.json()["window"] is None
    assert as_json.json()["rows"] == table.num_rows


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        ({"model": MODEL, "version": 77, **DAY}, 404, set()),
        ({"model": MODEL, "version": "newest", **DAY}, 404, set()),
        ({"model": "nothing"}, 404, {"model"}),
        ({"model": "x' OR 1=1 --"}, 404, {"model"}),
        ({"model": "ebb"}, 409, set()),
        ({"model": MODEL, "since": DAY["until"], "until": DAY["since"]}, 422, {"since"}),
        ({"model": MODEL, "since": "yesterday"}, 422, {"since"}),
        ({"model": MODEL, "version": -1}, 422, {"version"}),
        ({"model": MODEL, "lookback": "1 fortnight"}, 422, {"lookback"}),
        ({"model": MODEL, "lookback": "9999999w"}, 422, {"lookback"}),
        ({"model": MODEL, "overrides": {"drift.alhpa": 0.1}}, 422, {"overrides.drift.alhpa"}),
        ({"model": MODEL, "rows": []}, 422, {"rows"}),
        ({"model": MODEL, "rows": [{"wind": [1]}]}, 422, {"rows.0"}),
        ({"model": MODEL, "rows": [{"wind": 1}, 3]}, 422, {"rows.1"}),
        ({"model": MODEL, "rows": [{"breeze": 1}]}, 422, {"rows"}),
        ({"model": MODEL, "rows": [{"wind": 1}], **DAY}, 422, {"since", "until"}),
        ({"model": MODEL, "row": []}, 422, {"row"}),
        ({}, 422, {"model"}),
        ([], 422, {"body"}),
    ],
)
def test_questions_that_are_none_are_refused(web: ApiServer, body: Any, status: int, fields: set[str]) -> None:
    answer = web.ask("POST", "/drift/data-drift", json=body)
    assert (answer.status_code, fields_of(answer)) == (status, fields), answer.text


def test_bodies_that_cannot_be_read_are_refused(web: ApiServer) -> None:
    kind, to = {"Content-Type": "application/json"}, "/drift/data-drift"
    surrogate = b'{"model": "tide", "rows": [{"wind": "\\ud800", "\\ud800": 1}]}'
    assert web.ask("POST", to, content=surrogate, headers=kind).status_code in {200, 422}
    for broken in (b"", b"{", b"\xff", b"[" * 100_000, b'{"model": 1e9999}'):
        assert web.ask("POST", to, content=broken, headers=kind).status_code in {400, 422}
    assert web.ask("POST", to, content=b"{}", headers={"Content-Type": "text/csv"}).status_code == 415
    query = {"model": MODEL}
    assert web.ask("POST", to, params=query, content=b"\0" * 99, headers=ARROW).status_code == 400
    assert fields_of(web.ask("POST", to, content=b"", headers=ARROW)) == {"model"}
    assert web.ask("POST", to, content=b" " * (9 << 20), headers=kind).status_code == 413


@pytest.fixture
def run_of(web: ApiServer) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a run as Airflow's public API has it."""

    def found(answer: dict[str, Any]) -> dict[str, Any]:
        path = answer["status_url"].removeprefix(web.url + web.root)
        return dict(web.ask("GET", path).json())

    return found


def test_check_starts_a_run_in_the_callers_name(web: ApiServer, run_of: Callable[..., dict[str, Any]]) -> None:
    body = {"model": MODEL, "end": DAY["until"], "overrides": {"drift.alpha": 0.01}}
    answer = web.ask("POST", "/drift/check-and-retrain", json=body, user="uma")
    assert answer.status_code == 202, answer.text
    started = answer.json()
    assert (started["dag_id"], started["state"], started["paused"]) == (f"{MODEL}.drift_check", "queued", False)
    assert answer.headers["location"] == started["status_url"]
    run = run_of(started)
    assert (run["dag_run_id"], run["triggering_user_name"], run["run_type"]) == (started["run_id"], "uma", "manual")
    assert run["conf"] == {"end": DAY["until"], "overrides": {"drift.alpha": 0.01}}
    page = web.ask("GET", started["url"].removeprefix(web.url + web.root))
    assert page.status_code == 200


def test_the_same_key_starts_the_same_run_once(web: ApiServer) -> None:
    key = {"Idempotency-Key": "a-check-of-mine"}
    to, body = "/drift/check-and-retrain", {"model": MODEL, "end": "2024-03-11T00:00:00Z"}
    first = web.ask("POST", to, json=body, headers=key)
    again = web.ask("POST", to, json=body, headers=key, params={"wait": 1})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert web.ask("POST", to, json=body, headers=key, user="uma").json()["run_id"] != first.json()["run_id"]
    other = web.ask("POST", to, json={"model": MODEL, "end": DAY["until"]}, headers=key)
    assert (other.status_code, fields_of(other)) == (409, {"Idempotency-Key"})
    less = web.ask("POST", to, json={"model": MODEL}, headers=key)
    assert (less.status_code, fields_of(less)) == (409, {"Idempotency-Key"})
    whole = {**body, "overrides": {"drift.alpha": 0.01}}
    key = {"Idempotency-Key": "with-overrides"}
    assert web.ask("POST", to, json=whole, headers=key).status_code == 202
    assert web.ask("POST", to, json=body, headers=key).status_code == 409
    assert web.ask("POST", "/models/promote", json={"model": MODEL, "version": 3}, headers=key).status_code == 202
    assert web.ask("POST", "/models/promote", json={"model": MODEL}, headers=key).status_code == 409
    assert web.ask("POST", to, json=body, headers={"Idempotency-Key": "a b"}).status_code == 422


def test_the_same_key_at_the_same_moment_starts_one_run(web: ApiServer) -> None:
    key, body = {"Idempotency-Key": "at-once"}, {"model": MODEL, "to": "ada@example.com"}
    web.token("olga")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(web.ask, "POST", "/drift/test-email", json=body, headers=key) for _ in range(8)]
    answers = [each.result() for each in asked]
    assert [each.status_code for each in answers] == [202] * 8, [each.text for each in answers]
    assert len({each.json()["run_id"] for each in answers}) == 1


@pytest.mark.parametrize("state", ["success", "failed"])
def test_request_waits_for_the_end_of_its_run(web: ApiServer, state: str) -> None:
    key = {"Idempotency-Key": f"waits-for-{state}"}
    body = {"model": MODEL, "end": DAY["since"]}
    started = web.ask("POST", "/drift/check-and-retrain", json=body, headers=key).json()
    web.token("admin")
    path = started["status_url"].removeprefix(web.url + web.root)
    end = threading.Timer(1.0, web.ask, ("PATCH", path), {"json": {"state": state}, "user": "admin"})
    end.start()
    answer = web.ask("POST", "/drift/check-and-retrain", json=body, headers=key, params={"wait": 30})
    end.join()
    assert answer.status_code == 200, answer.text
    assert (answer.json()["run_id"], answer.json()["state"]) == (started["run_id"], state)
    assert answer.elapsed.total_seconds() < 20


@pytest.mark.parametrize(
    ("path", "body", "dag_id", "conf"),
    [
        ("/models/promote", {"model": MODEL, "reason": "it is better"}, "promote", {"version": 3}),
        (
            "/models/promote",
            {"model": MODEL, "version": "staging", "force": True, "reason": "now"},
            "promote",
            {"force": True},
        ),
        ("/models/rollback", {"model": MODEL}, "rollback", {"version": 1, "reason": "requested by hand"}),
        ("/models/rollback", {"model": MODEL, "version": 1}, "rollback", {"version": 1}),
    ],
)
def test_deployments_are_changed_by_a_run_on_a_version(
    web: ApiServer, run_of: Callable[..., dict[str, Any]], path: str, body: dict[str, Any], dag_id: str, conf: Any
) -> None:
    answer = web.ask("POST", path, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["dag_id"] == f"{MODEL}.{dag_id}"
    assert conf.items() <= run_of(answer.json())["conf"].items()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/drift/check-and-retrain", {"model": MODEL, "end": "2100-01-01"}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "start": DAY["until"], "end": DAY["since"]}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "overrides": {"promotion.approval": "none"}}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "overrides": {"owner": "\ud800"}}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "overrides": {"owner": "a\0b"}}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "overrides": {"owner": "x" * 30_000}}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "overrides": {"drift.min_rows": 10**30}}, 422),
        (
            "/drift/check-and-retrain",
            {"model": MODEL, "overrides": NESTED},
            422,
        ),
        ("/drift/check-and-retrain", {"model": MODEL, "end": "2024-03-12", "overrides": {"check.lookback": "0d"}}, 422),
        ("/drift/check-and-retrain", {"model": MODEL, "overrides": {"check.lookback": "99999999d"}}, 422),
        ("/models/promote", {"model": MODEL, "version": 1}, 409),
        ("/models/promote", {"model": MODEL, "version": 9}, 404),
        ("/models/promote", {"model": MODEL, "version": "best"}, 404),
        ("/models/promote", {"model": MODEL, "force": True}, 422),
        ("/models/promote", {"model": MODEL, "force": True, "reason": "   "}, 422),
        ("/models/promote", {"model": MODEL, "force": "yes", "reason": "it is better"}, 422),
        ("/models/promote", {"model": MODEL, "version": True}, 422),
        ("/models/promote", {"model": MODEL, "end": "2100-01-01"}, 422),
        ("/models/promote", {"model": MODEL, "reason": "x"}, 422),
        ("/models/promote", {"model": MODEL, "reason": "a\0b c"}, 422),
        ("/models/promote", {"model": MODEL, "experiment": "none"}, 404),
        ("/models/promote", {"model": "ebb"}, 409),
        ("/models/rollback", {"model": MODEL, "version": 3}, 409),
        ("/models/rollback", {"model": MODEL, "version": 9}, 404),
        ("/models/rollback", {"model": "ebb"}, 409),
        ("/models/tide/experiments", {"challenger": 3}, 409),
        ("/models/tide/experiments", {"alpha": 0.7}, 422),
        ("/models/tide/experiments/none/stop", {}, 404),
        ("/models/tide/alerts/none/acknowledge", {}, 404),
        ("/models/tide/silences", {"duration": "1d"}, 422),
        ("/models/tide/silences", {"reason": "for a while"}, 422),
        ("/models/tide/silences", {"reason": "for a while", "duration": "1d", "kind": "data_drfit"}, 422),
        ("/models/tide/silences", {"reason": "for a while", "until": DAY["until"]}, 422),
        ("/models/tide/silences/none/end", {}, 404),
        ("/drift/test-email", {"model": MODEL, "channel": "pigeon"}, 422),
        ("/drift/test-email", {"model": MODEL, "to": " "}, 422),
        ("/drift/test-email", {"model": MODEL, "to": "ada@example.com\r\nBcc: bob@example.com"}, 422),
    ],
)
def test_what_is_not_possible_starts_nothing(web: ApiServer, path: str, body: dict[str, Any], status: int) -> None:
    def runs() -> int:
        return int(web.ask("GET", "/api/v2/dags/~/dagRuns", params={"limit": 1}).json()["total_entries"])

    before = runs()
    answer = web.ask("POST", path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert runs() == before


def test_experiment_is_stopped_by_a_run(web: ApiServer, run_of: Callable[..., dict[str, Any]]) -> None:
    running = web.ask("GET", f"/models/{MODEL}/experiments").json()["experiments"][0]
    path = f"/models/{MODEL}/experiments/{running['experiment_id']}/stop"
    answer = web.ask("POST", path, json={"reason": "enough is known"})
    assert answer.status_code == 202, answer.text
    stop = {"action": "stop", "experiment": running["experiment_id"], "reason": "enough is known"}
    assert run_of(answer.json())["conf"] == stop
    assert web.ask("POST", path, user="vera", json={}).status_code == 403


NO_PLANS: list[dict[str, Any]] = [
    {"ramp": "x"},
    {"ramp": "5:24h,50", "allocation": 0.2},
    {"mode": "shadow", "allocation": 0.2},
    {"metric": "x"},
    {"margin": -1},
    {"alpha": 0.4},
    {"min_duration": "3d"},
    {"min_duration": "9d", "max_duration": "1d"},
]


def test_experiment_is_started_by_a_run_where_none_is_running(
    web: ApiServer, run_of: Callable[..., dict[str, Any]]
) -> None:
    config, now = tide.tide_config(), now_utc()
    with Workspace.open(home=web.environment["KEEL_HOME"], environment={}) as ws:
        rollout.stop_experiment(ws, config, actor="ada", run_id="stopped", reason="for another", now=now)
        path = f"/models/{MODEL}/experiments"
        refused = [web.ask("POST", path, json=plan).status_code for plan in NO_PLANS]
        body = {"challenger": "staging", "allocation": 0.2, "min_duration": "8d", "reason": "is it better?"}
        answer = web.ask("POST", path, json=body)
        by = {"actor": "ada", "run_id": "again", "reason": "as before", "now": now}
        rollout.start_experiment(ws, config, challenger=3, stages=(Stage(0.5),), **by)
    assert refused == [409] * len(NO_PLANS)
    assert answer.status_code == 202, answer.text
    conf = run_of(answer.json())["conf"]
    assert {"action": "start", "challenger": 3, "allocation": 0.2, "min_duration": "8d"}.items() <= conf.items()


def test_message_is_sent_by_a_run_of_a_dag_of_its_own(web: ApiServer, run_of: Callable[..., dict[str, Any]]) -> None:
    body = {"model": MODEL, "to": "ada@example.com"}
    answer = web.ask("POST", "/drift/test-email", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["dag_id"] == "keel.test_message"
    assert run_of(answer.json())["conf"] == {**body, "channel": "email"}


def test_paused_dag_is_said_and_not_waited_for(web: ApiServer) -> None:
    path = f"/api/v2/dags/{MODEL}.rollback"
    assert web.ask("PATCH", path, json={"is_paused": True}, user="admin").status_code == 200
    try:
        answer = web.ask("POST", "/models/rollback", json={"model": MODEL}, params={"wait": 60})
        assert answer.status_code == 202
        assert (answer.json()["paused"], "is paused" in answer.json()["message"]) == (True, True)
        assert answer.elapsed.total_seconds() < 30
    finally:
        web.ask("PATCH", path, json={"is_paused": False}, user="admin")


@pytest.fixture
def silence_id(web: ApiServer) -> str:
    body = {"kind": "data_drift", "subject": "wind*", "duration": "2d", "reason": "planned work"}
    answer = web.ask("POST", f"/models/{MODEL}/silences", json=body, user="uma")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["silence_id"])


def test_silence_lasts_until_it_is_ended_and_the_ledger_has_both(web: ApiServer, silence_id: str) -> None:
    listed = {each["silence_id"]: each for each in web.ask("GET", f"/models/{MODEL}/alerts").json()["silences"]}
    assert (listed[silence_id]["actor"], listed[silence_id]["subject"]) == ("uma", "wind*")
    path = f"/models/{MODEL}/silences/{silence_id}/end"
    assert web.ask("POST", path, user="vera").status_code == 403
    assert web.ask("POST", path).json()["silence_id"] == silence_id
    left = web.ask("GET", f"/models/{MODEL}/alerts").json()["silences"]
    assert silence_id not in {each["silence_id"] for each in left}
    assert web.ask("POST", path).status_code == 404


def test_alert_is_acknowledged_once_in_the_callers_name(web: ApiServer) -> None:
    alert = web.ask("GET", f"/models/{MODEL}/alerts").json()["alerts"][0]
    path = f"/models/{MODEL}/alerts/{alert['alert_id']}/acknowledge"
    assert web.ask("POST", path, user="vera").status_code == 403
    answer = web.ask("POST", path, json={"reason": "looking at it"}, user="uma")
    assert (answer.status_code, answer.json()["state"], answer.json()["acknowledged_by"]) == (
        200,
        "acknowledged",
        "uma",
    )
    assert web.ask("POST", path).json()["acknowledged_by"] == "uma"
    assert web.ask("POST", f"/models/ebb/alerts/{alert['alert_id']}/acknowledge").status_code == 404


def test_nobody_asks_or_acts_without_a_login(web: ApiServer) -> None:
    for path in ("/drift/data-drift", "/models/promote", f"/models/{MODEL}/silences"):
        assert web.ask("POST", path, json={}, user=NOBODY).status_code == 401
