"""Who gets an answer: nobody without a login, and nobody whom another site's page has sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from pydantic import BaseModel

from keel_airflow.web import apps, limits, security

if TYPE_CHECKING:
    from fastapi import FastAPI

ORIGIN = "http://testserver"


class Change(BaseModel):
    name: str = ""


@pytest.fixture(scope="module")
def acting_app(airflow_app: FastAPI) -> FastAPI:
    """An app of two endpoints behind the guards of Keel's apps."""
    router = APIRouter(route_class=limits.BoundedRoute)

    @router.post("/changes")
    def change(caller: security.CallerDep, body: Change) -> dict[str, Any]:
        return {"caller": caller.name, "may": security.may_run(caller, "tide.promote"), **caller.credentials}

    @router.get("/changes")
    def read(caller: security.CallerDep) -> dict[str, str]:
        return {"caller": caller.name}

    return apps.guarded("test", [router])


@pytest.fixture
def anybody(acting_app: FastAPI) -> TestClient:
    return TestClient(acting_app, raise_server_exceptions=False)


def routes_of_the_apps() -> Iterator[tuple[str, str, str]]:
    for prefix, app in (("/drift", apps.drift_app()), ("/models", apps.models_app()), ("/keel", apps.page_app())):
        for route in app.routes:
            for method in sorted(getattr(route, "methods", None) or ["GET"]):
                yield method, prefix, route.path  # type: ignore[attr-defined]


def test_every_route_is_closed_without_a_login(airflow_app: FastAPI) -> None:
    client = TestClient(airflow_app, raise_server_exceptions=False)
    walked = list(routes_of_the_apps())
    assert len(walked) > 8
    for method, prefix, path in walked:
        answer = client.request(method, f"{prefix}{path}")
        assert answer.status_code == 401, (method, prefix, path)
    unknown = ("/drift/no/such/path", "/models/a%0Ab/versions", "/drift/%0A", "/keel/%0A", "/drift")
    for path in (*unknown, "/models/docs", "/keel/openapi.json", "/models/openapi.json"):
        assert client.get(path).status_code == 401, path


def test_refusal_is_a_problem_that_says_how_to_log_in(anybody: TestClient) -> None:
    answer = anybody.get("/changes")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401
    assert "/auth/token" in answer.json()["detail"]


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "e30.e30.", "é"])
def test_token_that_is_none_is_refused(anybody: TestClient, token: str) -> None:
    assert anybody.get("/changes", headers={"Authorization": f"Bearer {token}".encode()}).status_code == 401
    assert anybody.get("/changes", headers={"Cookie": f"_token={token}".encode()}).status_code == 401


def test_expired_token_is_refused(anybody: TestClient, token_of: Callable[..., str]) -> None:
    expired = token_of("admin", seconds=-3600)
    answer = anybody.get("/changes", headers={"Authorization": f"Bearer {expired}"})
    assert (answer.status_code, "Expired" in answer.json()["detail"]) == (401, True)


def test_revoked_token_is_refused(anybody: TestClient, token_of: Callable[..., str]) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    token = token_of("admin")
    headers = {"Authorization": f"Bearer {token}"}
    assert anybody.get("/changes", headers=headers).status_code == 200
    get_auth_manager().revoke_token(token)
    assert anybody.get("/changes", headers=headers).status_code == 401


def test_no_body_is_read_before_the_login(anybody: TestClient) -> None:

    answer = anybody.post("/changes", content=b"{" * 100, headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, 403),
        ({"Origin": ORIGIN}, 200),
        ({"Origin": "https://testserver"}, 200),
        ({"Origin": "http://testserver.evil.example"}, 403),
        ({"Origin": "http://testserver:81"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 200),
    ],
)
def test_cookie_changes_something_only_from_a_page_of_this_airflow(
    anybody: TestClient, token_of: Callable[..., str], headers: dict[str, str], status: int
) -> None:
    answer = anybody.post("/changes", json={}, headers=headers, cookies={"_token": token_of("admin")})
    assert answer.status_code == status, answer.text
    read = anybody.get("/changes", headers=headers, cookies={"_token": token_of("admin")})
    assert read.status_code == 200, "reading changes nothing"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"])
def test_form_changes_nothing(anybody: TestClient, token_of: Callable[..., str], kind: str) -> None:
    cookies, headers = {"_token": token_of("admin")}, {"Content-Type": kind}
    assert anybody.post("/changes", content=b"{}", headers=headers, cookies=cookies).status_code == 415


def test_token_in_a_header_may_come_from_anywhere(anybody: TestClient, token_of: Callable[..., str]) -> None:
    headers = {"Authorization": f"Bearer {token_of('admin')}", "Origin": "https://portal.example"}
    assert anybody.post("/changes", json={}, headers=headers).status_code == 200


def test_login_of_everybody_is_one_that_a_browser_sends_by_itself(
    anybody: TestClient, token_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    headers = {"Authorization": f"Bearer {token_of('admin')}", "Origin": "https://portal.example"}
    assert anybody.post("/changes", json={}, headers=headers).status_code == 403


def test_caller_is_who_the_token_names_and_is_handed_on(anybody: TestClient, token_of: Callable[..., str]) -> None:
    for role, may in (("viewer", False), ("user", True), ("admin", True)):
        token = token_of(role)
        by_header = anybody.post("/changes", json={}, headers={"Authorization": f"bearer {token}"}).json()
        assert by_header == {"caller": f"{role}-person", "may": may, "Authorization": f"Bearer {token}"}
        by_cookie = anybody.post("/changes", json={}, cookies={"_token": token}).json()
        handed_on = {"Authorization": by_cookie["Authorization"]}
        assert anybody.get("/changes", headers=handed_on).json() == {"caller": f"{role}-person"}


def test_auth_manager_is_asked_about_many_models_at_once(airflow_app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    def answer(*, dag_ids: set[str], **others: Any) -> set[str]:
        asked.append(len(dag_ids))
        return dag_ids - {"hidden.drift_check"}

    asked: list[int] = []
    monkeypatch.setattr(get_auth_manager(), "filter_authorized_dag_ids", answer)
    caller = security.Caller("ann", object(), {})
    names = [*(f"m{number}" for number in range(50)), "hidden"]
    assert (security.readable(caller, names), asked) == (names[:-1], [51])
    assert security.readable(caller, []) == []


def test_header_wins_over_a_cookie_of_somebody_else(anybody: TestClient, token_of: Callable[..., str]) -> None:
    headers, cookies = {"Authorization": f"Bearer {token_of('viewer')}"}, {"_token": token_of("admin")}
    assert anybody.get("/changes", headers=headers, cookies=cookies).json() == {"caller": "viewer-person"}


def test_endpoint_without_the_guards_still_asks_who_calls(airflow_app: FastAPI) -> None:
    from fastapi import FastAPI as Plain

    from keel_airflow.web import problems

    app = Plain()
    problems.install(app)

    @app.get("/open")
    def read(caller: security.CallerDep) -> str:
        return caller.name

    assert TestClient(app).get("/open").status_code == 401
