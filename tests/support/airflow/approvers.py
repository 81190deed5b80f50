"""Answers through Airflow's real public API, with its login and permissions, in this process."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


@functools.cache
def api() -> TestClient:
    """Airflow's API server."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    return TestClient(create_app(apps="core"))


def ask(method: str, path: str, *, user: str | None, role: str = "USER", **request: Any) -> Any:
    """Send a request to the public API as a logged-in user, or without a login."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    server, headers = api(), {}
    if user:
        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role=role))
        headers = {"Authorization": f"Bearer {token}"}
    return server.request(method, f"/api/v2{path}", headers=headers, **request)


def of_task(waiting: TaskInstance) -> str:
    """Return the path of a task instance."""
    return f"/dags/{waiting.dag_id}/dagRuns/{waiting.run_id}/taskInstances/{waiting.task_id}"


def question(waiting: TaskInstance) -> dict[str, Any]:
    """Return a task's request for approval."""
    return ask("GET", f"{of_task(waiting)}/-1/hitlDetails", user="anybody", role="VIEWER").json()


def answer(waiting: TaskInstance, option: str, *, user: str | None, role: str = "USER") -> int:
    """Answer, and return the status of the response."""
    body = {"chosen_options": [option], "params_input": {}}
    return ask("PATCH", f"{of_task(waiting)}/-1/hitlDetails", user=user, role=role, json=body).status_code


def let_expire(waiting: TaskInstance) -> None:
    """Let the request for approval expire, and let the scheduler handle that."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    with create_session() as session:
        parked = session.get(TaskInstance, waiting.id)
        parked.trigger_timeout -= timedelta(days=365)
    SchedulerJobRunner(job=Job()).check_awaiting_input_timeouts()


def a_task_answers(waiting: TaskInstance, option: str) -> None:
    """Answer as the code of a task can: by the API for tasks, which has no users."""
    from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor

    client = InProcessTestSupervisor._api_client()
    client.hitl.update_response(ti_id=waiting.id, chosen_options=[option], params_input={})
    let_expire(waiting)  # an answer without a user resumes the task only now
