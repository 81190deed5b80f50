"""The stack on SQLite: real Airflow and MLflow, started as by ``keel demo``; no process survives its parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from keel.cli.standalone.airflow_api import AirflowApi
from keel.cli.standalone.process import LOOPBACK, PartFailed
from keel.cli.standalone.stack import AIRFLOW_PORT, TRAINING_POOL, Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HOLDER = """
import json, sys
from keel.cli.standalone.stack import Stack
with Stack(sys.argv[1], serving=True) as stack:
    where = {"airflow": stack.airflow_url, "mlflow": stack.mlflow_url, "serving": stack.serving_url,
             "password": stack.password}
    print(json.dumps(where), flush=True)
    sys.stdin.read()
"""
"""A program of its own, which the tests can kill."""
STOP_SECONDS = 40

Start = Callable[[Path], tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    holders = []

    def begin(home: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KEEL_", "MLFLOW_"))}
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "KEEL__CHECK__SCHEDULE": "null"},  # no DAG runs here
        )
        holders.append(holder)
        assert holder.stdout is not None
        line = holder.stdout.readline()
        assert line, holder.communicate(timeout=60)[1]
        return holder, json.loads(line)

    yield begin
    for holder in holders:
        holder.kill()
        holder.communicate()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "home"


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    """Airflow's default port, in use by another process."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((LOOPBACK, AIRFLOW_PORT))
            server.listen()
        except OSError:
            pass  # in use already
        yield AIRFLOW_PORT


@pytest.fixture(scope="module")
def running(start: Start, home: Path, taken_port: int) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    return start(home)


@pytest.fixture
def api(running: tuple[subprocess.Popen[str], dict[str, Any]]) -> Iterator[AirflowApi]:
    _, where = running
    with AirflowApi(where["airflow"], "admin", where["password"]) as client:
        yield client


def test_every_part_is_healthy(api: AirflowApi, running: tuple[object, dict[str, Any]]) -> None:
    assert {part["status"] for part in api.health().values() if part} == {"healthy"}
    for part in ("mlflow", "serving"):
        assert httpx.get(f"{running[1][part]}/health", trust_env=False).status_code == 200


def test_a_port_in_use_is_avoided(api: AirflowApi, taken_port: int) -> None:
    assert not api.url.endswith(f":{taken_port}")


def test_airflow_has_the_dags_of_every_model_without_import_errors(api: AirflowApi) -> None:
    api.wait_for_dags(["flight_delay.drift_check", "flight_delay.retrain"], timeout=90)
    assert api.import_errors() == {}


def test_the_training_pool_exists(api: AirflowApi) -> None:
    assert api.pools()[TRAINING_POOL] == 1


def test_a_second_stack_on_the_same_folder_is_refused(running: object, home: Path) -> None:
    with pytest.raises(PartFailed, match="is in use by another stack"), Stack(home):
        pytest.fail("it must not start")


def test_a_wrong_password_does_not_open_the_api(running: tuple[object, dict[str, Any]]) -> None:
    url = running[1]["airflow"]
    assert httpx.get(f"{url}/api/v2/dags", trust_env=False).status_code == 401
    answer = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": "admin"}, trust_env=False)
    assert answer.status_code == 401


def test_the_service_needs_no_key_and_reports_the_missing_version(running: tuple[object, dict[str, Any]]) -> None:
    url = running[1]["serving"]
    asked = httpx.post(f"{url}/models/flight_delay/invocations", json={"dataframe_records": [{}]}, trust_env=False)
    assert (asked.status_code, asked.json()["kind"]) == (503, "NoProductionVersion")


def test_every_server_listens_on_the_loopback_address_only(running: tuple[subprocess.Popen[str], object]) -> None:
    listening = [
        connection.laddr.ip
        for process in everything_below(running[0].pid)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {LOOPBACK}


@pytest.mark.parametrize("name", ["passwords.json", "keys.json"])
def test_secret_files_are_readable_by_their_owner_only(name: str, home: Path, running: object) -> None:
    assert stat.S_IMODE((home / "airflow" / name).stat().st_mode) == 0o600


def test_a_killed_parent_leaves_no_process(running: tuple[subprocess.Popen[str], object]) -> None:
    holder, _ = running
    family = everything_below(holder.pid)
    assert len(family) > 10
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert left_after(family, STOP_SECONDS) == []


def test_a_second_start_reuses_the_folder_and_sigterm_leaves_no_process(
    start: Start, home: Path, running: tuple[object, dict[str, Any]]
) -> None:
    holder, where = start(home)
    assert where["password"] == running[1]["password"]
    with AirflowApi(where["airflow"], "admin", where["password"]) as api:
        api.wait_for_dags(["flight_delay.drift_check"], timeout=30)
    family = everything_below(holder.pid)
    holder.send_signal(signal.SIGTERM)
    assert holder.wait(STOP_SECONDS) == 128 + signal.SIGTERM
    assert left_after(family, 0) == []


def test_a_part_that_fails_at_the_start_is_named_with_its_log_and_leaves_no_process(tmp_path: Path) -> None:
    broken = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/no/such/folder/airflow.db"}
    before, handler = set(everything_below(os.getpid())), signal.getsignal(signal.SIGTERM)
    with pytest.raises(PartFailed) as caught, Stack(tmp_path / "home", environment=broken):
        pytest.fail("it must not start")
    assert "airflow-migrate ended with exit code 1" in str(caught.value)
    assert "unable to open database file" in str(caught.value)
    assert str(tmp_path / "home" / "logs" / "airflow-migrate.log") in str(caught.value)
    assert set(everything_below(os.getpid())) <= before
    assert signal.getsignal(signal.SIGTERM) == handler


def everything_below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def left_after(processes: list[psutil.Process], timeout: float) -> list[str]:
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    return [f"{process.pid} {' '.join(process.cmdline())[:150]}" for process in alive]
