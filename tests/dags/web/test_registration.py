"""What the plugin hands to Airflow, in which processes it costs what, and what happens where it is broken."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from keel_airflow.web import registration
from tests.dags.conftest import project_environment

if TYPE_CHECKING:
    from typing import Any


def test_plugin_mounts_its_apps_and_links_its_pages(airflow_app: FastAPI) -> None:
    from airflow import plugins_manager

    mounted = {route.path for route in airflow_app.routes if hasattr(route, "app")}  # type: ignore[attr-defined]
    assert {"/drift", "/models", "/keel"} <= mounted
    assert registration.SOURCE not in plugins_manager.get_import_errors()
    plugin = next(each for each in plugins_manager.get_plugin_info() if each["name"] == "keel")
    views = {view["destination"]: view for view in plugin["external_views"]}
    assert views["nav"]["href"] == "/keel/"
    assert views["dag"]["href"] == "/keel/dag/{DAG_ID}"
    assert len({view["url_route"] for view in views.values()}) == 2


def test_links_have_the_path_below_which_airflow_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    assert [view["href"] for view in registration.external_views()] == ["/airflow/keel/", "/airflow/keel/dag/{DAG_ID}"]


@pytest.mark.parametrize("missing", ["keel_airflow.web.routes.reports", "keel_airflow.web.security"])
def test_import_error_closes_every_path_and_is_named(
    airflow_app: FastAPI, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    from airflow import plugins_manager

    for name in [name for name in sys.modules if name.startswith(("keel_airflow.web.routes", "keel_airflow.web.apps"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(plugins_manager.get_import_errors(), registration.SOURCE, "")
    apps: list[dict[str, Any]] = registration.fastapi_apps()
    assert [each["url_prefix"] for each in apps] == ["/drift", "/models", "/keel"]
    whole = FastAPI()
    for each in apps:
        whole.mount(each["url_prefix"], each["app"])
    client = TestClient(whole)
    for path in ("/drift/reports", "/models/tide/versions", "/keel/", "/keel/openapi.json"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["status"]) == (503, 503)
        assert missing not in answer.text
    assert missing in plugins_manager.get_import_errors()[registration.SOURCE]


def test_processes_that_serve_nothing_import_none_of_it() -> None:
    code = """
import sys
sys.path.append(sys.argv[1])
import airflow.plugins_manager
before = set(sys.modules)
import keel_plugin
plugin = keel_plugin.KeelPlugin()
plugin.validate()
loaded = {name for name in set(sys.modules) - before if not name.startswith(("keel_plugin", "keel_airflow"))}
assert not loaded & {"fastapi", "starlette", "pydantic", "sqlalchemy"}, loaded
assert "keel_airflow.web.apps" not in sys.modules
assert not {"mlflow", "pandas", "scipy", "sklearn", "pyarrow"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, project_environment()["PYTHONPATH"].split(":")[1]],
        env=project_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
