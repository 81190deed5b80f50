"""Environment variables of the processes of a stack, and the generated secrets among them."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from keel.cli.standalone.process import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).resolve().parents[4]
USERNAME = "admin"

PRELOADED = (
    "skops.io",  # first, because it searches every loaded module, and Airflow's modules are slow to search
    "mlflow.pyfunc",
    "pandas",
    "pyarrow.compute",
    "scipy.stats",
    "sklearn.ensemble",
    "adbc_driver_postgresql.dbapi",
    "adbc_driver_sqlite.dbapi",
    "alembic.command",
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.slack.operators.slack",
    "airflow.providers.smtp.operators.smtp",
    "croniter",
)
"""Slow imports of Keel's tasks. Keel itself is not among them, so that the next task runs the edited code."""


def keel_settings(home: Path, *, store_url: str, tracking_uri: str) -> dict[str, str]:
    """Return the environment that points Keel to one installation and disables usage statistics."""
    return {
        "KEEL_HOME": str(home),
        "KEEL_STORE_URL": store_url,
        "KEEL_SPOOL": str(home / "spool"),
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), LOOPBACK, "localhost"))),
        "PYTHONPATH": str(PROJECT / "include"),
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
        # Threads that spin while they wait starve the other processes of a machine with two cores.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def airflow_connections(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that give Airflow the connections to the store and to MLflow of `keel_settings`.

    Airflow 3.3 finds a connection that is no variable by its task API, and a triggerer builds all of that first: 9 s of
    work in which it has no heartbeat.
    """
    return {
        "AIRFLOW_CONN_KEEL_STORE": settings["KEEL_STORE_URL"],
        "AIRFLOW_CONN_MLFLOW_DEFAULT": settings["MLFLOW_TRACKING_URI"],
    }


def airflow_settings() -> dict[str, str]:
    """Return the environment of Airflow on one small machine: Keel's DAGs only, and short waits."""
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default queries DNS
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # Tasks fork from a process with their imports loaded: a task starts in 0.4 s instead of 3 s.
        "AIRFLOW__SCHEDULER__MP_START_METHOD": "forkserver",
        "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join(PRELOADED),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }


def admin_password(path: Path) -> str:
    """Return the password in the simple auth manager's file; create the file, for its owner only, if missing."""
    if not path.exists():
        _write_private(path, {USERNAME: secrets.token_urlsafe(12)})
    return str(json.loads(path.read_text())[USERNAME])


def generated_keys(path: Path) -> dict[str, str]:
    """Return the secret keys that the parts share; create their file if missing. Later starts reuse them."""
    if not path.exists():
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        _write_private(path, {"fernet": fernet, "secret": secrets.token_hex(32), "jwt": secrets.token_hex(64)})
    return dict(json.loads(path.read_text()))


def _write_private(path: Path, content: dict[str, str]) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    new.replace(path)  # atomic: readers see the old file or the new one
