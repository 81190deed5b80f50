"""The service's routes in this process, before there is a version to answer with: what is refused, and what is kept."""

from __future__ import annotations

import errno
import json
import time

import pyarrow as pa
import pytest

from keel.errors import ConfigError, UnknownModel
from keel.serving.http.app import WITHHELD, create_app
from keel.serving.prediction_log.spool import Durability
from keel.serving.scoring.scorer import Scorer
from keel.serving.service import Service
from keel.serving.settings import Settings
from keel.workspace import Workspace
from tests.support.toy import toy_config, toy_rows

ANN, BOB = "a" * 32, "b" * 32
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
TOY, OTHER = toy_config(), toy_config(model="other")
WHEN = "2026-01-01T00:00:00Z"
LABEL = {"id": "p1", "label": 1}


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Start the service on an empty installation; call with settings and models."""
    monkeypatch.delenv("KEEL_STORE_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from starlette.testclient import TestClient

    running = []

    def start(*configs, **changes):
        settings = Settings(**{"home": tmp_path, "durability": Durability.WRITE, "stop_seconds": 5.0, **changes})
        service = Service(settings, configured={config.model: config for config in configs or (TOY,)})
        client = TestClient(create_app(settings, service=service), raise_server_exceptions=False)
        client.__enter__()
        running.append(client)
        client.service = service
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)
        client.service._connecting.join()  # Alembic, which it may be in, is for one thread of a process


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def error(response):
    said = response.json()
    assert set(said) == {"error", "kind"}
    assert response.headers["content-type"] == "application/json"
    return response.status_code, said["kind"], said["error"]


def test_it_is_healthy_at_once_and_ready_only_with_a_version(serve):
    client = serve()
    assert client.get("/health").json() == {"status": "ok"}
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["missing"]
    assert error(client.post("/invocations", json={"inputs": [[1]]}))[:2] == (503, "NoProductionVersion")
    said = client.get("/version").json()
    assert set(said) >= {"keel", "models", "spool"}
    assert said["spool"]["records"] == 0


def test_it_is_healthy_again_once_the_disk_writes_again(serve, monkeypatch):
    client = serve()
    files = type(client.service.spool._files)
    assert client.post("/feedback", json=LABEL).status_code == 202

    def fails(*_):
        raise OSError(errno.EIO, "the disk does not write")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", fails)
        assert error(client.post("/feedback", json=LABEL))[0] == 503
        assert client.get("/health").status_code == 503
        assert client.get("/ready").json()["missing"]["spool"].endswith("the disk does not write')")
    until(lambda: client.get("/health").status_code == 200)
    assert "spool" not in client.get("/ready").json()["missing"]
    assert client.post("/feedback", json=LABEL).status_code == 202


def test_it_is_not_healthy_while_a_version_hangs(serve, monkeypatch):
    client = serve()
    assert client.get("/ping").json() == {"status": "ok"}, "as MLflow's server calls it"
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "hangs", True)
        for path in ("/health", "/ping"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, "broken")
            assert "has not answered" in answer.json()["error"]
    assert client.get("/health").status_code == 200


def test_a_write_that_succeeds_is_as_good_as_a_try(serve, monkeypatch):
    client = serve()
    monkeypatch.setattr("keel.serving.prediction_log.backpressure.TRY_SECONDS", 1e9)
    client.service.room._tried_at = time.monotonic()
    client.service.room.failed = "the disk did not write"
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
def test_what_is_not_there_is_said_in_json(serve, method, path, status, kind):
    assert error(serve().request(method, path, json=LABEL))[:2] == (status, kind)


def test_a_misspelt_model_is_suggested(serve):
    assert "did you mean 'toy'" in error(serve().post("/models/toyy/feedback", json=LABEL))[2]


def test_a_wrong_method_is_told_which_is_right(serve):
    assert serve().get("/feedback").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "status", "said"),
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
        (b'{"labels": [{"id": "p1", "label": 1}], "observed_at": "2026-01-01T00:00:00Z"}', 422, "stands inside"),
        (b'{"entity": "ann", "label": 1}', 422, "time: missing"),
        (b'{"entity": "ann", "time": "2999-01-01T00:00:00Z", "label": 1}', 422, "future"),
        (b'{"id": "p1", "label": 1, "observed_at": "2999-01-01T00:00:00Z"}', 422, "future"),
        (b'{"model": "other", "id": "p1", "label": 1}', 422, "the path 'toy'"),
        (b'{"model": 7, "id": "p1", "label": 1}', 422, "model: must be a text"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used_are_refused_and_nothing_of_them_is_kept(serve, body, status, said):
    client = serve()
    answer = client.post("/models/toy/feedback", content=body, headers={"content-type": "application/json"})
    found = error(answer)
    assert found[:2] == (status, "BadRequest")
    assert said in found[2]
    assert client.service.spool.stats.appended == 0


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/plain"}, {}, {"content-type": "application/json", "content-encoding": "gzip"}]
)
def test_another_type_or_coding_is_415(serve, headers):
    client = serve()
    assert error(client.post("/feedback", content=json.dumps(LABEL), headers=headers))[0] == 415
    assert client.service.spool.stats.appended == 0


def test_labels_are_kept_and_then_reach_the_store(serve):
    client = serve()
    one = client.post("/feedback", json=LABEL)
    assert (one.status_code, one.json()) == (202, {"accepted": 1, "ids": ["p1"]})
    many = client.post(
        "/models/toy/feedback",
        json={"model": "toy", "labels": [{"id": "p2", "label": 0}, {"entity": "ann", "time": WHEN, "label": True}]},
    )
    assert many.json() == {"accepted": 2, "ids": ["p2", "3fa911e94b463f0c0fb105cd4b2f956c"]}
    until(lambda: 'keel_labels_total{model="toy",outcome="unmatched"} 3.0' in client.get("/metrics").text)
    assert client.service.spool.stats.records == 0


def test_with_several_models_one_must_be_named(serve):
    client = serve(TOY, OTHER)
    for path in ("/feedback", "/invocations"):
        status, kind, said = error(client.post(path, json=LABEL))
        assert (status, kind) == (404, "BadRequest")
        assert "(other, toy)" in said
    assert client.post("/feedback", json={"model": "other", **LABEL}).status_code == 202


def test_only_the_models_that_are_asked_for_are_served(serve, tmp_path):
    client = serve(TOY, OTHER, models=("toy",))
    assert error(client.post("/models/other/feedback", json=LABEL))[:2] == (404, "UnknownModel")
    assert client.post("/feedback", json=LABEL).status_code == 202
    with pytest.raises(UnknownModel, match="did you mean 'toy'"):
        Service(Settings(home=tmp_path, models=("toi",)), configured={"toy": TOY})
    with pytest.raises(ConfigError, match="no model to serve"):
        Service(Settings(home=tmp_path), configured={})


def test_with_keys_only_health_and_readiness_are_open(serve, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.write_text(f"ann:{ANN}\nbob:{BOB}\n")
    client = serve(keys_file=keys)
    assert client.get("/health").status_code == client.get("/ping").status_code == 200
    # by name only: why may name hosts, users and folders
    for headers in ({}, {"x-api-key": "c" * 32}):
        answer = client.get("/ready", headers=headers)
        assert answer.status_code == 503
        assert set(answer.json()["missing"].values()) == {WITHHELD}
    assert WITHHELD not in client.get("/ready", headers={"x-api-key": ANN}).json()["missing"].values()
    with monkeypatch.context() as patch:
        patch.setattr(Service, "healthy", "the disk under /secret does not write")
        assert client.get("/health").json() == {"status": "broken", "error": WITHHELD}
        assert "/secret" in client.get("/health", headers={"x-api-key": ANN}).json()["error"]
    paths = [("GET", "/version"), ("GET", "/metrics"), ("GET", "/nothing"), ("POST", "/feedback"),
             ("POST", "/models/toy/invocations"), ("GET", "/models/yot/performance")]  # fmt: skip
    for method, path in paths:
        for headers in ({}, {"x-api-key": "c" * 32}, {"authorization": "Bearer "}, {"authorization": f"Basic {ANN}"}):
            answer = client.request(method, path, headers=headers, json=LABEL)
            assert error(answer)[:2] == (401, "Unauthorized"), path
            assert answer.headers["www-authenticate"] == "Bearer"
    assert client.service.spool.stats.appended == 0
    assert client.get("/version", headers={"authorization": f"Bearer {BOB}"}).status_code == 200
    assert client.post("/feedback", json=LABEL, headers={"x-api-key": ANN}).status_code == 202


def test_without_keys_nobody_needs_one(serve):
    assert serve().get("/version").status_code == 200


def test_a_body_that_is_too_large_is_refused_while_it_is_read(serve):
    client = serve(max_body=1024)
    read = []

    def forever():
        while True:
            read.append(1)
            yield b" " * 512

    stated = client.post("/feedback", content=b" " * 1025, headers={"content-type": "application/json"})
    assert error(stated)[:2] == (413, "BadRequest")
    assert "KEEL_SERVING_MAX_BODY" in stated.json()["error"]
    assert client.service.spool.stats.appended == 0
    just = json.dumps(LABEL).encode().ljust(1024)
    assert client.post("/feedback", content=just, headers={"content-type": "application/json"}).status_code == 202


def test_a_full_spool_is_said_and_nothing_is_promised(serve):
    client = serve(spool_bytes=64 * 1024)
    client.service._connecting.join()
    client.service.drain.stop(5)  # as with a store that is down: nothing leaves
    taken = 0
    for number in range(100):
        labels = [{"id": f"{number:03}-{i:03}" + "x" * 40, "label": 1} for i in range(100)]
        answer = client.post("/feedback", json={"labels": labels})
        if answer.status_code != 202:
            break
        taken += 1
    assert error(answer)[:2] == (503, "SpoolFull")
    assert answer.headers["retry-after"]
    assert 0 < taken < 100
    assert client.service.spool.stats.records == taken
    assert "65536 bytes" in client.get("/ready").json()["missing"]["spool"]
    spool = client.service.spool
    spool.acknowledge(spool.next_batch(taken, 2**20))  # as the drain does when the store is back
    until(lambda: "spool" not in client.get("/ready").json()["missing"])
    assert not list(client.service.spool_folder.glob("room-*"))


def test_metrics_tell_no_names_that_nobody_has_configured(serve):
    client = serve()
    for path in ("/models/yot/invocations", "/models/toy/yot", "/yot"):
        client.post(path, json=LABEL)
    said = client.get("/metrics").text
    assert "yot" not in said
    assert 'keel_requests_total{endpoint="invocations",model="",status="404"} 1.0' in said
    assert 'keel_requests_total{endpoint="other",model="toy",status="404"} 1.0' in said


def test_a_model_whose_rows_the_store_would_refuse_is_not_served(serve, tmp_path):
    with Workspace.open(home=tmp_path, environment={}) as ws:
        ws.store.predictions("toy", {**TOY.features, "x": "categorical"})
    client = serve(TOY, OTHER)
    client.service._connecting.join()
    status, kind, said = error(client.post("/models/toy/invocations", json={"inputs": [[1]]}))
    assert (status, kind) == (500, "ConfigError")
    assert "'x'" in said
    assert "'x'" in client.get("/ready").json()["missing"]["toy"]
    assert error(client.post("/models/other/invocations", json={"inputs": [[1]]}))[1] == "NoProductionVersion"


def test_realised_performance_is_told_by_bucket(serve, tmp_path):
    rows = toy_rows(days=2)
    with Workspace.open(home=tmp_path, environment={}) as ws:
        log = ws.store.predictions("toy", TOY.features)
        half, one = pa.array([0.5] * rows.num_rows), pa.array([1.0] * rows.num_rows)
        seven = pa.array([7] * rows.num_rows)
        log.append(
            rows.drop_columns(["label"]).append_column("version", seven).append_column("score", half)
            .append_column("prediction", one)
        )  # fmt: skip
        log.add_labels(rows.select(["id", "label"]).append_column("observed_at", rows["time"]))
    client = serve()
    client.service._connecting.join()
    asked = {"start": "2026-01-01", "end": "2026-01-03T00:00:00Z"}
    found = client.get("/models/toy/performance", params=asked).json()
    assert (found["model"], found["bucket"]) == ("toy", "day")
    assert [(each["start"][:10], each["version"], each["n"]) for each in found["performance"]] == [
        ("2026-01-01", 7, 480), ("2026-01-02", 7, 480)
    ]  # fmt: skip
    assert found["performance"][0]["metrics"]["brier"]["value"] == pytest.approx(0.25)
    hours = client.get("/models/toy/performance", params={**asked, "bucket": "hour"}).json()["performance"]
    assert len(hours) == 48
    assert client.get("/models/toy/performance", params={**asked, "version": 8}).json()["performance"] == []
    assert client.get("/models/toy/performance").json()["performance"] == [], "the last thirty days"
    backwards = {"start": asked["end"], "end": asked["start"]}
    assert error(client.get("/models/toy/performance", params=backwards))[:2] == (422, "BadRequest")


def test_experiments_of_a_model_without_any(serve):
    client = serve()
    client.service._connecting.join()
    assert client.get("/models/toy/experiments").json() == {"model": "toy", "experiments": []}
