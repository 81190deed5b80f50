"""Fixtures of the DAG tests: an Airflow of their own in a temporary folder, and copies of a small Keel.

The environment of Airflow is set when this module is imported, before any import of Airflow.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiosmtpd.controller import Controller

from tests.support.made_once import made_once
from tests.support.paths import PROJECT
from tests.support.unsynced_sqlite import unsynced

if TYPE_CHECKING:
    from keel.workspace import Workspace

MODELS = PROJECT / "tests" / "dags" / "models"

if "airflow" not in sys.modules:
    _home = tempfile.mkdtemp(prefix="keel-airflow-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    os.environ.update(
        AIRFLOW_HOME=_home,
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(PROJECT / "dags"),
        AIRFLOW__CORE__PLUGINS_FOLDER=str(PROJECT / "plugins"),
        AIRFLOW__CORE__HOSTNAME_CALLABLE="socket.gethostname",
        # A DAG whose tasks another configuration has changed is stored at once.
        AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL="0",
        AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="1",
    )


def project_environment(**more: str) -> dict[str, str]:
    """What a subprocess needs to import the project as Airflow does."""
    paths = os.pathsep.join(str(PROJECT / name) for name in ("include", "plugins", "."))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", **more}


@pytest.fixture(scope="session", autouse=True)
def unsynced_databases() -> Iterator[None]:
    """No test here needs its SQLite files to survive a power failure."""
    with unsynced():
        yield


@pytest.fixture(scope="session")
def airflow_db(unsynced_databases: None) -> None:
    """An empty metadata database of the installed version of Airflow."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of these tests, and none of the connections and settings that the machine defines."""
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(MODELS))
    for name in list(os.environ):
        if name.startswith(("AIRFLOW_CONN_", "KEEL__", "KEEL_STORE_URL", "KEEL_MAIL_FROM", "MLFLOW_TRACKING_")):
            monkeypatch.delenv(name)


@pytest.fixture
def new_keel_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Keel that does not exist yet."""
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "keel"))
    return tmp_path / "keel"


@pytest.fixture
def home(empty_keel: Path, new_keel_home: Path) -> Path:
    """The folder of an empty Keel."""
    return shutil.copytree(empty_keel, new_keel_home)


@pytest.fixture(scope="session")
def empty_keel(tmp_path_factory: pytest.TempPathFactory, unsynced_databases: None) -> Path:
    """A Keel with an empty store and an empty registry."""
    from keel.workspace import Workspace

    def make(folder: Path) -> None:
        with Workspace.open(home=folder, environment={}) as workspace:
            workspace.registry.client.search_registered_models(max_results=1)

    return made_once(tmp_path_factory, "empty", make)


@pytest.fixture(scope="session")
def tide_in_production(empty_keel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keel whose model ``tide`` has one version, trained on four calm days and in production."""
    from tests.support.airflow.tide import bootstrap

    return made_after(tmp_path_factory, "tide", empty_keel, bootstrap)


@pytest.fixture(scope="session")
def tide_with_staged_version(tide_in_production: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That Keel four days later, when version 2 is better and waits for approval."""
    from tests.support.airflow.tide import stage_challenger

    return made_after(tmp_path_factory, "staged", tide_in_production, stage_challenger)


@pytest.fixture(scope="session")
def tide_promoted(tide_with_staged_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That Keel with version 2 in production, version 1 before it."""
    from tests.support.airflow.tide import promote_staged

    return made_after(tmp_path_factory, "promoted", tide_with_staged_version, promote_staged)


def made_after(
    tmp_path_factory: pytest.TempPathFactory, name: str, original: Path, prepare: Callable[[Workspace], object]
) -> Path:
    """Return a Keel that ``prepare`` changes in a copy of the original, made once."""
    from keel.workspace import Workspace
    from tests.support.airflow.tide import copy_keel

    def make(folder: Path) -> None:
        copy_keel(original, folder)
        with Workspace.open(home=folder, environment={}) as workspace:
            prepare(workspace)

    return made_once(tmp_path_factory, name, make)


@pytest.fixture
def open_copy(new_keel_home: Path) -> Iterator[Callable[[Path], Workspace]]:
    """Copy a Keel for one test, and open the copy."""
    from keel.workspace import Workspace
    from tests.support.airflow.tide import copy_keel

    with ExitStack() as opened:

        def open_copy(original: Path) -> Workspace:
            copy_keel(original, new_keel_home)
            return opened.enter_context(Workspace.open(home=new_keel_home))

        yield open_copy


@pytest.fixture
def needs_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A promotion needs the approval of a person."""
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")


@pytest.fixture
def tide(tide_in_production: Path, open_copy: Callable[[Path], Workspace]) -> Workspace:
    """A copy of the first Keel for one test, open."""
    return open_copy(tide_in_production)


@pytest.fixture
def staged(tide_with_staged_version: Path, open_copy: Callable[[Path], Workspace], needs_approval: None) -> Workspace:
    """A copy of the second for one test, open. A promotion needs the approval of a person."""
    return open_copy(tide_with_staged_version)


class Mailbox:
    """The mails that an SMTP server received: (recipients, message)."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 Message accepted for delivery"


@pytest.fixture
def mailbox(monkeypatch):
    """A real SMTP server that the connection smtp_default leads to."""
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    connection = {"disable_tls": True, "disable_ssl": True, "from_email": "keel@example.com", "retry_limit": 0}
    monkeypatch.setenv(
        "AIRFLOW_CONN_SMTP_DEFAULT",
        json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": connection}),
    )
    yield box.mails
    controller.stop()
