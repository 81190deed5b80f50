"""A real ``keel serve`` on the toy model, for tests that start, query, kill and stop it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from keel import deployments, loop
from keel.ledger import entries as ledger
from keel.workspace import PROJECT, Workspace
from tests.support.loop_steps import BY, CONFIG, NOW, first_version
from tests.support.serving.fork_server import ForkedProcess, address
from tests.support.toy import DAY

MODEL = "toy"
ROW = {"x": 0.5, "z": 1.0, "colour": "red"}
START_SECONDS = 60.0
LOCAL = "http://localhost"
"""For Starlette's test client: without API keys the service answers only for names of the local machine."""


def make_home(folder: Path, *, versions: int = 1) -> Path:
    """Make an installation with so many versions of the toy model, the first in production; return its folder."""
    home = folder / "home"
    with Workspace.open(home=home, environment={}) as ws:
        first_version(ws)
        for number in range(2, versions + 1):
            window = loop.resolve_window(CONFIG, end=NOW - (number - 1) * DAY, now=NOW)
            decision = loop.request_retrain(ws, CONFIG, window=window, reason="another one", run_id=f"run-{number}")
            assert loop.retrain(ws, CONFIG, decision, **BY).challenger == number
    write_models(home, CONFIG)
    return home


def deploy(home: Path, production: int, *, now: datetime) -> float:
    """Put a version into production, as a promotion or a rollback does; return when that started (monotonic)."""
    with Workspace.open(home=home, environment={}) as ws:
        current = deployments.read(ws.store, MODEL)
        desired = replace(current, production=production, previous=current.production)
        started = time.monotonic()
        deployments.change(
            ws.store,
            ws.registry,
            current,
            desired,
            actor="tests",
            action=ledger.Action.PROMOTE,
            body={"evidence": {"sentence": "for the test"}},
            now=now,
        )
    return started


def copy_home(home: Path, folder: Path) -> Path:
    """Return a copy of an installation. Both load the same artifacts, which no test changes."""
    copy = folder / "home"
    copy.mkdir(parents=True)
    for name in ("keel.db", "mlflow.db"):
        shutil.copy(home / name, copy / name)
    shutil.copytree(home / "models", copy / "models")
    return copy


def write_models(home: Path, *configs: Any) -> None:
    """Write the models' files below ``home/models``."""
    for config in configs:
        path = home / "models" / config.model / "model.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(_plain(config.model_dump(exclude_defaults=True))))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return f"{value.total_seconds():.0f}s" if isinstance(value, timedelta) else value


class Serving:
    """``keel serve`` in a new process, ready inside the ``with`` block; with ``wait=False`` only started."""

    def __init__(self, home: Path, *options: str, wait: bool = True, **environment: str) -> None:
        self.home, self.options, self._wait = home, options, wait
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("KEEL_", "MLFLOW_"))},
            "KEEL_HOME": str(home),
            "KEEL_MODELS_FOLDER": str(home / "models"),
            "KEEL_SERVING_POLL": "0.2",
            "PYTHONPATH": f"{PROJECT / 'include'}:{PROJECT}",
            "PYTHONWARNINGS": "ignore",
            **environment,
        }
        self.log = home / "serve.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Any = None
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        self.start()
        try:
            if self._wait:
                self.until_ready()
        except BaseException:  # without a block there is no exit
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.client.close()

    def start(self) -> None:
        """Start the process without waiting for it."""
        self.process = self._spawn(["serve", "--port", str(self.port), *self.options])

    def _spawn(self, command: list[str]) -> Any:
        command = [sys.executable, "-m", "keel.cli.main", *command]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.home)

    def until_ready(self, *, path: str = "/ready", seconds: float = START_SECONDS) -> None:
        """Wait until ``path`` answers with 200."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.client.get(path).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.logged()
            assert time.monotonic() < deadline, self.logged()
            time.sleep(0.02)

    def predict(self, *rows: dict[str, Any], model: str = MODEL, **keel: Any) -> httpx.Response:
        """Request predictions for rows. keel: the lists of the request's key ``keel``."""
        body = {"dataframe_records": list(rows or (ROW,)), **({"keel": keel} if keel else {})}
        return self.client.post(f"/models/{model}/invocations", json=body)

    def stop(self, seconds: float = 40.0) -> int:
        """Stop it like a service manager, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it at once; safe to repeat."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def logged(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace")

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, summed over the labels that are not given; 0.0 if there is none."""
        total = 0.0
        for line in self.client.get("/metrics").text.splitlines():
            found, _, value = line.rpartition(" ")
            if found.partition("{")[0] == name and all(f'{key}="{text}"' in found for key, text in labels.items()):
                total += float(value)
        return total


class ForkedServing(Serving):
    """``keel serve`` as a fork of a process that has imported its libraries, for tests that start it many times."""

    def _spawn(self, command: list[str]) -> Any:
        return ForkedProcess(address(), command, self.environment, self.log, self.home)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stored_ids(home: Path, model: str = MODEL) -> list[str]:
    """Return the ids of the stored predictions that a version answered; works while the store is locked."""
    import adbc_driver_sqlite.dbapi

    with adbc_driver_sqlite.dbapi.connect(str(home / "keel.db")) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM predictions_{model} WHERE version IS NOT NULL")
        return [row[0] for row in cursor.fetchall()]
