"""Who may ask: hosts, API keys and their scopes, and what strangers see."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest

from keel.serving.http.app import WITHHELD
from keel.serving.service import Service
from tests.support.serving.process import LOCAL
from tests.support.serving.responses import error

ANN, BOB = "a" * 32, "b" * 32
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
LABEL = {"id": "p1", "label": 1}


def test_with_keys_only_health_and_readiness_are_open_and_withhold_reasons(serve, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.write_text(f"ann:{ANN}\nbob:{BOB}\n")
    client = serve(keys_file=keys)
    assert client.get("/health").status_code == client.get("/ping").status_code == 200
    # names only: reasons may contain hosts, users and folders
    for headers in ({}, {"x-api-key": "c" * 32}):
        answer = client.get("/ready", headers=headers)
        assert answer.status_code == 503
        assert set(answer.json()["missing"].values()) == {WITHHELD}
    assert WITHHELD not in client.get("/ready", headers={"x-api-key": ANN}).json()["missing"].values()
    with monkeypatch.context() as patch:
        patch.setattr(Service, "fault", "the disk under /secret does not write")
        assert client.get("/health").json() == {"status": "broken", "error": WITHHELD}
        assert "/secret" in client.get("/health", headers={"x-api-key": ANN}).json()["error"]
    paths = [
        ("GET", "/version"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("POST", "/feedback"),
        ("POST", "/models/toy/invocations"),
        ("GET", "/models/yot/performance"),
    ]
    for method, path in paths:
        for headers in ({}, {"x-api-key": "c" * 32}, {"authorization": "Bearer "}, {"authorization": f"Basic {ANN}"}):
            answer = client.request(method, path, headers=headers, json=LABEL)
            assert error(answer)[:2] == (401, "Unauthorized"), path
            assert answer.headers["www-authenticate"] == "Bearer"
    assert client.service.spool.stats.appended == 0
    assert client.get("/version", headers={"authorization": f"Bearer {BOB}"}).status_code == 200
    assert client.post("/feedback", json=LABEL, headers={"x-api-key": ANN}).status_code == 202


def test_without_keys_no_request_needs_one(shared):
    assert shared.get("/version").status_code == 200


def test_key_gives_access_to_what_its_scopes_name(serve, tmp_path):
    keys = tmp_path / "keys"
    scopes = ("predict", "label", "read")
    keys.write_text("".join(f"{scope}:{scope * 4} {scope}\n" for scope in scopes) + f"all:{ANN} *\n")
    client = serve(keys_file=keys)
    paths = [
        ("predict", "POST", "/models/toy/invocations", 503),
        ("predict", "POST", "/invocations", 503),
        ("label", "POST", "/models/toy/feedback", 202),
        ("label", "POST", "/feedback", 202),
        ("read", "GET", "/version", 200),
        ("read", "GET", "/metrics", 200),
        ("read", "GET", "/models", 200),
        ("read", "GET", "/models/toy/performance?bucket=year", 422),
        ("read", "GET", "/models/toy/experiments?", 200),
    ]
    client.service.until_connected()
    for needed, method, path, status in paths:
        for scope in scopes:
            answer = client.request(method, path, headers={"x-api-key": scope * 4}, json=LABEL)
            if scope == needed:
                assert answer.status_code == status, path
            else:
                assert error(answer)[:2] == (403, "Forbidden")
                assert f"the scope {needed}, and yours has {scope}" in answer.json()["error"]
        assert client.request(method, path, headers={"x-api-key": ANN}, json=LABEL).status_code == status
    for scope in scopes:
        assert client.get("/", headers={"x-api-key": scope * 4}).status_code == 200
        assert error(client.get("/nothing", headers={"x-api-key": scope * 4}))[:2] == (404, "NotFound")
        reasons = client.get("/ready", headers={"x-api-key": scope * 4}).json()["missing"]
        assert (WITHHELD not in reasons.values()) == (scope == "read")


def test_path_that_is_not_exactly_a_known_one_is_404_whatever_the_key(serve, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"ann:{ANN} predict\nbob:{BOB}\n")
    client = serve(keys_file=keys)
    known = [(next(iter(route.methods - {"HEAD"})), route.path) for route in client.app.routes]
    assert known
    for method, path in known:
        path = path.replace("{model}", "toy")
        others = [path + quote(character) for character in f"{string.whitespace}/;%"] + [f"/{path}", f"{path}/x"]
        for other in [each for each in others if each != "//"] + [path.upper()] * (path != "/"):
            for key in (ANN, BOB):
                answer = client.request(method, f"{LOCAL}{other}", headers={"x-api-key": key}, json=LABEL)
                assert error(answer)[:2] == (404, "NotFound"), other
    assert client.service.spool.stats.appended == 0


def test_either_of_two_keys_gives_access(serve, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"ann:{ANN}\n")
    client = serve(keys_file=keys)
    gateway = "c" * 32
    for headers in (
        [("authorization", f"Bearer {gateway}"), ("x-api-key", ANN)],
        [("x-api-key", gateway), ("authorization", f"Bearer {ANN}")],
        [("x-api-key", gateway), ("x-api-key", ANN)],
    ):
        assert client.get("/version", headers=headers).status_code == 200


def test_strangers_see_no_name_of_a_model(serve, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"ann:{ANN}\n")
    client = serve(keys_file=keys)
    client.service.until_connected()
    assert client.get("/ready").json() == {"ready": False, "missing": {"service": WITHHELD}}
    assert list(client.get("/ready", headers={"x-api-key": ANN}).json()["missing"]) == ["toy"]


@pytest.mark.parametrize("path", ["/version", "/ready", "/feedback", "/models/toy/invocations", "/"])
def test_without_keys_requests_for_another_host_are_421(shared, path):
    for host in ("example.org", "example.org:8090", "localhost.example.org", "testserver"):
        found = error(shared.request("POST" if "/f" in path or "/i" in path else "GET", path, headers={"host": host}))
        assert found[:2] == (421, "Misdirected")
        assert host.split(":")[0] in found[2]
        assert "KEEL_SERVING_HOSTS" in found[2]
    for host in ("localhost", "127.0.0.1:8090", "[::1]:8090", "LocalHost:1"):
        assert shared.get("/version", headers={"host": host}).status_code == 200


def test_configured_hosts_are_answered_and_no_others(serve):
    client = serve(hosts=("keel.example.org",))
    assert client.get("/version", headers={"host": "KEEL.example.org:8090"}).status_code == 200
    assert client.get("/version", headers={"host": "example.org"}).status_code == 421
    assert client.get("/version").status_code == 200, "the local machine's names always are"
