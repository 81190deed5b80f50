"""The OpenAPI document: that which is committed, for all routes, and answers are as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from keel_airflow.web import apps, openapi
from tests.support.paths import PROJECT

COMMITTED = PROJECT / "docs" / "openapi.json"


def test_committed_document_is_what_the_routes_say() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == openapi.text(), (
        f"run: PYTHONPATH=include:plugins python -m keel_airflow.web.openapi {COMMITTED.relative_to(PROJECT)}"
    )


def test_check_of_another_file_fails(tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text("{}")
    assert openapi.main([str(tmp_path / "openapi.json"), "--check"]) == 1
    assert openapi.main([str(tmp_path / "openapi.json")]) == 0
    assert openapi.main(["--check", str(tmp_path / "openapi.json")]) == 0


def test_every_route_is_documented_with_what_it_can_answer() -> None:
    document = openapi.document()
    operations = {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    routes = {
        (method, f"{prefix}{route.path}".rstrip("/"))
        for prefix, app in (("/drift", apps.drift_app()), ("/models", apps.models_app()))
        for route in app.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert operations.keys() == routes
    for operation in operations.values():
        assert {"401", "403", "422", "503"} <= operation["responses"].keys()
        for status, response in operation["responses"].items():
            kinds = {"application/json"} if status < "300" else {"application/problem+json"}
            assert set(response["content"]) == kinds
        assert operation["description"]
    identities = [operation["operationId"] for operation in operations.values()]
    assert len(set(identities)) == len(identities)


def test_times_of_answers_are_times_to_a_client_that_is_generated() -> None:
    of = openapi.document()["components"]["schemas"]
    assert of["Silence"]["properties"]["until"]["format"] == "date-time"
    assert of["ReportSummary"]["properties"]["window_end"]["anyOf"][0]["format"] == "date-time"


def test_references_of_the_document_resolve() -> None:
    document = openapi.document()
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= document["components"]["schemas"].keys()


def test_document_is_served_with_the_address_of_this_airflow(client: TestClient) -> None:
    served = client.get("/keel/openapi.json").json()
    assert served == {**openapi.document(), "servers": [{"url": "/"}]}
    below = TestClient(client.app, root_path="/airflow", headers=dict(client.headers))
    assert below.get("/airflow/keel/openapi.json").json()["servers"] == [{"url": "/airflow"}]


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/models", "/models"),
        ("/models/tide/versions", "/models/{model}/versions"),
        ("/models/tide/deployments", "/models/{model}/deployments"),
        ("/models/tide/compare?first=1&second=2", "/models/{model}/compare"),
        ("/models/tide/alerts?state=all", "/models/{model}/alerts"),
        ("/models/tide/experiments", "/models/{model}/experiments"),
        ("/drift/reports", "/drift/reports"),
        ("/drift/reports?limit=0", "/drift/reports"),
        ("/models/none/alerts", "/models/{model}/alerts"),
    ],
)
def test_answer_is_as_the_document_says(client: TestClient, served_home: Path, path: str, template: str) -> None:
    document = openapi.document()
    answer = client.get(path)
    response: dict[str, Any] = document["paths"][template]["get"]["responses"][str(answer.status_code)]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = {**response["content"][media_type]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(answer.json())
