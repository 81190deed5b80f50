"""An Airflow of its own for these tests: set up before anything imports Airflow, in a folder that goes away."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

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
        # A DAG that another policy gives other tasks is written at once, however soon after the last.
        AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL="0",
        AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="1",
    )


def project_environment(**more: str) -> dict[str, str]:
    """What a subprocess needs to import the project as Airflow does."""
    paths = os.pathsep.join(str(PROJECT / name) for name in ("include", "plugins", "."))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", **more}


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """A migrated metadata database."""
    command = [str(Path(sys.executable).parent / "airflow"), "db", "migrate"]
    done = subprocess.run(command, env=project_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's models, and no connection that the machine happens to define."""
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(MODELS))
    for name in list(os.environ):
        if name.startswith(("AIRFLOW_CONN_", "KEEL__", "KEEL_STORE_URL", "KEEL_MAIL_FROM", "MLFLOW_TRACKING_")):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keel."""
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "keel"))
    return tmp_path / "keel"


@pytest.fixture(scope="session")
def tide_in_production(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keel whose model ``tide`` has one version, trained on four calm days and in production."""
    from tests.support.airflow.tide import bootstrap

    folder = tmp_path_factory.mktemp("tide") / "keel"
    bootstrap(folder)
    return folder


@pytest.fixture(scope="session")
def tide_with_an_offer(tide_in_production: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That Keel four days later, when version 2 is better and waits for approval."""
    from tests.support.airflow.tide import turn

    folder = tmp_path_factory.mktemp("offer") / "keel"
    shutil.copytree(tide_in_production, folder)
    turn(folder)
    return folder


@pytest.fixture
def tide(tide_in_production: Path, home: Path) -> Iterator[object]:
    """A copy of the first Keel for one test, open."""
    yield from opened(tide_in_production, home)


@pytest.fixture
def offered(tide_with_an_offer: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A copy of the second for one test, open; a person must agree to a promotion."""
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    yield from opened(tide_with_an_offer, home)


def opened(folder: Path, home: Path) -> Iterator[object]:
    """Copy a Keel and open it."""
    from keel.workspace import Workspace

    shutil.copytree(folder, home)
    with Workspace.open(home=home) as workspace:
        yield workspace
