"""Keel on Airflow's own processes: schedules, assets, callbacks in the DAG processor, clearing a task."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from email import message_from_string, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keel.cli.standalone.stack import PROJECT, Stack
from keel.workspace import Workspace
from tests.support.airflow.tide import HISTORY, LAUNCH, happen, live

if TYPE_CHECKING:
    from keel.cli.standalone.airflow_api import AirflowApi

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODELS = PROJECT / "tests" / "dags" / "models"
ENVIRONMENT = {
    "KEEL_MODELS_FOLDER": str(MODELS),
    "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT))),  # the model's pipeline is in the tests
}
CHECK, RETRAIN = "tide.drift_check", "tide.retrain"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("processes") / "keel", environment=ENVIRONMENT) as running:
        yield running


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[AirflowApi]:
    with stack.api as client:
        client.wait_for_dags([CHECK, RETRAIN], timeout=60, check=stack.check)
        yield client


def wait_for(find: Callable[[], Any], *, timeout: float = 90) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := find()):
        assert time.monotonic() < deadline, f"nothing after {timeout} s"
        time.sleep(0.5)
    return found


def finished(api: AirflowApi, dag_id: str, run_id: str) -> str:
    return wait_for(lambda: state if (state := api.run(dag_id, run_id)["state"]) in ("success", "failed") else None)


def mails(home: Path) -> list[Any]:
    files = sorted((home / "outbox").glob("*.eml"))
    return [message_from_string(file.read_text(), policy=policy.default) for file in files]


def test_model_from_its_first_failed_check_to_its_first_alarm(stack: Stack, api: AirflowApi):
    """One test, because every step needs those before it."""
    scheduled = wait_for(lambda: [run for run in api.runs(CHECK) if run["run_type"] == "scheduled"])[0]["dag_run_id"]

    # the schedule starts a check, which fails at once without a production version, and people are notified
    assert finished(api, CHECK, scheduled) == "failed"
    [mail] = wait_for(lambda: mails(stack.home))
    assert (mail["To"], mail["Subject"]) == ("harbour@example.com", "[Keel] tide: tide.drift_check failed")
    assert "NoProductionVersion: tide has no production version" in mail.get_content()
    assert f"/dags/{CHECK}/runs/" in mail.get_content()

    # a run without a logical date and an interval trains and promotes the first version
    where = {"home": stack.home, "store_url": stack.store_url, "tracking_uri": stack.mlflow_url}
    with Workspace.open(**where, environment={}) as workspace:
        live(workspace, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)
    asked = api.trigger(RETRAIN, {"end": LAUNCH.isoformat(), "reason": "launch"})
    assert finished(api, RETRAIN, asked) == "success"
    assert api.xcom(RETRAIN, asked, "record")["outcome"] == "promoted"

    # the failed run is cleared: the same window is checked again
    api.call("POST", f"/api/v2/dags/{CHECK}/dagRuns/{scheduled}/clear", json={"dry_run": False})
    wait_for(lambda: api.run(CHECK, scheduled)["state"] != "failed")
    assert finished(api, CHECK, scheduled) == "success"
    window = api.xcom(CHECK, scheduled, "count_window")["window"]
    assert window["end"] == api.run(CHECK, scheduled)["data_interval_end"].replace("Z", "+00:00")
    assert api.xcom(CHECK, scheduled, "decide")["action"] == "raise_alert"  # no prediction has arrived

    # an alarm starts a check at once, without an interval, of the lookback before the alarm
    assets = api.get("/api/v2/assets")["assets"]
    alarm = next(asset["id"] for asset in assets if asset["uri"] == "keel://tide/alarm")
    api.call("POST", "/api/v2/assets/events", json={"asset_id": alarm, "extra": {"bound": "crossed"}})
    runs = wait_for(lambda: [run for run in api.runs(CHECK) if run["run_type"] == "asset_triggered"])
    assert runs[0]["data_interval_end"] is None
    assert finished(api, CHECK, runs[0]["dag_run_id"]) == "success"

    # the promotion updated its asset, once
    produced = api.get("/api/v2/assets/events", source_dag_id=RETRAIN)["asset_events"]
    assert [(event["uri"], event["source_task_id"]) for event in produced] == [("keel://tide/production", "promote")]
