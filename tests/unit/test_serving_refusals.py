"""What the routes refuse beside the rows themselves: none of it is a fault of the service."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from keel.serving.app import create_app
from keel.serving.service import Service
from keel.serving.settings import Settings
from keel.spool import Durability
from tests.toy import toy_config

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of a service that has no store: nothing here may need one."""
    monkeypatch.setattr(Service, "_connect", lambda _: None)
    settings = Settings(home=tmp_path, durability=Durability.WRITE, stop_seconds=1.0)
    service = Service(settings, configured={"toy": toy_config()})
    with TestClient(create_app(settings, service=service), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"labels": ' * 50_000, b'{"label": ' + b"9" * 5_000 + b"}"])
def test_feedback_that_no_reader_of_json_takes_is_400(client, body):
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
def test_versions_and_times_that_nothing_has_are_422(client, query):
    answer = client.get(f"/models/toy/performance?{query}")
    assert (answer.status_code, answer.json()["kind"]) == (422, "BadRequest")
    assert len(answer.json()["error"]) < 200


def test_a_span_that_would_begin_before_the_first_time_begins_there(client):
    assert client.get("/models/toy/performance?end=0001-01-02T00:00:00Z").json()["kind"] == "StoreUnavailable"
