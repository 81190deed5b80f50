"""The endpoints that read, on a Keel with two versions, through Airflow's own app."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from keel.alerts.door import observe
from keel.alerts.silences import silence
from keel.config import Kind, get_model
from keel.store.database.migrations import HEAD, VERSION_TABLE
from keel.window import now_utc
from keel.workspace import Workspace
from tests.support.alerts.observations import drift, finding, seen, told_plainly

if TYPE_CHECKING:
    from fastapi import FastAPI

READS = (
    "/models/tide/versions",
    "/models/tide/deployments",
    "/models/tide/compare?first=1&second=2",
    "/models/tide/alerts",
    "/models/tide/experiments",
    "/drift/reports?model=tide",
)
"""Of one model."""
NAMES_NO_MODEL = ("nope", "TIDE", "tide%00", "tide'--", "tide%0A", "a" * 500, "%3Cimg%20src=x%20onerror=x%3E")


def read(client: TestClient, path: str, status: int = 200) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_models_are_listed_with_and_without_a_slash(client: TestClient, served_home: Path) -> None:
    found = read(client, "/models")
    assert [each["model"] for each in found["models"]] == ["tide"]
    assert found["models"][0]["version"] == 2
    assert read(client, "/models/")["models"] == found["models"]


def test_overview_says_that_the_store_is_away_and_not_where_it_is(
    client: TestClient, served_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEL_STORE_URL", "postgresql://somebody:hunter2@127.0.0.1:1/secret")
    answer = client.get("/keel/")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "store cannot be reached" in answer.text
    assert not {word for word in ("somebody", "hunter2", "127.0.0.1", "secret") if word in answer.text}


def test_versions_are_those_of_the_ledger(client: TestClient, served_home: Path) -> None:
    found = read(client, "/models/tide/versions")["versions"]
    assert [(each["version"], each["status"], each["alias"]) for each in found] == [
        (2, "production", "production"),
        (1, "previous", "previous"),
    ]
    assert found[0]["parent"] == 1
    assert found[0]["run_id"]


def test_deployments_at_a_time_are_those_of_then(client: TestClient, served_home: Path) -> None:
    now = read(client, "/models/tide/deployments")
    assert (now["production"], now["previous"], now["changes"][0]["production"]) == (2, 1, 2)
    first, last = now["changes"][-1], now["changes"][0]
    then = read(client, f"/models/tide/deployments?at={first['since']}")
    assert (then["production"], then["previous"]) == (1, None)
    assert read(client, f"/models/tide/deployments?at={last['since']}")["production"] == 2
    assert read(client, "/models/tide/deployments?at=1999-01-01") == {
        **then,
        "at": "1999-01-01T00:00:00Z",
        "production": None,
        "changes": [],
    }


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("production", "previous"), ("2", "1")])
def test_comparison_is_found_by_numbers_and_aliases(
    client: TestClient, served_home: Path, first: str, second: str
) -> None:
    found = read(client, f"/models/tide/compare?first={first}&second={second}")
    assert found["verdict"] == found["comparison"]["verdict"]
    assert {found["comparison"]["champion"], found["comparison"]["challenger"]} == {1, 2}
    report = read(client, f"/drift/reports/{found['report_id']}")
    assert report["kind"] == "comparison"


def test_reports_of_all_pages_are_all_reports(client: TestClient, served_home: Path) -> None:
    pages, path = [], "/drift/reports?limit=2"
    while path:
        page = read(client, path)
        pages += page["reports"]
        path = page["next_before"] and f"/drift/reports?limit=2&before={page['next_before']}"
    with Workspace.open(home=served_home) as ws:
        stored = ws.store.reports.list("tide", limit=None)
    assert [each["report_id"] for each in pages] == [each["report_id"] for each in stored]
    assert len(pages) > 2
    one = stored[0]
    assert read(client, f"/drift/reports/{one['report_id']}")["body"] == one["body"]
    of_kind = read(client, f"/drift/reports?kind={one['kind']}&model=tide&version={one['version']}")["reports"]
    expected = [each for each in stored if (each["kind"], each["version"]) == (one["kind"], one["version"])]
    assert [each["report_id"] for each in of_kind] == [each["report_id"] for each in expected]
    ended = next(each for each in stored if each["window_end"])["window_end"].isoformat().replace("+", "%2B")
    inside = read(client, f"/drift/reports?since={ended}&until={ended}")["reports"]
    assert {each["window_end"] for each in inside} == {ended.replace("%2B00:00", "Z")}


def test_alerts_have_the_silence_that_covers_them(client: TestClient, served_home: Path) -> None:
    now = now_utc()
    config = get_model("tide")
    with Workspace.open(home=served_home) as ws:
        found = [finding(Kind.PERFORMANCE), drift("wind")]
        observe(ws, config, seen(*found, model="tide", at=now), told_plainly, now=now)
        until = now + timedelta(days=1)
        quiet = silence(ws, "tide", kind=Kind.DATA_DRIFT, until=until, reason="known", actor="ann", now=now)
    answer = read(client, "/models/tide/alerts")
    by_kind = {each["kind"]: each for each in answer["alerts"]}
    assert by_kind.keys() == {"performance", "data_drift"}
    assert by_kind["data_drift"]["subject"] == "wind"
    assert by_kind["data_drift"]["silenced_by"] == quiet.silence_id
    assert by_kind["performance"]["silenced_by"] is None
    assert [(each["silence_id"], each["actor"], each["reason"]) for each in answer["silences"]] == [
        (quiet.silence_id, "ann", "known")
    ]
    assert len(read(client, "/models/tide/alerts?state=all&limit=1")["alerts"]) == 1
    assert client.get("/keel/models/tide").text.count(", silenced") == 1


@pytest.mark.parametrize("name", NAMES_NO_MODEL)
@pytest.mark.parametrize("path", READS)
def test_no_models_name_is_not_found_and_repeated_as_text(
    client: TestClient, served_home: Path, path: str, name: str
) -> None:
    answer = client.get(path.replace("tide", name))
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0].keys() == {"field", "message", "remedy"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/tide/compare?first=1&second=99999999999999999999", 404),
        ("/models/tide/compare?first=1&second=7", 404),
        ("/models/tide/compare?first=1&second=staging", 404),
        ("/models/tide/compare?first=1&second=2&report=other", 404),
        ("/models/tide/compare?first=1", 422),
        ("/models/tide/deployments?at=2013-02-30", 422),
        ("/models/tide/deployments?at=tomorrow", 422),
        ("/models/tide/alerts?state=closed", 422),
        ("/drift/reports?limit=0", 422),
        ("/drift/reports?before=drift-unknown", 404),
        ("/drift/reports?version=1e3", 422),
        ("/drift/reports?version=99999999999999999999", 422),
        ("/drift/reports/drift-unknown", 404),
        ("/drift/reports/%00", 422),
        ("/drift/nothing", 404),
    ],
)
def test_bad_request_has_its_status_and_names_the_field(
    client: TestClient, served_home: Path, path: str, status: int
) -> None:
    found = read(client, path, status)
    assert found["status"] == status
    assert "Traceback" not in found["detail"]
    if status == 422:
        assert all(each["field"] and each["message"] and each["remedy"] for each in found["errors"])


@pytest.mark.parametrize("at", ["2013-05-01T00:00:00Z", "2013-05-01t00:00:00z", "2013-05-01", "20130501"])
def test_any_time_of_iso_8601_is_read(client: TestClient, served_home: Path, at: str) -> None:
    found = read(client, f"/models/tide/deployments?at={at}")
    assert (found["at"], found["production"]) == ("2013-05-01T00:00:00Z", None)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "1969-12-31", "2201-01-01"])
def test_time_that_nothing_stored_can_have_is_refused(client: TestClient, served_home: Path, at: str) -> None:
    (wrong,) = read(client, f"/models/tide/deployments?at={at}", 422)["errors"]
    assert wrong["field"] == "at"
    assert "1970" in wrong["message"]


def test_wrong_method_is_refused(client: TestClient, served_home: Path) -> None:
    answer = client.delete("/drift/reports")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/models", "/drift/reports", *READS, "/drift/reports/drift-1"])
def test_who_may_not_read_a_model_learns_nothing_of_it(
    client: TestClient, served_home: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    deny(monkeypatch, "tide.drift_check")
    answer = client.get(path)
    if path in ("/models", "/drift/reports"):
        assert answer.json().get("models", answer.json().get("reports")) == []
    elif path.startswith("/drift/reports/"):
        assert answer.status_code == 404
    else:
        assert (answer.status_code, answer.json()["title"]) == (403, "Not permitted")


def test_report_of_a_model_that_may_not_be_read_is_as_one_that_does_not_exist(
    client: TestClient, served_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read(client, "/drift/reports?limit=1")["reports"][0]["report_id"]
    deny(monkeypatch, "tide.drift_check")
    found, missing = (read(client, f"/drift/reports/{each}", 404) for each in (known, "drift-unknown"))
    for each, name in ((found, known), (missing, "drift-unknown")):
        each["detail"], each["instance"] = each["detail"].replace(name, "X"), each["instance"].replace(name, "X")
    assert found == missing


def deny(monkeypatch: pytest.MonkeyPatch, dag_id: str) -> None:
    """Let the auth manager refuse everybody one DAG, as one with permissions by DAG does."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    asked = SimpleAuthManager.is_authorized_dag

    def is_authorized_dag(self: Any, *, details: Any = None, **rest: Any) -> bool:
        return details.id != dag_id and asked(self, details=details, **rest)

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized_dag)


def test_store_that_is_down_is_503_and_the_next_request_tries_again(
    client: TestClient, served_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keel_airflow.web import installation

    monkeypatch.setattr(installation, "REPEAT", 0.0)
    monkeypatch.setenv("KEEL_STORE_URL", "postgresql://keel:secret@127.0.0.1:1/keel")
    began = time.monotonic()
    for path in ("/models", *READS, "/drift/reports/drift-1"):
        answer = client.get(path)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert "secret" not in answer.text
    assert time.monotonic() - began < 30
    monkeypatch.delenv("KEEL_STORE_URL")
    assert read(client, "/models")["models"][0]["error"] is None


@pytest.mark.parametrize("revision", [None, "0009"])
def test_store_that_is_not_prepared_is_503_and_stays_as_it_is(
    client: TestClient,
    new_keel_home: Path,
    no_connections: None,
    fresh_installation: None,
    monkeypatch: pytest.MonkeyPatch,
    revision: str | None,
) -> None:
    from keel_airflow.web import installation

    monkeypatch.setattr(installation, "REPEAT", 0.0)

    def state() -> str | None:
        with closing(sqlite3.connect(new_keel_home / "keel.db")) as connection:
            return str(connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0])

    if revision is not None:
        Workspace.open(home=new_keel_home).store.close()
        with closing(sqlite3.connect(new_keel_home / "keel.db")) as connection, connection:
            connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", [revision])
    for path in ("/models", "/models/tide/alerts", "/keel/", "/keel/models/tide"):
        answer = client.get(path)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert "keel migrate" in answer.text
        assert str(new_keel_home) not in answer.text
    if revision is None:
        assert not new_keel_home.exists()
    else:
        assert state() == revision
        with closing(sqlite3.connect(new_keel_home / "keel.db")) as connection, connection:
            connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", [HEAD])
    Workspace.open(home=new_keel_home).store.close()
    assert read(client, "/models")["models"][0]["error"] is None


def test_store_that_another_process_holds_does_not_stop_reading(client: TestClient, served_home: Path) -> None:
    with Workspace.open(home=served_home) as ws, ws.store.begin():
        began = time.monotonic()
        for path in READS:
            read(client, path)
        assert time.monotonic() - began < 5


def test_reads_ask_no_registry(client: TestClient, served_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    for path in ("/models", *READS):
        read(client, path)


def test_invalid_configuration_is_named_and_hides_no_other_model(
    client: TestClient, served_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    from tests.dags.conftest import MODELS

    folder = tmp_path / "models"
    shutil.copytree(MODELS, folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "model.yaml").write_text("model: broken\n")
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(folder))
    found = {each["model"]: each for each in read(client, "/models")["models"]}
    assert "required key is missing" in found["broken"]["error"]
    assert found["tide"]["error"] is None
    problem = read(client, "/models/broken/versions", 409)
    assert str(tmp_path) not in problem["detail"]
    tab = client.get("/keel/dag/broken.retrain")
    assert tab.status_code == 409
    assert "required key is missing" in tab.text
    (folder / "broken" / "model.yaml").unlink()
    read(client, "/models/broken/versions", 404)


def test_caller_of_every_role_may_read(airflow_app: FastAPI, served_home: Path, token_of: Callable[..., str]) -> None:
    for role in ("viewer", "user", "op", "admin"):
        with_role = TestClient(airflow_app, headers={"Authorization": f"Bearer {token_of(role)}"})
        assert with_role.get("/models/tide/versions").status_code == 200
        by_cookie = TestClient(airflow_app, cookies={"_token": token_of(role)})
        assert by_cookie.get("/models/tide/versions").status_code == 200


def test_nothing_heavy_is_imported_for_an_answer() -> None:
    """In a process of its own: the tests of this one have imported everything."""
    import subprocess

    from tests.dags.conftest import project_environment

    code = """
import sys
from keel_airflow.web import apps
apps.drift_app(), apps.models_app(), apps.page_app()
heavy = {"mlflow", "pandas", "scipy", "sklearn", "skops", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
from keel.deployments import experiments, from_ledger
from keel.alerts import silences
from keel.reports import status
import keel.workspace, keel.store.report_listing, keel.reports.comparison.find
heavy = {"mlflow", "pandas", "scipy", "sklearn", "skops"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=project_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
