"""Airflow's API server as a process of its own, with Keel's plugin, on a home that tests have filled."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import psutil

from keel.cli.standalone.environment import (
    PROJECT,
    airflow_connections,
    airflow_settings,
    generated_keys,
    keel_settings,
)
from keel.cli.standalone.process import LOOPBACK, Part, PartFailed, claim_port

USERS = {"admin": "admin", "olga": "op", "uma": "user", "vera": "viewer"}
"""Who may log in, with the role."""
PASSWORD = "only-for-tests"
START_SECONDS = 120.0
NOBODY = ""
EXPIRED = "expired"
"""In place of a user's name: no token, and one of an operator that has expired."""


class ApiServer:
    """A running API server. `ask` sends requests as one of its users."""

    def __init__(self, part: Part, url: str, root: str, secret: str, environment: Mapping[str, str]) -> None:
        self.part = part
        self.root = root
        self.url = url
        self.environment = environment
        self._secret = secret
        self.client = httpx.Client(base_url=url + root, timeout=60, trust_env=False)

    def ask(self, method: str, path: str, *, user: str = "olga", **request: Any) -> httpx.Response:
        """Send a request as a user, as `NOBODY`, or with a token that is `EXPIRED`."""
        headers = {**self.headers(user), **request.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **request)

    def headers(self, user: str) -> dict[str, str]:
        """Return the header that a user's request has."""
        return {"Authorization": f"Bearer {self.token(user)}"} if user else {}

    @functools.cache  # noqa: B019 - lives as long as the server
    def token(self, user: str) -> str:
        """Return a token: fetched with the password as people do, and for `EXPIRED` the same an hour after its end."""
        if user == EXPIRED:
            claims = jwt.decode(self.token("olga"), options={"verify_signature": False})
            past = {"iat": int(time.time()) - 7200, "nbf": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
            return jwt.encode({**claims, **past}, self._secret, algorithm="HS512")
        response = self.client.post("/auth/token", json={"username": user, "password": PASSWORD})
        response.raise_for_status()
        return str(response.json()["access_token"])

    def resident_bytes(self) -> int:
        """Return the memory that the server and its workers hold now, helper processes not counted."""
        return sum(process.memory_info().rss for process in self.processes())

    def processes(self) -> list[psutil.Process]:
        """Return the processes of Airflow's API server."""
        below = psutil.Process(self.part.pid).children(recursive=True)
        return [
            process for process in below if "api-server" in " ".join(process.cmdline()) or "airflow" in process.name()
        ]

    def log(self) -> str:
        """Return what the server has written."""
        return self.part.log.read_text(errors="replace")


@contextmanager
def api_server(
    folder: Path, home: Path, models: Path, *, database: Path, root: str = "", **settings: str
) -> Iterator[ApiServer]:
    """Start an API server, and end it with all processes below it.

    Parameters
    ----------
    folder
        For the server's own files.
    home
        The installation that it serves.
    models
        The folder of the models' configurations.
    database
        Airflow's database with the DAGs of these models, to copy (`airflow_database`).
    root
        The path that Airflow is mounted below, such as ``/team/airflow``.
    settings
        Environment variables on top.

    """
    port, claim = claim_port(0)
    environment = {**_environment(folder, home, models), **settings}
    shutil.copy(database, folder / "airflow.db")
    url = f"http://{LOOPBACK}:{port}"
    environment |= {"AIRFLOW__API__PORT": str(port), "AIRFLOW__API__BASE_URL": url + root}
    part = Part("api-server", [*_AIRFLOW, "api-server"], environment, folder)
    part.start()
    server = ApiServer(part, url, root, environment["AIRFLOW__API_AUTH__JWT_SECRET"], environment)
    try:
        _wait(server)
        yield server
    finally:
        server.client.close()
        part.stop()
        claim.close()


def airflow_database(folder: Path, home: Path, models: Path) -> Path:
    """Make a database of Airflow with the DAGs of these models, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment(folder, home, models)
    for command in (("db", "migrate"), ("dags", "reserialize")):
        part = Part("-".join(command), [*_AIRFLOW, *command], environment, folder)
        part.start().finish(START_SECONDS)
    return folder / "airflow.db"


_AIRFLOW = [str(Path(sys.executable).parent / "airflow")]


def _environment(folder: Path, home: Path, models: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    keys, passwords = generated_keys(folder / "keys.json"), folder / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KEEL", "MLFLOW", "PYTEST"))}
    settings = {
        **keel_settings(
            home, store_url=f"sqlite:///{home / 'keel.db'}", tracking_uri=f"sqlite:///{home / 'mlflow.db'}"
        ),
        **airflow_settings(),
        "KEEL_MODELS_FOLDER": str(models),
        "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT))),
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.support.web.auth_manager.GuardedAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
        "AIRFLOW__API__SECRET_KEY": keys["secret"],
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
        "AIRFLOW__API__HOST": LOOPBACK,
    }
    return {**outside, **airflow_connections(settings), **settings}


def _wait(server: ApiServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        server.part.check()
        try:
            if server.client.get("/api/v2/version").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise PartFailed(f"the API server does not answer within {START_SECONDS:.0f} s; {server.part.quoted_log()}")
        time.sleep(0.2)
