"""The client of Airflow's API: retries, refusals and messages. tests/integration/test_stack.py has the real server."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from keel.cli.standalone.airflow_api import AirflowApi, AirflowRefused, AirflowUnavailable

Handler = Callable[[httpx.Request], httpx.Response]


def api_answering(handler: Handler, waits: list[float] | None = None) -> AirflowApi:
    def with_login(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "first"})
        return handler(request)

    sleep = (waits if waits is not None else []).append
    return AirflowApi("http://airflow/", "admin", "secret", transport=httpx.MockTransport(with_login), sleep=sleep)


def test_transient_errors_are_retried_with_growing_delays() -> None:
    answers = [httpx.Response(503), httpx.Response(502), httpx.Response(200, json={"state": "running"})]
    waits: list[float] = []
    with api_answering(lambda _: answers.pop(0), waits) as api:
        assert api.run("m.drift_check", "r1") == {"state": "running"}
    assert waits == [0.25, 0.5]


def test_an_unreachable_server_is_named_with_its_last_response() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with api_answering(refuse) as api, pytest.raises(AirflowUnavailable, match=r"http://airflow: GET .* refused") as e:
        api.health()
    assert e.value.exit_code == 3
    assert "secret" not in str(e.value)


def test_an_expired_token_is_renewed_once() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(401 if len(seen) == 1 else 200, json={})

    with api_answering(answer) as api:
        api.health()
    assert len(seen) == 2


def test_a_wrong_password_is_refused_with_the_reason() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json={"detail": "Invalid credentials"}))
    with (
        AirflowApi("http://airflow", "admin", "wrong", transport=transport) as api,
        pytest.raises(AirflowRefused, match="401 Invalid credentials"),
    ):
        api.dag_ids()


def test_an_unknown_dag_is_refused_with_airflows_reason() -> None:
    with (
        api_answering(lambda _: httpx.Response(404, json={"detail": "The Dag with ID: `x` was not found"})) as api,
        pytest.raises(AirflowRefused, match="404 The Dag with ID: `x` was not found") as caught,
    ):
        api.trigger("x")
    assert caught.value.exit_code == 2


def test_trigger_sends_no_logical_date_and_repeated_starts_one_run() -> None:
    bodies = []
    answers = [httpx.Response(502), httpx.Response(409, json={"detail": "exists"})]

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return answers.pop(0)

    with api_answering(answer) as api:
        run_id = api.trigger("m.retrain", {"reason": "test"})
    assert bodies[0] == bodies[1] == {"dag_run_id": run_id, "logical_date": None, "conf": {"reason": "test"}}


def test_lists_are_read_to_their_last_page() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        found = [{"dag_id": f"d{n}"} for n in range(offset, min(offset + 100, 230))]
        return httpx.Response(200, json={"dags": found, "total_entries": 230})

    with api_answering(page) as api:
        assert len(api.dag_ids()) == 230


def test_xcom_of_a_skipped_task_is_none() -> None:
    with api_answering(lambda _: httpx.Response(404, json={"detail": "XCom entry not found"})) as api:
        assert api.xcom("m.drift_check", "r1", "promote") is None


def test_wait_for_dags_raises_the_import_error() -> None:
    errors = [{"filename": "drift_check.py", "stack_trace": "SyntaxError: invalid syntax"}]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/dags"):
            return httpx.Response(200, json={"dags": [], "total_entries": 0})
        return httpx.Response(200, json={"import_errors": errors, "total_entries": 1})

    with api_answering(answer) as api, pytest.raises(AirflowRefused, match="drift_check.py .*\nSyntaxError"):
        api.wait_for_dags(["m.drift_check"], timeout=60)


def test_wait_for_dags_waits_on_although_another_file_cannot_be_imported() -> None:
    """One team's invalid model.yaml is an import error of model_configuration.py; the DAGs of the others appear."""
    parsed: list[dict[str, str]] = []
    errors = [{"filename": "dags/model_configuration.py", "stack_trace": "ConfigError: mast/model.yaml: drfit"}]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/dags"):
            found, parsed[:] = list(parsed), [{"dag_id": "m.drift_check"}]
            return httpx.Response(200, json={"dags": found, "total_entries": len(found)})
        return httpx.Response(200, json={"import_errors": errors, "total_entries": 1})

    with api_answering(answer) as api:
        api.wait_for_dags(["m.drift_check"], timeout=60)
        with pytest.raises(AirflowUnavailable, match=r"n.drift_check not parsed(.|\n)*mast/model.yaml: drfit"):
            api.wait_for_dags(["n.drift_check"], timeout=0)


def test_wait_for_dags_ends_after_the_timeout_and_calls_the_check() -> None:
    def nothing(request: httpx.Request) -> httpx.Response:
        key = "dags" if request.url.path.endswith("/dags") else "import_errors"
        return httpx.Response(200, json={key: [], "total_entries": 0})

    with api_answering(nothing) as api:
        with pytest.raises(AirflowUnavailable, match="a, b not parsed within 0 s"):
            api.wait_for_dags(["b", "a"], timeout=0)

        def dead() -> None:
            raise RuntimeError("the scheduler ended")

        with pytest.raises(RuntimeError, match="scheduler ended"):
            api.wait_for_dags(["a"], timeout=60, check=dead)
