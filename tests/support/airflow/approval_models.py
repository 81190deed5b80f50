"""Four small models with different approval policies, and users who log in to Airflow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from keel.cli.standalone.airflow_api import FINISHED, AirflowApi
from keel.cli.standalone.stack import PROJECT, Stack
from tests.support.airflow.mails import text_of
from tests.support.alerts.canaries import ROUTES, connections
from tests.support.alerts.mail_servers import free_port

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

TIDE = PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml"
POLICIES = {
    "tide": {"approval": "required", "approvers": ["bob", "vera"]},
    "ebb": {"approval": "required", "approval_timeout": "30s"},
    "spring": {"approval": "second_person"},
    "neap": {"approval": "required"},
}
USERS = {"alice": "user", "bob": "user", "olga": "op", "vera": "viewer"}


@contextmanager
def harbour(folder: Path) -> Iterator[Stack]:
    """Start a stack with these models and users. Only the maintenance runs by a schedule."""
    write_models(folder / "models")
    with Stack(folder / "keel", environment=environment(folder / "models")) as stack:
        yield stack


def write_models(folder: Path) -> None:
    """Write the test model `tide` once for each policy."""
    for name, promotion in POLICIES.items():
        raw = yaml.safe_load(TIDE.read_text())
        # the live monitors see at once that the tide has turned, and would start checks beside what is tested
        raw |= {"model": name, "live": None, "promotion": {"monitor_schedule": None, **promotion}}
        raw["check"]["schedule"] = None
        if name == "tide":  # whose messages go by every channel; none of them answers
            raw["alerts"]["routes"] = ROUTES
        (folder / name).mkdir(parents=True)
        (folder / name / "model.yaml").write_text(yaml.safe_dump(raw))


def environment(models: Path) -> dict[str, str]:
    """Return the stack's settings: the models, the users, and DAGs of another owner beside Keel's."""
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    others = PROJECT / "tests" / "integration" / "others"
    bundles = [
        {"name": "dags-folder", "classpath": local, "kwargs": {}},
        {"name": "others", "classpath": local, "kwargs": {"path": str(others)}},
    ]
    return {
        **connections(free_port()),
        "KEEL_MODELS_FOLDER": str(models),
        "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT))),  # the models' pipeline is in the tests
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
            f"{user}:{role}" for user, role in {"admin": "admin", **USERS}.items()
        ),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",  # once: no DAG file changes
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",  # seconds between checks for expired requests
    }


class Person(AirflowApi):
    """A user who is logged in to Airflow's public API."""

    def __init__(self, stack: Stack, name: str) -> None:
        passwords = json.loads((stack.home / "airflow" / "passwords.json").read_text())
        super().__init__(stack.airflow_url, name, passwords[name])

    def ask(self, method: str, path: str, **request: Any) -> int:
        """Send a request, and return the status of the response."""
        return self.send(method, f"/api/v2{path}", **request).status_code

    def answer(self, dag_id: str, run_id: str, option: str) -> int:
        """Answer a run's request for approval, and return the status of the response."""
        body = {"chosen_options": [option], "params_input": {}}
        return self.ask("PATCH", f"{path_of(dag_id, run_id, 'approve')}/-1/hitlDetails", json=body)

    def question(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run's request for approval."""
        return self.get(f"/api/v2{path_of(dag_id, run_id, 'approve')}/-1/hitlDetails")

    def task(self, dag_id: str, run_id: str, task_id: str = "approve") -> dict[str, Any]:
        """Return a task instance."""
        return self.get(f"/api/v2{path_of(dag_id, run_id, task_id)}")

    def overwrite(self, dag_id: str, run_id: str, task_id: str, value: Any) -> int:
        """Overwrite a task's result, and return the status of the response."""
        path = f"{path_of(dag_id, run_id, task_id)}/xcomEntries/return_value"
        return self.ask("PATCH", path, json={"value": value, "map_index": -1})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> int:
        """Clear a task and all after it, and return the status of the response."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        return self.ask("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def finished(self, dag_id: str, run_id: str) -> str:
        """Wait until a run has ended, and return its state."""
        return wait_for(lambda: state if (state := self.run(dag_id, run_id)["state"]) in FINISHED else None)

    def error(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the error that a failed task pushed."""
        return self.xcom(dag_id, run_id, task_id, key="error")


def path_of(dag_id: str, run_id: str, task_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"


def waiting(stack: Stack, person: Person, dag_id: str, run_id: str) -> dict[str, Any]:
    """Wait until a run waits for an answer and the scheduler has recorded it, and return the waiting task.

    Airflow 3.3 takes the task for a dead one when the answer comes earlier (its issue 72716), and asks again.
    """

    def find_waiting() -> dict[str, Any] | None:
        stack.check()
        if person.ask("GET", f"/dags/{dag_id}/dagRuns/{run_id}") == 404:
            return None  # another run has not started it yet
        state = person.run(dag_id, run_id)["state"]
        assert state not in FINISHED, f"{dag_id} {run_id}: {state}, with {person.task(dag_id, run_id)['state']}"
        task = person.task(dag_id, run_id)
        if task["state"] != "awaiting_input":
            return None
        key = f"(dag_id={dag_id!r}, task_id='approve', run_id={run_id!r}, try_number={task['try_number']},"
        seen = f"Received executor event with state success for task instance TaskInstanceKey{key}"
        return task if seen in (stack.logs / "scheduler.log").read_text() else None

    return wait_for(find_waiting)


@contextmanager
def opened(stack: Stack) -> Iterator[Workspace]:
    """Open the workspace that the stack's tasks use."""
    from keel.workspace import Workspace

    where = {"home": stack.home, "store_url": stack.store_url, "tracking_uri": stack.mlflow_url}
    with Workspace.open(**where, environment={}) as workspace:
        yield workspace


def launch(workspace: Workspace, config: ModelConfig, *, challengers: int) -> None:
    """Promote a model's first version, reverse the relation in its data, and train challengers that are better.

    The last of them is staged. None of it needs approval.
    """
    from keel import rollout
    from tests.support.airflow.tide import HISTORY, HOUR, LAUNCH, TURNED, challenge, happen

    free = config.with_overrides({"promotion.approval": "auto", "promotion.approvers": []})
    asked = {"actor": "trainer", "run_id": "launch"}
    live(workspace, free, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)
    rollout.promote(workspace, free, challenge(workspace, free, LAUNCH, **asked).report_id, **asked)
    live(workspace, free, happen(LAUNCH, TURNED, relation=-3.0), LAUNCH, TURNED)
    for late in reversed(range(challengers)):
        offered = challenge(workspace, free, TURNED - late * 12 * HOUR, **asked)
        assert offered.verdict == "pass", offered.sentence
        rollout.stage(workspace, free, offered.report_id, **asked)


def live(workspace: Workspace, config: ModelConfig, rows: Any, start: Any, end: Any) -> None:
    """Predict rows with the production version, and submit their labels after the delay."""
    from keel.cli.standalone.replay import replay

    replay(workspace, config, rows, start=start, end=end)
    replay(workspace, config, rows, start=end, end=end + config.target.label_delay)


def mails(home: Path, *, about: str) -> dict[str, str]:
    """Return the messages about one model, by subject."""
    files = sorted((home / "outbox").glob("*.eml"))
    found = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    return {mail["Subject"]: text_of(mail) for mail in found if about in mail["Subject"]}


def wait_for(find: Callable[[], Any], *, timeout: float = 420) -> Any:
    """Call ``find`` until it returns something, and return that."""
    deadline = time.monotonic() + timeout
    while not (found := find()):
        assert time.monotonic() < deadline, f"nothing after {timeout} s"
        time.sleep(0.5)
    return found
