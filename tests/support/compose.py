"""Run docker-compose.yaml without Docker: its commands, environments and health checks as plain processes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.support.paths import PROJECT

COMPOSE_FILE = PROJECT / "docker-compose.yaml"

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<text>[^}]*))?\}")


def interpolated(variables: Mapping[str, str], text: str | None = None) -> dict[str, Any]:
    """Return the file with its variables replaced by docker-compose's rules."""

    def value(match: re.Match[str]) -> str:
        if found := variables.get(match["name"]):
            return found
        if match["kind"] == "-":
            return str(match["text"])
        raise KeyError(match["name"])

    source = COMPOSE_FILE.read_text() if text is None else text
    document = yaml.safe_load(VARIABLE.sub(value, source))
    return dict(document)


VARIABLES = {
    "KEEL_DATABASE_PASSWORD": "database-password",
    "KEEL_ADMIN_PASSWORD": "admin-password",
    "KEEL_FERNET_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "KEEL_SECRET_KEY": "secret-key",
    "KEEL_API_KEY": "api-key-of-a-client",
    "KEEL_JWT_SECRET": "jwt-secret-that-is-long-enough-for-any-of-the-usual-signatures",
    "KEEL_METRICS_KEY": "api-key-of-prometheus",
    "KEEL_GRAFANA_PASSWORD": "grafana-password",
    "KEEL_READER_PASSWORD": "reader-password",
}
"""Every variable that the file requires."""
CELERY = {"KEEL_EXECUTOR": "CeleryExecutor", "KEEL_REDIS_PASSWORD": "redis-password"}
"""What the profile celery needs beside itself."""
OF_CELERY = {"redis", "worker"}
"""Services of the profile celery."""
AIRFLOW_PARTS = ["scheduler", "dag-processor", "triggerer"]
"""The parts of Airflow beside its API server."""
SERVING = "serving"
ONE_SHOT = "migrate"


def required_variables() -> set[str]:
    return {match["name"] for match in VARIABLE.finditer(COMPOSE_FILE.read_text()) if match["kind"] != "-"}


@dataclass(frozen=True)
class Service:
    """One service as a plain process; only the differences between container and machine are replaced."""

    name: str
    command: list[str]
    """Entry point and arguments; empty where it is the image's own."""
    environment: dict[str, str]
    health: list[str] | None

    def healthy(self, timeout: float = 60) -> bool:
        assert self.health, f"{self.name} has no health check"
        done = subprocess.run(self.health, env=self.environment, capture_output=True, timeout=timeout)
        return done.returncode == 0


def plain_processes(document: Mapping[str, Any], replaced: Mapping[str, str], path: str) -> dict[str, Service]:
    """Return the services with every text in ``replaced`` replaced (patterns), and ``path`` as their PATH."""

    def here(text: str) -> str:
        for pattern, replacement in replaced.items():
            text = re.sub(pattern, lambda _, new=replacement: new, text)
        return text.replace("$$", "$")

    services = {}
    for name, service in document["services"].items():
        environment = {key: here(str(value)) for key, value in service["environment"].items()}
        words = [*service.get("entrypoint", []), *service.get("command", [])]
        command = [here(str(word)) for word in words]
        services[name] = Service(name, command, {"PATH": path, **environment}, _health(service, here))
    return services


def _health(service: Mapping[str, Any], here: Any) -> list[str] | None:
    if "healthcheck" not in service:
        return None
    kind, *words = service["healthcheck"]["test"]
    words = [here(word) for word in words]
    return ["sh", "-c", *words] if kind == "CMD-SHELL" else words
