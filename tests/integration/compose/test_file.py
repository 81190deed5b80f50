"""docker-compose.yaml: docker-compose accepts it with and without each profile, and it is safe."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import NEEDS_TOOL
from keel.cli.standalone.environment import PRELOADED
from tests.support.compose import (
    AIRFLOW_PARTS,
    CELERY,
    COMPOSE_FILE,
    OF_CELERY,
    ONE_SHOT,
    SERVING,
    VARIABLES,
    interpolated,
    required_variables,
)
from tests.support.paths import PROJECT

CHANNELS = [
    "KEEL_SMTP_URL",
    "KEEL_MAIL_FROM",
    "KEEL_ALERT_TEMPLATES",
    "AIRFLOW_CONN_SMTP_DEFAULT",
    "AIRFLOW_CONN_SLACK_DEFAULT",
    "AIRFLOW_CONN_SLACK_WEBHOOK_DEFAULT",
]
NO_CONNECTIONS = [name for name in CHANNELS if name.startswith("AIRFLOW_CONN_")]
AS_CONFIGURED = pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason=f"{NEEDS_TOOL}: docker-compose (Debian's package of that name)"
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return interpolated(VARIABLES)


def compose_config(folder: Path, variables: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    command = ["docker-compose", "--file", str(COMPOSE_FILE), "config", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@AS_CONFIGURED
@pytest.mark.parametrize("more", [{}, {"COMPOSE_PROFILES": "celery", **CELERY}], ids=["default", "celery"])
def test_compose_config_accepts_the_file_with_and_without_each_profile(more: dict[str, str], tmp_path: Path) -> None:
    done = compose_config(tmp_path, VARIABLES | more)
    assert done.returncode == 0, done.stderr
    assert not re.search("warning", done.stderr, re.IGNORECASE), done.stderr
    services = set(compose_config(tmp_path, VARIABLES | more, "--services").stdout.split())
    known = set(interpolated(VARIABLES)["services"])
    assert known - OF_CELERY <= services <= known  # version 1 shows all services, whatever the profile
    assert not more or services == known


def test_profiles_are_that_of_celery_and_it_changes_the_executor(document: dict[str, Any]) -> None:
    profiles = {name: service["profiles"] for name, service in document["services"].items() if "profiles" in service}
    assert profiles == dict.fromkeys(OF_CELERY, ["celery"])
    assert _executor(document) == "LocalExecutor"
    assert _executor(interpolated(VARIABLES | CELERY)) == "CeleryExecutor"
    celery = interpolated(VARIABLES | CELERY)["services"]["worker"]["environment"]
    assert celery["AIRFLOW__CELERY__BROKER_URL"] == "redis://:redis-password@redis:6379/0"


def _executor(document: dict[str, Any]) -> str:
    return str(document["services"]["scheduler"]["environment"]["AIRFLOW__CORE__EXECUTOR"])


@pytest.mark.skipif(shutil.which("redis-server") is None, reason=f"{NEEDS_TOOL}: redis-server")
def test_redis_does_not_start_without_a_password() -> None:
    script = ["sh", str(PROJECT / "docker" / "redis.sh"), "--port", "0"]
    done = subprocess.run(script, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "KEEL_REDIS_PASSWORD is not set" in done.stderr


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
    """Each is in .env.example too. By default a connection is empty, which is as if it was not there."""
    given = {name: f"<{name}>" for name in CHANNELS}
    for name in ("api-server", *AIRFLOW_PARTS, "worker"):
        environment = interpolated(VARIABLES)["services"][name]["environment"]
        assert given.items() <= interpolated(VARIABLES | given)["services"][name]["environment"].items(), name
        assert dict.fromkeys(NO_CONNECTIONS, "").items() <= environment.items()
        assert environment["KEEL_SMTP_URL"] == "smtp://mailpit:1025?tls=none"
    assert set(CHANNELS) <= set(re.findall(r"^#(\w+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))


def test_compose_file_contains_no_secret() -> None:
    secret = re.compile(r"^\s*\w*(PASSWORD|SECRET|FERNET|API_KEY)\w*: (?P<value>.+)$", re.MULTILINE)
    values = [found["value"] for found in secret.finditer(COMPOSE_FILE.read_text())]
    assert len(values) >= 5
    assert [
        v for v in values if not v.startswith(("${KEEL_", '"${KEEL_REDIS_PASSWORD:-}"', "/var/lib/", "/tmp/"))
    ] == []
    assert not re.search(r"://\w+:[^$@/\s]+@", COMPOSE_FILE.read_text()), "a password in a URL"


def test_images_are_pinned_and_run_as_an_ordinary_user(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        assert re.search(r":v?\d+\.\d+\.?\d*", service["image"]), name
        assert service.get("build") == "." or service["user"] not in ("", "root", "0"), name
    dockerfile = (PROJECT / "Dockerfile").read_text()
    airflow = importlib.metadata.version("apache-airflow-core")
    assert re.search(rf"^FROM apache/airflow:slim-{re.escape(airflow)}-python3\.11$", dockerfile, re.MULTILINE)
    assert [line for line in dockerfile.splitlines() if line.startswith("USER ")][-1] == "USER airflow"


def test_what_is_mounted_is_part_of_the_project(document: dict[str, Any]) -> None:
    """A missing file would be made as an empty folder, which its service then reads."""
    volumes = [each for service in document["services"].values() for each in service.get("volumes", [])]
    mounted = {each.split(":")[0] for each in volumes if each.startswith(".")}
    assert {"./grafana/provisioning", "./grafana/dashboards", "./prometheus"} <= mounted
    assert [path for path in sorted(mounted) if not (PROJECT / path).exists()] == []
    assert all(each.endswith(":ro") for each in volumes if each.startswith("."))
    named = {each.split(":")[0] for each in volumes if not each.startswith(".")}
    assert named == set(document["volumes"])


def test_image_has_what_its_services_run(document: dict[str, Any]) -> None:
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    ignored = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name for line in copied for name in line.split()} == ignored
    built = [service for service in document["services"].values() if "build" in service]
    scripts = [word for service in built for word in service["command"] if word.startswith("/opt/keel/")]
    assert len(scripts) == 2
    assert all((PROJECT / script.removeprefix("/opt/keel/")).is_file() for script in scripts)


def test_variables_that_grafana_reads_are_given(document: dict[str, Any]) -> None:
    files = [path for path in (PROJECT / "grafana" / "provisioning").rglob("*.y*ml")]
    read = {name for path in files for name in re.findall(r"\$\{?(KEEL_\w+|GF_\w+)", path.read_text())}
    assert read
    assert read <= set(document["services"]["grafana"]["environment"])


def test_every_server_restarts_and_has_a_health_check(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        if name == ONE_SHOT:
            assert service["restart"] == "on-failure"
        else:
            assert service["restart"] == "unless-stopped", name
            assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"]), name


def test_services_wait_for_the_migrations_and_these_for_the_database(document: dict[str, Any]) -> None:
    services = document["services"]
    for name in ("api-server", *AIRFLOW_PARTS, SERVING, "worker", "grafana"):
        assert services[name]["depends_on"][ONE_SHOT]["condition"] == "service_completed_successfully", name
    assert services[ONE_SHOT]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["worker"]["depends_on"]["redis"]["condition"] == "service_healthy"
    for name, service in services.items():  # else the default set of services is not complete
        assert name in OF_CELERY or not OF_CELERY & set(service.get("depends_on", {})), name


def test_ports_are_published_on_the_loopback_address_only(document: dict[str, Any]) -> None:
    ports = [port for service in document["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_airflow_parts_share_their_keys_and_other_services_get_none(document: dict[str, Any]) -> None:
    shared = [document["services"][name]["environment"] for name in (ONE_SHOT, "api-server", *AIRFLOW_PARTS, "worker")]
    for key in ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY"):
        assert len({environment[key] for environment in shared}) == 1
        for other in ("mlflow", "serving", "prometheus", "grafana", "mailpit", "redis"):
            assert key not in document["services"][other]["environment"]


def test_scheduler_and_worker_preload_the_same_imports_as_the_stack(document: dict[str, Any]) -> None:
    environment = document["services"]["scheduler"]["environment"]
    assert environment["AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"].split(",") == list(PRELOADED)
    assert json.loads(environment["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"]) == {"imports": list(PRELOADED)}
