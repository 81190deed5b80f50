"""A small client of Airflow's public REST API (v2), to trigger DAG runs and follow them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any, Self

import httpx

from keel.errors import KeelError

FINISHED = frozenset({"success", "failed"})
"""Final states of a DAG run."""

_ATTEMPTS = 6
_BACKOFF_SECONDS = 0.25
_TRANSIENT = frozenset({429, 500, 502, 503, 504})


class AirflowUnavailable(KeelError):
    """Airflow cannot be reached or keeps failing; the message names its URL and its last response."""

    exit_code = 3
    permanent = False


class AirflowRefused(KeelError):
    """Airflow rejected a request, such as one for an unknown DAG."""

    exit_code = 2


class AirflowApi:
    """A client of one Airflow, logged in as one user; it fetches its token on first use and renews an expired one.

    It retries transient errors for about eight seconds. Retrying a trigger is safe, because the run id is chosen
    before the first attempt.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = {"username": username, "password": password}
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False, transport=transport)
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def health(self) -> dict[str, Any]:
        """Return the status of each component: ``{"metadatabase": {"status": …}, "scheduler": …, …}``."""
        return self.get("/api/v2/monitor/health")

    def dag_ids(self) -> list[str]:
        """Return the ids of all parsed DAGs, paused or not."""
        return [dag["dag_id"] for dag in self._list("/api/v2/dags", "dags")]

    def import_errors(self) -> dict[str, str]:
        """Return ``{file: traceback}`` of the DAG files that could not be imported."""
        found = self._list("/api/v2/importErrors", "import_errors")
        return {item["filename"]: item["stack_trace"] for item in found}

    def wait_for_dags(
        self, dag_ids: Collection[str], *, timeout: float, check: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until Airflow has parsed all of ``dag_ids``.

        Parameters
        ----------
        dag_ids : collection of str
            Ids of the DAGs.
        timeout : float
            Seconds to wait at most.
        check : callable
            Called while waiting; it may raise to end the wait.

        Raises
        ------
        AirflowUnavailable
            After the timeout; quotes the import errors of all files.
        AirflowRefused
            As soon as the file ``<kind>.py`` of a missing DAG ``<model>.<kind>`` has an import error; quotes the
            traceback. Other files' errors, such as that of an invalid model.yaml, concern other DAGs.

        """
        deadline = time.monotonic() + timeout
        while missing := sorted(set(dag_ids) - set(self.dag_ids())):
            check()
            errors = {
                file: f"{file} cannot be imported:\n{trace}" for file, trace in sorted(self.import_errors().items())
            }
            kinds = {dag_id.rpartition(".")[2] for dag_id in missing}
            if own := [error for file, error in errors.items() if PurePath(file).stem in kinds]:
                raise AirflowRefused("\n".join(own))
            if time.monotonic() > deadline:
                late = f"{self.url}: {', '.join(missing)} not parsed within {timeout:.0f} s"
                raise AirflowUnavailable("\n".join([late, *errors.values()]))
            self._sleep(0.5)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Stop the scheduler from starting tasks of the DAG."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": True})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, *, run_id: str | None = None) -> str:
        """Start a run with ``conf`` as its parameters and return the run id."""
        run_id = run_id or f"manual__{datetime.now(UTC).isoformat()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        response = self.send("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        if response.status_code != httpx.codes.CONFLICT:  # an attempt whose response was lost has started the run
            _raise_for(response)
        return run_id

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run; its ``state`` is queued, running, success or failed."""
        return self.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return all runs of the DAG, oldest first."""
        return self._list(f"/api/v2/dags/{dag_id}/dagRuns", "dag_runs", order_by="run_after")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's task instances: ``task_id``, ``state``, ``start_date``, ``duration`` and more."""
        return self._list(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value") -> Any:
        """Return a task's XCom, or None if the task pushed none: it was skipped or has not run."""
        response = self.send(
            "GET",
            f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}",
            params={"deserialize": "true", "stringify": "false"},
        )
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        _raise_for(response)
        return response.json()["value"]

    def pools(self) -> dict[str, int]:
        """Return the number of slots of each pool, by name."""
        return {pool["name"]: pool["slots"] for pool in self._list("/api/v2/pools", "pools")}

    def ensure_pool(self, name: str, *, slots: int, description: str = "") -> None:
        """Create a pool unless it exists."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        response = self.send("POST", "/api/v2/pools", json=body)
        if response.status_code != httpx.codes.CONFLICT:
            _raise_for(response)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """Return the JSON object at a path."""
        return dict(self.call("GET", path, params=params).json())

    def _list(self, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(path, limit=100, offset=len(found), **params)
            found.extend(page[key])
            if len(found) >= page["total_entries"] or not page[key]:
                return found

    def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request, and return its response; an error status raises."""
        response = self.send(method, path, **kwargs)
        _raise_for(response)
        return response

    def send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Return the first response that is not transient; log in first, and again after 401."""
        if "Authorization" not in self._client.headers:
            self._log_in()
        response = self._attempt(method, path, **kwargs)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._log_in()
            response = self._attempt(method, path, **kwargs)
        return response

    def _log_in(self) -> None:
        self._client.headers.pop("Authorization", None)
        response = self._attempt("POST", "/auth/token", json=self._credentials)
        _raise_for(response)
        self._client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def _attempt(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(_BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                response = self._client.request(method, path, **kwargs)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code not in _TRANSIENT:
                return response
            problem = f"{response.status_code} {response.text[:300]}"
        raise AirflowUnavailable(f"{self.url}: {method} {path} failed {_ATTEMPTS} times, last with {problem}")


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        detail = response.json().get("detail", response.text)
    except ValueError:
        detail = response.text
    request = response.request
    raise AirflowRefused(
        f"{request.method} {request.url.path} was rejected: {response.status_code} {str(detail)[:500]}"
    )
