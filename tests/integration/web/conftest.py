"""One API server for all tests of the web side, on an installation with something of everything.

A worker of pytest has its own server. The installation and Airflow's database are made once for all workers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.made_once import made_once

if TYPE_CHECKING:
    from tests.support.web.api_server import ApiServer


@pytest.fixture(scope="session")
def web_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models' configurations."""
    from tests.support.web.filled_home import write_models

    return made_once(tmp_path_factory, "web-models", write_models)


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """An installation with something of everything (`filled_home.fill`), to copy."""
    from keel.workspace import Workspace
    from tests.support.web.filled_home import fill

    def make(folder: Path) -> None:
        with Workspace.open(home=new_home(folder), environment={}) as workspace:
            fill(workspace)

    return made_once(tmp_path_factory, "web-home", make)


@pytest.fixture(scope="session")
def airflow_with_dags(tmp_path_factory: pytest.TempPathFactory, filled_home: Path, web_models: Path) -> Path:
    """Airflow's database with the DAGs of the models, to copy."""
    from tests.support.web.api_server import airflow_database

    folder = made_once(tmp_path_factory, "web-airflow", lambda made: airflow_database(made, filled_home, web_models))
    return folder / "airflow.db"


@pytest.fixture(scope="session")
def new_web_home(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copy the filled installation, and return the copy's folder."""
    from tests.support.airflow.tide import copy_keel

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("web") / "home"
        copy_keel(filled_home, folder)
        return folder

    return copy


@pytest.fixture(scope="session")
def web(
    tmp_path_factory: pytest.TempPathFactory,
    new_web_home: Callable[[], Path],
    web_models: Path,
    airflow_with_dags: Path,
) -> Iterator[ApiServer]:
    """The API server. No DAG runs: what a request starts stays queued."""
    from tests.support.web.api_server import api_server

    folder = tmp_path_factory.mktemp("api-server")
    with api_server(folder, new_web_home(), web_models, database=airflow_with_dags) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)
