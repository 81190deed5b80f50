"""The routes, in this process and before there is a version: what is refused, and which labels are stored."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time

import pyarrow as pa
import pytest

from keel.errors import ConfigError, UnknownModel
from keel.serving.prediction_log.backpressure import WriteGuard
from keel.serving.prediction_log.shipper import SpoolShipper
from keel.serving.prediction_log.spool.files import LocalFiles
from keel.serving.scoring.scorer import Scorer
from keel.serving.service import Service
from keel.serving.settings import Settings
from keel.store import PredictionLog
from keel.workspace import Workspace
from tests.support.serving.responses import error
from tests.support.toy import toy_config, toy_rows
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
TOY, OTHER = toy_config(), toy_config(model="other")
WHEN = "2026-01-01T00:00:00Z"
LABEL = {"id": "p1", "label": 1}


def test_service_is_healthy_at_once_and_ready_only_with_a_version(serve):
    client = serve()
    assert client.get("/health").json() == {"status": "ok"}
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["missing"]
    assert error(client.post("/invocations", json={"inputs": [[1]]}))[:2] == (503, "NoProductionVersion")
    state = client.get("/version").json()
    assert set(state) >= {"keel", "models", "spool"}
    assert (state["spool"]["records"], state["spool"]["dead_letters"]) == (0, 0)


def test_service_that_stops_while_its_threads_start_ends_all_of_them(tmp_path, migrated_sqlite, monkeypatch):
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    starting = threading.Event()

    class SlowlyStarting(SpoolShipper):
        def start(self):
            starting.set()
            time.sleep(0.2)
            super().start()

    monkeypatch.setattr("keel.serving.service.SpoolShipper", SlowlyStarting)
    service = Service(Settings(home=tmp_path, stop_seconds=5.0), configured={"toy": toy_config()})
    service.start()
    assert starting.wait(10)
    service.stop()
    assert not service.shipper.is_alive()


def test_service_is_healthy_again_once_the_disk_writes_again(serve, monkeypatch):
    client = serve()
    assert client.post("/feedback", json=LABEL).status_code == 202

    def fails(*_):
        raise OSError(errno.EIO, "the disk does not write")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "write", fails)
        assert error(client.post("/feedback", json=LABEL))[0] == 503
        assert client.get("/health").status_code == 503
        assert client.get("/ready").json()["missing"]["spool"].endswith("the disk does not write')")
    until(lambda: client.get("/health").status_code == 200)
    assert "spool" not in client.get("/ready").json()["missing"]
    assert client.post("/feedback", json=LABEL).status_code == 202


def test_service_is_not_healthy_while_a_version_is_stuck(serve, monkeypatch):
    client = serve()
    assert client.get("/ping").json() == {"status": "ok"}, "MLflow's name for it"
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "is_stuck", True)
        for path in ("/health", "/ping"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, "broken")
            assert "has not answered" in answer.json()["error"]
    assert client.get("/health").status_code == 200


def test_service_is_healthy_after_a_successful_write_without_a_probe(serve, monkeypatch):
    client = serve()
    monkeypatch.setattr(WriteGuard, "probe", lambda _: None)
    client.service.write_guard.failed = "the disk did not write"
    assert client.get("/health").status_code == 503
    assert client.post("/feedback", json=LABEL).status_code == 202
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nothing", 404, "NotFound"),
        ("GET", "/docs", 404, "NotFound"),
        ("GET", "/openapi.json", 404, "NotFound"),
        ("GET", "/invocations", 405, "MethodNotAllowed"),
        ("PUT", "/models/toy/feedback", 405, "MethodNotAllowed"),
        ("POST", "/health", 405, "MethodNotAllowed"),
        ("POST", "/models/yot/invocations", 404, "UnknownModel"),
        ("POST", "/models/yot/feedback", 404, "UnknownModel"),
        ("GET", "/models/yot/performance", 404, "UnknownModel"),
        ("GET", "/models/yot/experiments", 404, "UnknownModel"),
        ("GET", "/models/toy/performance?bucket=year", 422, "BadRequest"),
        ("GET", "/models/toy/performance?bukcet=day", 422, "BadRequest"),
        ("GET", "/models/toy/performance?start=soon", 422, "BadRequest"),
        ("GET", "/models/toy/performance?version=last", 422, "BadRequest"),
    ],
)
def test_unknown_paths_models_and_parameters_are_json_errors(shared, method, path, status, kind):
    assert error(shared.request(method, path, json=LABEL))[:2] == (status, kind)


def test_list_of_paths_is_at_the_root_and_in_every_404(shared):
    found = shared.get("/").json()["paths"]
    assert found["POST /models/{model}/invocations"]
    routes = {route.path for route in shared.app.routes}
    assert {path.partition(" ")[2] for path in found} == routes
    for path in ("/docs", "/models/toy", "/nothing"):
        message = error(shared.get(path))[2]
        assert f"there is no path '{path}'" in message
        assert all(f" {path}" in message for path in routes)
    assert shared.get("/models").json() == {"models": {"toy": None}}


def test_slash_too_many_is_404_and_no_redirect_to_the_host_that_the_client_names(shared):
    for path in ("/models/toy/invocations/", "/feedback/", "/version/", "/models/"):
        answer = shared.request("GET", path, follow_redirects=False)
        assert error(answer)[0] == 404
        assert "location" not in answer.headers


def test_unknown_model_error_suggests_the_nearest_name(shared):
    assert "did you mean 'toy'" in error(shared.post("/models/toyy/feedback", json=LABEL))[2]


def test_wrong_method_response_names_the_right_one(shared):
    assert shared.get("/feedback").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "not JSON"),
        (b'{"id": "p1", "label": 1', 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[1]", 422, "must be an object"),
        (b"{}", 422, "item 0: id"),
        (b'{"id": "p1"}', 422, "item 0: label: missing"),
        (b'{"id": "p1", "label": 2}', 422, "must be 0 or 1"),
        (b'{"id": "p1", "label": NaN}', 400, "not JSON"),
        (b'{"id": "p1", "label": 1e999}', 400, "not JSON"),
        (b'{"id": "p1", "lable": 1}', 422, "did you mean 'label'"),
        (b'{"labels": []}', 422, "no label in the list"),
        (b'{"labels": {"id": "p1", "label": 1}}', 422, "list"),
        (b'{"labels": [{"id": "p1", "label": 1}, {"id": "", "label": 1}]}', 422, "item 1: id"),
        (b'{"labels": [{"id": "p1", "label": 1}], "observed_at": "2026-01-01T00:00:00Z"}', 422, "inside each label"),
        (b'{"entity": "ann", "label": 1}', 422, "time: missing"),
        (b'{"entity": "ann", "time": "2999-01-01T00:00:00Z", "label": 1}', 422, "future"),
        (b'{"id": "p1", "label": 1, "observed_at": "2999-01-01T00:00:00Z"}', 422, "future"),
        (b'{"model": "other", "id": "p1", "label": 1}', 422, "the path 'toy'"),
        (b'{"model": 7, "id": "p1", "label": 1}', 422, "model: must be a text"),
    ],
)
def test_feedback_with_invalid_labels_is_rejected_as_a_whole(shared, body, status, reason):
    answer = shared.post("/models/toy/feedback", content=body, headers={"content-type": "application/json"})
    found = error(answer)
    assert found[:2] == (status, "BadRequest")
    assert reason in found[2]
    assert shared.service.spool.stats.appended == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json; version=2"},
    ],
)
def test_feedback_with_another_content_type_or_encoding_is_415(shared, headers):
    assert error(shared.post("/feedback", content=json.dumps(LABEL), headers=headers))[0] == 415
    assert shared.service.spool.stats.appended == 0


def test_feedback_is_accepted_and_reaches_the_store(serve):
    client = serve()
    client.service.until_connected()
    one = client.post("/feedback", json=LABEL)
    assert one.status_code == 202
    assert {**one.json(), "note": ""} == {"accepted": 1, "ids": ["p1"], "unmatched": ["p1"], "note": ""}
    many = client.post(
        "/models/toy/feedback",
        json={"model": "toy", "labels": [{"id": "p2", "label": 0}, {"entity": "ann", "time": WHEN, "label": True}]},
    )
    assert (many.json()["accepted"], many.json()["ids"]) == (2, ["p2", "3fa911e94b463f0c0fb105cd4b2f956c"])
    until(lambda: 'keel_labels_total{model="toy",outcome="unmatched"} 3.0' in client.get("/metrics").text)
    assert client.service.spool.stats.records == 0


def test_feedback_names_the_ids_without_a_prediction(serve, tmp_path):
    rows = toy_rows(days=1).slice(0, 1_200)
    with Workspace.open(home=tmp_path, environment={}) as ws:
        ws.store.predictions("toy", TOY.features).append(rows.drop_columns(["label"]))
    client = serve()
    client.service.until_connected()
    known = rows["id"].to_pylist()
    labels = [{"id": name, "label": 1} for name in (*known, "typo", "typo", "other")]
    answer = client.post("/feedback", json={"labels": labels}).json()
    assert (answer["accepted"], answer["unmatched"]) == (len(known) + 3, ["typo", "other"])
    assert "the ids are wrong" in answer["note"]
    answer = client.post("/feedback", json={"id": known[0], "label": 1}).json()
    assert answer == {"accepted": 1, "ids": known[:1], "unmatched": []}


def test_feedback_does_not_wait_for_a_store_that_does_not_answer(serve, monkeypatch):
    client = serve()
    client.service.until_connected()
    monkeypatch.setattr("keel.serving.http.app.MATCH_SECONDS", 0.05)
    monkeypatch.setattr(PredictionLog, "known_ids", lambda *_: time.sleep(0.5))
    answer = client.post("/feedback", json=LABEL)
    assert (answer.status_code, answer.json()["unmatched"]) == (202, None)
    client.service.shipper.error = "the store does not answer"
    assert client.post("/feedback", json=LABEL).json()["unmatched"] is None


def test_request_without_a_model_is_404_if_several_are_served(serve):
    client = serve(TOY, OTHER)
    for path in ("/feedback", "/invocations"):
        status, kind, message = error(client.post(path, json=LABEL))
        assert (status, kind) == (404, "BadRequest")
        assert "(other, toy)" in message
    assert client.post("/feedback", json={"model": "other", **LABEL}).status_code == 202


def test_service_serves_only_the_selected_models(serve, tmp_path):
    client = serve(TOY, OTHER, models=("toy",))
    assert error(client.post("/models/other/feedback", json=LABEL))[:2] == (404, "UnknownModel")
    assert client.post("/feedback", json=LABEL).status_code == 202
    with pytest.raises(UnknownModel, match="did you mean 'toy'"):
        Service(Settings(home=tmp_path, models=("toi",)), configured={"toy": TOY})
    with pytest.raises(ConfigError, match="no model is configured"):
        Service(Settings(home=tmp_path), configured={})


def test_body_over_the_limit_is_413_and_one_at_the_limit_is_accepted(serve):
    client = serve(max_body=1024)
    stated = client.post("/feedback", content=b" " * 1025, headers={"content-type": "application/json"})
    assert error(stated)[:2] == (413, "BadRequest")
    assert "KEEL_SERVING_MAX_BODY" in stated.json()["error"]
    assert client.service.spool.stats.appended == 0
    just = json.dumps(LABEL).encode().ljust(1024)
    assert client.post("/feedback", content=just, headers={"content-type": "application/json"}).status_code == 202


def test_full_spool_refuses_requests_until_there_is_space(serve):
    client = serve(spool_bytes=64 * 1024)
    client.service.until_connected()
    client.service.shipper.stop(5)  # nothing leaves the spool, as with a store that is down
    accepted = 0
    for number in range(100):
        labels = [{"id": f"{number:03}-{i:03}" + "x" * 40, "label": 1} for i in range(100)]
        answer = client.post("/feedback", json={"labels": labels})
        if answer.status_code != 202:
            break
        accepted += 1
    assert error(answer)[:2] == (503, "SpoolFull")
    assert answer.headers["retry-after"]
    assert 0 < accepted < 100
    assert client.service.spool.stats.records == accepted
    assert "65536 bytes" in client.get("/ready").json()["missing"]["spool"]
    spool = client.service.spool
    spool.acknowledge(spool.next_batch(accepted, 2**20))  # as the shipper does when the store is back
    until(lambda: "spool" not in client.get("/ready").json()["missing"])
    assert not list(client.service.spool_folder.glob("probe-*"))


def test_metrics_have_no_labels_for_names_that_are_not_configured(serve):
    client = serve()
    for path in ("/models/yot/invocations", "/models/toy/yot", "/yot"):
        client.post(path, json=LABEL)
    text = client.get("/metrics").text
    assert "yot" not in text
    assert 'keel_requests_total{endpoint="invocations",model="",status="404"} 1.0' in text
    assert 'keel_requests_total{endpoint="other",model="toy",status="404"} 1.0' in text


def test_model_whose_rows_the_store_would_reject_is_not_served(serve, tmp_path):
    with Workspace.open(home=tmp_path, environment={}) as ws:
        ws.store.predictions("toy", {**TOY.features, "x": "categorical"})
    client = serve(TOY, OTHER)
    client.service.until_connected()
    status, kind, message = error(client.post("/models/toy/invocations", json={"inputs": [[1]]}))
    assert (status, kind) == (500, "ConfigError")
    assert "'x'" in message
    assert "'x'" in client.get("/ready").json()["missing"]["toy"]
    assert error(client.post("/models/other/invocations", json={"inputs": [[1]]}))[1] == "NoProductionVersion"


def test_performance_is_reported_by_bucket_and_version(serve, tmp_path):
    rows = toy_rows(days=2)
    with Workspace.open(home=tmp_path, environment={}) as ws:
        log = ws.store.predictions("toy", TOY.features)
        half, one = pa.array([0.5] * rows.num_rows), pa.array([1.0] * rows.num_rows)
        seven = pa.array([7] * rows.num_rows)
        log.append(
            rows.drop_columns(["label"])
            .append_column("version", seven)
            .append_column("score", half)
            .append_column("prediction", one)
        )
        log.add_labels(rows.select(["id", "label"]).append_column("observed_at", rows["time"]))
    client = serve()
    client.service.until_connected()
    period = {"start": "2026-01-01", "end": "2026-01-03T00:00:00Z"}
    found = client.get("/models/toy/performance", params=period).json()
    assert (found["model"], found["bucket"]) == ("toy", "day")
    assert [(each["start"][:10], each["version"], each["n"]) for each in found["performance"]] == [
        ("2026-01-01", 7, 480),
        ("2026-01-02", 7, 480),
    ]
    assert found["performance"][0]["metrics"]["brier"]["value"] == pytest.approx(0.25)
    hours = client.get("/models/toy/performance", params={**period, "bucket": "hour"}).json()["performance"]
    assert len(hours) == 48
    assert client.get("/models/toy/performance", params={**period, "version": 8}).json()["performance"] == []
    assert client.get("/models/toy/performance").json()["performance"] == [], "the last thirty days"
    backwards = {"start": period["end"], "end": period["start"]}
    assert error(client.get("/models/toy/performance", params=backwards))[:2] == (422, "BadRequest")


def test_experiments_of_a_model_without_any_are_an_empty_list(serve):
    client = serve()
    client.service.until_connected()
    assert client.get("/models/toy/experiments").json() == {"model": "toy", "experiments": []}
