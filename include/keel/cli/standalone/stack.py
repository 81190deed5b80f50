"""Run Airflow, MLflow and the scoring service as processes on this machine, with all files in one folder.

    with Stack(home=Path(".keel")) as stack:
        httpx.get(f"{stack.airflow_url}/api/v2/version")

All servers listen on the loopback address only. All processes have ended when the ``with`` block ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

import httpx

from keel.cli.standalone.airflow_api import AirflowApi
from keel.cli.standalone.environment import (
    PROJECT,
    USERNAME,
    admin_password,
    airflow_connections,
    airflow_settings,
    generated_keys,
    keel_settings,
)
from keel.cli.standalone.process import LOOPBACK, Part, PartFailed, claim_port

DEFAULT_HOME = PROJECT / ".keel"
AIRFLOW_PORT = 8080
MLFLOW_PORT = 5000
SERVING_PORT = 8090
TRAINING_POOL = "keel_training"
START_SECONDS = 180.0
"""Time until all servers must be healthy. Two idle cores need about 25 s; the rest is for a busy machine."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Stack:
    """MLflow, the four parts of Airflow and optionally the scoring service, for the length of a ``with`` block.

    Parameters
    ----------
    home : Path
        Folder of the databases, artifacts and logs; created if missing. Existing contents are used again.
    progress : callable
        Called with a short message at each step.
    environment : mapping
        Environment variables of every process, such as ``AIRFLOW__…``; they override the stack's own.
    serving : bool
        Whether to run ``keel serve`` too; it starts without a production version.
    timeout : float
        Seconds until all servers must be healthy.

    Raises
    ------
    PartFailed
        On entering: a server ended or did not become healthy in time; the message quotes the end of its log.

    """

    def __init__(
        self,
        home: Path | str = DEFAULT_HOME,
        *,
        progress: Callable[[str], None] = lambda _: None,
        environment: Mapping[str, str] | None = None,
        serving: bool = False,
        timeout: float = START_SECONDS,
    ) -> None:
        self.home = Path(home).absolute()
        self.logs = self.home / "logs"
        self.username = USERNAME
        self.store_url = f"sqlite:///{self.home / 'keel.db'}"
        self._progress = progress
        self._extra = dict(environment or {})
        self._serving = serving
        self._timeout = timeout
        self._parts: list[Part] = []
        self._claims: list[IO[str]] = []
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._handle_signals()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def api(self) -> AirflowApi:
        """A client of the public API of this stack's Airflow."""
        return AirflowApi(self.airflow_url, self.username, self.password)

    def check(self) -> None:
        """Raise `PartFailed` if a server has ended; call it while waiting for a result of the servers."""
        for part in self._parts:
            part.check()

    def stop(self) -> None:
        """Stop all servers at once and wait until they have ended; safe to repeat."""
        if self._parts:
            self._progress("stopping")
            for part in self._parts:
                part.ask_to_stop()
            with ThreadPoolExecutor(len(self._parts)) as pool:
                list(pool.map(Part.stop, self._parts))
            self._parts.clear()
        for claim in self._claims:
            claim.close()
        self._restore_signals()

    def _start(self) -> None:
        airflow_home = self.home / "airflow"
        for folder in (self.logs, airflow_home, self.home / "mlartifacts"):
            folder.mkdir(parents=True, exist_ok=True)
        self._claims.append(_claim_home(self.home))
        self.password = admin_password(airflow_home / "passwords.json")
        airflow_port, mlflow_port = self._claim(AIRFLOW_PORT), self._claim(MLFLOW_PORT)
        self.airflow_url = f"http://{LOOPBACK}:{airflow_port}"
        self.mlflow_url = f"http://{LOOPBACK}:{mlflow_port}"
        settings = {**self._settings(airflow_home, airflow_port), **self._extra}
        self.environment = {**os.environ, **airflow_connections(settings), **settings}
        # The second and third only slow the start. On the loopback address the service needs no API keys.
        for name in ("AIRFLOW_CONFIG", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "KEEL_API_KEYS_FILE"):
            self.environment.pop(name, None)
        deadline = time.monotonic() + self._timeout
        from keel.store import Store

        self._progress("preparing the databases")
        self._begin("mlflow", *self._mlflow_command(mlflow_port))
        self._begin("airflow-migrate", "airflow", "db", "migrate").finish(self._timeout)
        self._parts.pop()
        Store.open(self.store_url).close()  # the API server creates and migrates none
        self._progress("starting Airflow and MLflow")
        self._begin("api-server", "airflow", "api-server")
        self._begin("scheduler", "airflow", "scheduler", "--skip-serve-logs")
        self._begin("dag-processor", "airflow", "dag-processor")
        self._begin("triggerer", "airflow", "triggerer", "--skip-serve-logs")
        if self._serving:
            self._begin_serving()
        self._wait_until_healthy(deadline)
        with self.api as api:
            api.ensure_pool(TRAINING_POOL, slots=1, description="One training at a time: it uses the whole machine")

    def _mlflow_command(self, port: int) -> list[str]:
        return [
            *("mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.home / 'mlflow.db'}"),
            *("--artifacts-destination", str(self.home / "mlartifacts")),
            # As file URLs, so that the command line can read artifacts while no server runs.
            *("--default-artifact-root", (self.home / "mlartifacts").as_uri()),
        ]

    def _begin_serving(self) -> None:
        port = self._claim(SERVING_PORT)
        self.serving_url = f"http://{LOOPBACK}:{port}"
        self._begin("serving", "keel", "serve", "--host", LOOPBACK, "--port", str(port), "--workers", "1")

    def _settings(self, airflow_home: Path, port: int) -> dict[str, str]:
        keys = generated_keys(airflow_home / "keys.json")
        return {
            **keel_settings(self.home, store_url=self.store_url, tracking_uri=self.mlflow_url),
            **airflow_settings(),
            "AIRFLOW_HOME": str(airflow_home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow_home / 'airflow.db'}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(airflow_home / "passwords.json"),
            "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
            "AIRFLOW__API__SECRET_KEY": keys["secret"],
            "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.airflow_url,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # needs 3 GB and 18 s, and Keel does not use it
        }

    def _begin(self, name: str, program: str, *arguments: str) -> Part:
        command = [str(Path(sys.executable).parent / program), *arguments]
        self._parts.append(Part(name, command, self.environment, self.logs))
        return self._parts[-1].start()

    def _claim(self, preferred: int) -> int:
        port, claim = claim_port(preferred)
        self._claims.append(claim)  # until the end, because a restarting server does not listen
        return port

    def _wait_until_healthy(self, deadline: float) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while True:
                self.check()
                waiting = unhealthy(client, self.airflow_url, self.mlflow_url)
                if self._serving and not _answers(client, f"{self.serving_url}/health"):
                    waiting.append("serving")
                if not waiting:
                    return
                if time.monotonic() > deadline:
                    raise PartFailed(self._too_late(waiting))
                time.sleep(0.25)

    def _too_late(self, waiting: list[str]) -> str:
        logs = "\n".join(part.quoted_log() for part in self._parts if part.name in waiting)
        return f"{', '.join(waiting)} not healthy within {self._timeout:.0f} s\n{logs}"

    def _handle_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, _leave) for number in _STOP_SIGNALS}

    def _restore_signals(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}


def unhealthy(client: httpx.Client, airflow_url: str, mlflow_url: str) -> list[str]:
    """Return the names of the parts that are not healthy."""
    waiting = []
    if not _answers(client, f"{mlflow_url}/health"):
        waiting.append("mlflow")
    # The first call to the task execution API takes seconds; without this call the first task would time out.
    execution_api = _answers(client, f"{airflow_url}/execution/health")
    health = execution_api and _answers(client, f"{airflow_url}/api/v2/monitor/health")
    if health is None:
        return [*waiting, "api-server"]
    parts = {name.replace("_", "-"): part for name, part in health.json().items() if part is not None}
    needed = ("metadatabase", "scheduler", "dag-processor", "triggerer")
    return [*waiting, *(name for name in needed if parts.get(name, {}).get("status") != "healthy")]


def _answers(client: httpx.Client, url: str) -> httpx.Response | None:
    try:
        response = client.get(url)
    except httpx.TransportError:
        return None
    return response if response.status_code == httpx.codes.OK else None


def _claim_home(home: Path) -> IO[str]:
    """Lock the folder against a second stack; the lock ends with this process, in whatever way that ends."""
    claim = (home / "running").open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        claim.close()
        raise PartFailed(f"{home} is in use by another stack; stop that stack or choose another folder") from None
    return claim


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
