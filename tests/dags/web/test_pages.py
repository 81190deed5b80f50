"""The pages without a browser: what is asked, what is allowed, what an error looks like."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from keel.errors import StoreUnavailable
from keel.reports import check
from keel.window import Window
from keel_airflow.web import computing, installation
from keel_airflow.web.page.static_files import static_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

MARKUP = "<img src=x onerror=alert(1)>"


def policy_of(answer: Any) -> dict[str, str]:
    return dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))


@pytest.mark.parametrize("path", ["/", "/models/tide", "/dag/tide.promote", "/dag/keel.alerts"])
def test_page_is_whole_and_asks_for_nothing_but_its_own(served_home: Path, client: TestClient, path: str) -> None:
    answer = client.get(f"/keel{path}")
    assert answer.status_code == 200
    assert answer.text.count("<main") == answer.text.count("</main>") == 1
    addresses = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert all(each.startswith(("/", "#")) for each in addresses)
    for file in {each.partition("?")[0] for each in addresses if "/static/" in each}:
        assert client.get(file).status_code == 200
    policy = policy_of(answer)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["frame-ancestors"] == "'self'"
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", answer.text)
    assert answer.headers["Cache-Control"] == "no-store"


def test_only_who_may_run_a_dag_gets_its_button(
    served_home: Path, airflow_app: FastAPI, token_of: Callable[..., str], client: TestClient
) -> None:
    operator = TestClient(airflow_app, headers={"Authorization": f"Bearer {token_of('op')}"})
    assert "data-action=" not in client.get("/keel/models/tide").text
    assert "data-action=" in operator.get("/keel/models/tide").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/models/{MARKUP}", 404),
        (f"/dag/{MARKUP}.drift_check", 404),
        (f"/models/tide/columns/{MARKUP}", 404),
        (f"/models/tide/checks?window={MARKUP}", 422),
        ("/models/tide/checks?window=2030-01-01/2030-01-02", 404),
        (f"/reports/{MARKUP}", 422),
        ("/reports/none", 404),
        ("/static/../page.css", 404),
        (f"/static/{MARKUP}", 404),
        ("/none", 404),
    ],
)
def test_an_error_is_a_page_that_shows_no_markup(
    served_home: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    monkeypatch.setattr(computing, "ask", lambda *_: pytest.fail("nothing is to be computed"))
    answer = client.get(f"/keel{path}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<img" not in answer.text
    assert "<h1>" in answer.text
    assert "Traceback" not in answer.text


def test_without_a_login_the_page_leads_to_it_and_back(airflow_app: FastAPI) -> None:
    answer = TestClient(airflow_app).get("/keel/models/tide?x=%22%3E")
    assert answer.status_code == 401
    assert '<a href="/auth/login?next=%2Fkeel%2Fmodels%2Ftide%3Fx%3D%2522%253E">' in answer.text
    assert policy_of(answer)["style-src"].startswith("'self' 'sha256-")
    assert TestClient(airflow_app).get("/keel/openapi.json").headers["Content-Type"] == "application/problem+json"


def test_address_without_a_slash_leads_to_the_page_with_its_query(client: TestClient) -> None:
    for query in ("", "?a=%3F%26&b=1"):
        answer = client.get(f"/keel{query}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, f"/keel/{query}")


def test_store_that_is_down_is_a_page_that_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(installation, "workspace", fails)
    for path in ("/", "/models/tide", "/models/tide/checks"):
        answer = client.get(f"/keel{path}")
        assert answer.status_code == 503, path
        assert "does not answer" in answer.text


@pytest.fixture
def checked(served_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that was checked."""
    window = Window(datetime(2024, 3, 12, tzinfo=UTC), datetime(2024, 3, 13, tzinfo=UTC))
    monkeypatch.setattr(check, "find_check", lambda *_: (2, window))


def test_page_of_a_check_says_that_it_comes_before_it_does(
    checked: None, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def answer_to(question: str, arguments: Any) -> dict[str, str]:
        asked.append((question, dict(arguments)))
        return {"content": "<main>made</main>"}

    monkeypatch.setattr(computing, "ask", answer_to)
    text = client.get("/keel/models/tide/checks").text
    assert text.index("waiting") < text.index("<main>made</main>")
    ((question, arguments),) = asked
    assert question == "page"
    window = "2024-03-12T00:00Z/2024-03-13T00:00Z"
    assert arguments == {"model": "tide", "version": 2, "window": window, "column": None, "root": "/keel"}


def test_page_that_cannot_be_made_says_why(checked: None, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(question: str, arguments: Any) -> dict[str, str]:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(computing, "ask", fails)
    text = client.get("/keel/models/tide/checks").text
    assert "does not answer" in text
    assert text.rstrip().endswith("</html>")


def test_files_are_all_there_and_kept_by_browsers(client: TestClient) -> None:
    for name, file in static_files().items():
        answer = client.get(f"/keel/static/{name}")
        assert answer.content == file.content
        assert answer.headers["Content-Type"].startswith(file.media_type)
        assert "private" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
