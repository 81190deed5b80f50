"""Keel on Airflow's own processes: schedules, assets, callbacks in the DAG processor, clearing a task."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keel.cli.standalone.stack import PROJECT, Stack
from keel.workspace import Workspace
from tests.support.airflow.mails import text_of
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


def state_of(api: AirflowApi, dag_id: str, run_id: str, task_id: str) -> str:
    return next(task["state"] for task in api.task_instances(dag_id, run_id) if task["task_id"] == task_id)


def test_model_from_its_first_check_to_its_first_alarm(stack: Stack, api: AirflowApi):
    """One test, because every step needs those before it."""
    scheduled = wait_for(lambda: [run for run in api.runs(CHECK) if run["run_type"] == "scheduled"])[0]["dag_run_id"]

    # the schedule starts a check, which is skipped without a production version
    assert finished(api, CHECK, scheduled) == "success"
    assert state_of(api, CHECK, scheduled, "count_window") == "skipped"

    # the first task refuses a parameter that a person misspelt, and nobody on call is notified
    misspelt = api.trigger(RETRAIN, {"ned": LAUNCH.isoformat(), "reason": "launch"})
    assert finished(api, RETRAIN, misspelt) == "failed"
    assert "did you mean 'end'" in api.xcom(RETRAIN, misspelt, "request_retrain", key="error")

    # a training without rows fails, and people are notified by the DAG processor
    early = api.trigger(RETRAIN, {"end": LAUNCH.isoformat(), "reason": "too early"})
    assert finished(api, RETRAIN, early) == "failed"
    [mail] = wait_for(lambda: mails(stack.home))
    assert (mail["To"], mail["Subject"]) == ("harbour@example.com", "[Keel] tide: retrain failed")
    assert "InsufficientData: tide: labelled training rows" in text_of(mail)
    assert f"/dags/{RETRAIN}/runs/" in text_of(mail)

    # a run without a logical date and an interval trains and promotes the first version
    where = {"home": stack.home, "store_url": stack.store_url, "tracking_uri": stack.mlflow_url}
    with Workspace.open(**where, environment={}) as workspace:
        live(workspace, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)
    asked = api.trigger(RETRAIN, {"end": LAUNCH.isoformat(), "reason": "launch"})
    assert finished(api, RETRAIN, asked) == "success"
    assert api.xcom(RETRAIN, asked, "record")["outcome"] == "promoted"

    # the skipped run is cleared: its window is checked
    api.call("POST", f"/api/v2/dags/{CHECK}/dagRuns/{scheduled}/clear", json={"dry_run": False})
    assert finished(api, CHECK, scheduled) == "success"
    window = api.xcom(CHECK, scheduled, "count_window")["window"]
    assert window["end"] == api.run(CHECK, scheduled)["data_interval_end"].replace("Z", "+00:00")
    assert api.xcom(CHECK, scheduled, "decide")["action"] == "raise_alert"  # no prediction has arrived

    # Airflow's dialog fills a logical date, and the run gets the interval before it; its window ends now all the same
    asked_at = datetime.now(UTC)
    body = {"logical_date": (asked_at - timedelta(days=7)).isoformat(), "conf": {}}
    by_hand = api.call("POST", f"/api/v2/dags/{CHECK}/dagRuns", json=body).json()
    assert datetime.fromisoformat(by_hand["data_interval_end"]) < asked_at - timedelta(days=6)
    assert finished(api, CHECK, by_hand["dag_run_id"]) == "success"
    window = api.xcom(CHECK, by_hand["dag_run_id"], "count_window")["window"]
    assert datetime.fromisoformat(window["end"]) >= asked_at

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
