"""Requests that the routes reject for other reasons than their rows; none is an error of the service."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.preprocessing import OneHotEncoder
from starlette.testclient import TestClient

from keel.errors import ScoringFailed
from keel.serving.http.app import create_app
from keel.serving.http.middleware import error_response
from keel.serving.models.input_schema import Features
from keel.serving.models.loaded_version import ServedVersion
from keel.serving.prediction_log.spool import Durability
from keel.serving.scoring.scorer import Scorer
from keel.serving.service import Service
from keel.serving.settings import Settings
from tests.support.serving.process import LOCAL
from tests.support.toy import toy_config

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
SECRET = "ann.smith@example.org"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of a service without a store, which no test here may need."""
    monkeypatch.setattr(Service, "_connect", lambda _: None)
    settings = Settings(home=tmp_path, durability=Durability.WRITE, stop_seconds=1.0)
    service = Service(settings, configured={"toy": toy_config()})
    with TestClient(create_app(settings, service=service), base_url=LOCAL, raise_server_exceptions=False) as client:
        client.service = service
        yield client


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"labels": ' * 50_000, b'{"label": ' + b"9" * 5_000 + b"}"])
def test_feedback_that_is_not_readable_json_is_400(client, body):
    answer = client.post("/feedback", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["kind"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    "query",
    [
        "version=" + "9" * 5_000,
        "version=" + "9" * 30,
        "start=0001-01-01T00:00:00%2B01:00",
        "end=9999-12-31T23:59:59-01:00",
        "end=0001-01-01T00:00:00Z",
    ],
)
def test_performance_of_impossible_versions_and_times_is_422(client, query):
    answer = client.get(f"/models/toy/performance?{query}")
    assert (answer.status_code, answer.json()["kind"]) == (422, "BadRequest")
    assert len(answer.json()["error"]) < 200


def test_performance_without_start_is_limited_to_the_earliest_time(client):
    assert client.get("/models/toy/performance?end=0001-01-02T00:00:00Z").json()["kind"] == "StoreUnavailable"


def test_scoring_error_shows_values_to_the_client_but_not_in_the_log(caplog):
    estimator = OneHotEncoder(handle_unknown="error").fit([["red"], ["blue"]])
    features = Features((), np.empty((0, 1)), {"colour": [SECRET]})
    config = SimpleNamespace(model="toy", features={"colour": "categorical"}, target=SimpleNamespace(kind="binary"))
    broken = object.__new__(ServedVersion)
    broken.model, broken.number = SimpleNamespace(config=config, spellings={}), 7
    broken.predict = lambda rows: estimator.transform([rows.texts["colour"]])
    with pytest.raises(ScoringFailed) as caught:
        broken.score(features)
    assert SECRET.encode() in error_response(caught.value).body
    scorer = Scorer()
    scorer.record_challenger_failure(caught.value)
    scorer.close()
    assert len(caplog.messages) == 2
    assert all("version 7 failed on these rows: ValueError" in message for message in caplog.messages)
    assert SECRET not in caplog.text


def test_requests_that_wait_for_the_store_do_not_delay_feedback(client, monkeypatch):
    answers, waiting_for_store = threading.Event(), threading.Semaphore(0)

    def series(*_, **__):
        waiting_for_store.release()
        return answers.wait(60) and []

    monkeypatch.setattr("keel.monitoring.performance_history.series", series)
    monkeypatch.setattr(client.service, "workspace", object())
    with ThreadPoolExecutor(41) as clients:
        waiting = [clients.submit(client.get, "/models/toy/performance") for _ in range(40)]
        try:
            for _ in range(4):  # all threads that read the store
                assert waiting_for_store.acquire(timeout=20)
            feedback = clients.submit(client.post, "/feedback", json={"id": "p1", "label": 1})
            assert feedback.result(20).status_code == 202
        finally:
            answers.set()
        assert {request.result().status_code for request in waiting} == {200}
    client.service.workspace = None
