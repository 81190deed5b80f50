"""Fixtures of the channels' tests: no connection but a test's own, and servers in the place of the vendors'."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.support.alerts.vendors import Receiver, receiver

if "airflow" not in sys.modules:
    _home = tempfile.mkdtemp(prefix="keel-airflow-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    os.environ.update(AIRFLOW_HOME=_home, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__LOGGING__LOGGING_LEVEL="INFO")


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the connections and settings that the machine defines."""
    for name in list(os.environ):
        if name.startswith(("AIRFLOW_CONN_", "KEEL_", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy")):
            monkeypatch.delenv(name)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define a connection of Airflow."""

    def define(conn_id: str, **fields: object) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return define


@pytest.fixture
def vendor() -> Iterator[Receiver]:
    """A server in the place of a vendor's."""
    with receiver() as started:
        yield started
