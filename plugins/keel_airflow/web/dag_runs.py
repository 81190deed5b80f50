"""Start a DAG through Airflow's public API, as the caller, and tell what becomes of the run.

Airflow checks the permission once more, and names the caller in the run, from where the name comes into the ledger.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import anyio
import httpx
from airflow.configuration import conf
from fastapi import Header, Query
from fastapi.responses import JSONResponse, Response

from keel_airflow.web import limits, problems
from keel_airflow.web.airflow_api import AirflowApi, detail_of, path_of
from keel_airflow.web.problems import Problem
from keel_airflow.web.schemas.actions import Run

if TYPE_CHECKING:
    from fastapi import Request
    from pydantic import BaseModel
    from starlette.types import Receive, Scope, Send

    from keel_airflow.web.security import Caller

log = logging.getLogger(__name__)

FINISHED = frozenset({"success", "failed"})
LONGEST_WAIT = 60
POLL_SECONDS = 1.0
MOST_WAITING = 20
"""Requests that wait for a run at once. Another is answered with 202 at once."""
RESOLVED = frozenset({"version", "challenger"})
"""Parameters that can follow from the present state, where the request did not give them."""
NOTE = "Keel: request "
"""How the note of a run begins that a request with a key has started."""
ERROR_KEY = "error"
"""Under which a failed task pushes its error (`keel_airflow.runs.ERROR_KEY`, which imports what no server needs)."""

Wait = Annotated[
    int, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for the end of the run; then the answer is 200")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]+$",
        max_length=200,
        description="the same key of the same caller starts the same run once",
    ),
]
STARTED: dict[int | str, dict[str, Any]] = {
    200: {"model": Run, "description": "The run has ended while the request waited."},
    202: {
        "model": Run,
        "description": "The run has started, or waits for its start.",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where Airflow tells how the run is."}},
    },
    **problems.documented(403, 404, 409),
}
"""The responses of a route that starts a run, for the OpenAPI document."""

Outcome = Callable[[str], str | None]
"""Returns, by run id, in a sentence what a successful run has done; None where nothing says so."""

_waiting = 0


def nothing_more() -> Mapping[str, Any]:
    """Return no further parameters."""
    return {}


@dataclass(frozen=True)
class Start:
    """A run that a request asks for, and how its client wants to be answered."""

    dag_id: str
    body: BaseModel
    """The request's."""
    asked: Mapping[str, Any]
    """Parameters of the run that follow from the request alone."""
    resolve: Callable[[], Mapping[str, Any]] = nothing_more
    """Refuses what is not possible in the present state, and returns the parameters that follow from that state. A
    request that is repeated is about the run that it has started, and asks for neither."""
    wait: int = 0
    key: str | None = None
    """The client's, of a request that it may repeat."""

    @property
    def note(self) -> str | None:
        """What the run of a request with a key is known by: the parameters do not tell an alias from a number."""
        if self.key is None:
            return None
        said = json.dumps([dict(self.asked), self.body.model_dump(mode="json")], sort_keys=True)
        return f"{NOTE}{hashlib.sha256(said.encode()).hexdigest()[:32]}"


def start(request: Request, caller: Caller, wanted: Start, outcome: Outcome) -> Response:
    """Start a run, or find the one that the same key has started, and return the answer.

    Call it from one of Keel's threads, after the permission was checked. The response waits for the run, where that is
    wanted, without a thread.

    Raises
    ------
    Problem
        409: the DAG does not exist in Airflow or cannot be imported, or the key was used for something else.
        422: Airflow refuses the parameters. 403: Airflow does not let the caller start the DAG.

    """
    api = AirflowApi(request, caller)
    dag = api.call("GET", path_of("dags", wanted.dag_id))
    if dag.status_code != httpx.codes.OK:
        raise _refused(dag, wanted.dag_id)
    run_id = _run_id(caller, wanted)
    found = _started_before(api, wanted, run_id)
    if found is None:
        conf = {**wanted.asked, **wanted.resolve()}
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf, "note": wanted.note}
        found = _made(api, wanted, run_id, body)
    run = _run(request, api, found, is_paused=dag.json()["is_paused"])
    return RunResponse(api, run, 0 if run.paused else wanted.wait, outcome)


def _made(api: AirflowApi, wanted: Start, run_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Start the run, and return it, or the one that a request with the same key has started at the same moment."""
    try:
        made = api.call("POST", path_of("dags", wanted.dag_id, "dagRuns"), body)
    except Problem:
        # Airflow answers 500 where two requests make the same run in one moment
        if found := _started_before(api, wanted, run_id):
            return found
        raise
    if made.status_code == httpx.codes.OK:
        return dict(made.json())
    if made.status_code == httpx.codes.CONFLICT and (found := _started_before(api, wanted, run_id)):
        return found
    raise _refused(made, wanted.dag_id)


def _started_before(api: AirflowApi, wanted: Start, run_id: str) -> dict[str, Any] | None:
    """Return the run that a request with the same key has started; None without one.

    Raises
    ------
    Problem
        409: that request asked for something else.

    """
    if wanted.key is None:
        return None
    response = api.call("GET", path_of("dags", wanted.dag_id, "dagRuns", run_id))
    if response.status_code == httpx.codes.NOT_FOUND:
        return None
    if response.status_code != httpx.codes.OK:
        raise _refused(response, wanted.dag_id)
    found: dict[str, Any] = response.json()
    started_with = found.get("conf") or {}
    names = wanted.asked.keys() | started_with.keys() - RESOLVED
    is_another = any(started_with.get(name) != wanted.asked.get(name) for name in names)
    if (found.get("note") or "").startswith(NOTE):  # people may have written another one
        is_another = found["note"] != wanted.note
    if is_another:
        raise Problem(
            409,
            "Not possible in the present state",
            "the same Idempotency-Key has started a run by another request: use a new key for a new request",
            errors=[problems.entry("Idempotency-Key", "was used for another request", "use a new one")],
        )
    return found


class RunResponse(Response):
    """The answer about a run: 202, or 200 once it has ended. It is sent when the run ends, or the wait does."""

    def __init__(self, api: AirflowApi, run: Run, wait: int, outcome: Outcome) -> None:
        super().__init__()
        self._api, self._run, self._wait, self._outcome = api, run, wait, outcome

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and send the answer. A client that is gone is not waited for."""
        global _waiting
        run = self._run
        if run.state not in FINISHED and self._wait and _waiting < MOST_WAITING:
            _waiting += 1
            try:
                ended = await self._ended(receive)
            finally:
                _waiting -= 1
            if ended is None:
                return
            run = ended
        if run.state in FINISHED:
            run = run.model_copy(update={"outcome": await self._told(run)})
        await _answer(run)(scope, receive, send)

    async def _ended(self, receive: Receive) -> Run | None:
        """Return the run when it has ended or the wait is over; None where the client has gone."""
        run, until = self._run, anyio.current_time() + self._wait
        while run.state not in FINISHED and (left := until - anyio.current_time()) > 0:
            with anyio.move_on_after(min(left, POLL_SECONDS)):
                while (await receive())["type"] != "http.disconnect":
                    pass
                return None
            try:
                found = await self._api.ask("GET", path_of("dags", run.dag_id, "dagRuns", run.run_id))
            except Problem as problem:
                log.warning("the run %s is not followed: %s", run.run_id, problem.detail)
                break
            if found.status_code != httpx.codes.OK:
                break
            run = run.model_copy(update={"state": found.json()["state"]})
        return run

    async def _told(self, run: Run) -> str | None:
        """Return in a sentence what a run has done, or why it has failed."""
        try:
            if run.state == "failed":
                return await _error_of(self._api, run)
            told: str | None = await limits.run(self._outcome, run.run_id)
            return told
        except Exception as error:  # the run has ended all the same, and the answer says how
            log.warning("what the run %s has done is not known: %s", run.run_id, type(error).__name__, exc_info=error)
            return None


def decision_sentence(model: str, kind: str = "request") -> Outcome:
    """Return what tells how a run of a model ended: the outcome of the decision that it stored.

    kind: what the id of the decision begins with.
    """

    def told(run_id: str) -> str | None:
        from keel_airflow.web import installation

        row = installation.workspace().store.decisions.of_run(model, run_id, kind=kind)
        if row is None:
            return None
        return str((row["outcome"] or {}).get("sentence") or row["sentence"])

    return told


async def _error_of(api: AirflowApi, run: Run) -> str | None:
    tasks = await api.ask("GET", path_of("dags", run.dag_id, "dagRuns", run.run_id, "taskInstances"))
    if tasks.status_code != httpx.codes.OK:
        return None
    for task in tasks.json()["task_instances"]:
        if task["state"] != "failed":
            continue
        path = path_of(
            "dags", run.dag_id, "dagRuns", run.run_id, "taskInstances", task["task_id"], "xcomEntries", ERROR_KEY
        )
        pushed = await api.ask("GET", f"{path}?deserialize=true&stringify=false")
        if pushed.status_code == httpx.codes.OK and pushed.json()["value"]:
            return f"{task['task_id']}: {pushed.json()['value']}"
        return f"{task['task_id']} failed: its log in Airflow says why"
    return None


def _run_id(caller: Caller, wanted: Start) -> str:
    if wanted.key is None:
        return f"manual__{datetime.now(UTC).isoformat()}_{secrets.token_hex(3)}"
    digest = hashlib.sha256("|".join((caller.name, wanted.dag_id, wanted.key)).encode()).hexdigest()
    return f"manual__keel-{digest[:32]}"


def _run(request: Request, api: AirflowApi, found: Mapping[str, Any], *, is_paused: bool) -> Run:
    dag_id, run_id = found["dag_id"], found["dag_run_id"]
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    base = base or f"{request.url.scheme}://{request.url.netloc}{api.root}"
    is_held = is_paused and found["state"] not in FINISHED
    return Run(
        dag_id=dag_id,
        run_id=run_id,
        state=found["state"],
        url=f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}",
        status_url=base + path_of("dags", dag_id, "dagRuns", run_id),
        paused=is_paused,
        message=f"the DAG {dag_id} is paused: the run starts when somebody switches it on" if is_held else None,
        outcome=None,
    )


def _answer(run: Run) -> Response:
    has_ended = run.state in FINISHED
    headers = {"Location": run.status_url, "Cache-Control": "no-store"}
    return JSONResponse(run.model_dump(mode="json"), 200 if has_ended else 202, headers)


def _refused(response: httpx.Response, dag_id: str) -> Problem:
    """Return the problem of a request that Airflow refuses."""
    status, detail = response.status_code, detail_of(response)
    if status == httpx.codes.FORBIDDEN:
        return Problem(403, "Not permitted", f"Airflow does not let you start runs of the DAG {dag_id}")
    if status == httpx.codes.NOT_FOUND:
        return Problem(
            409,
            "Not possible in the present state",
            f"Airflow has no DAG {dag_id}: a new model's DAGs appear within minutes, unless its files have an error",
        )
    if status == httpx.codes.BAD_REQUEST and "import errors" in detail:
        return Problem(409, "Not possible in the present state", detail)
    if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
        return Problem(422, problems.INVALID_TITLE, detail, errors=[problems.entry("", detail, "correct it")])
    return Problem(409, "Not possible in the present state", detail)
