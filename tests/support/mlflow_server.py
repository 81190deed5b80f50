"""A real MLflow server on SQLite, for tests of what reaches MLflow over HTTP."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from keel.cli.standalone.process import LOOPBACK, Part, claim_port


@contextmanager
def mlflow_server(home: Path) -> Iterator[str]:
    """Run a server with all its files in this folder; its address."""
    port, claim = claim_port(0)
    command = [
        *(str(Path(sys.executable).parent / "mlflow"), "server", "--host", LOOPBACK, "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"),
        *("--artifacts-destination", str(home / "artifacts")),
    ]
    part = Part("mlflow", command, {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, home).start()
    url = f"http://{LOOPBACK}:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _healthy(url):
            part.check()
            assert time.monotonic() < deadline, part.quoted_log()
            time.sleep(0.25)
        yield url
    finally:
        part.stop()
        claim.close()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False
