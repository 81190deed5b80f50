"""A store, a spool and a shipper between them."""

from __future__ import annotations

import shutil

import adbc_driver_sqlite.dbapi
import pytest

from keel.serving.metrics import Metrics
from keel.serving.prediction_log.shipper import SpoolShipper
from keel.serving.prediction_log.spool import Durability, Spool
from keel.store import Store
from keel.workspace import Workspace
from tests.support.serving.spooled import CONFIG, PAUSE


@pytest.fixture
def ws(tmp_path, migrated_sqlite):
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}", timeout=0.1) as store:
        yield Workspace(tmp_path, store, None)


@pytest.fixture
def spool(tmp_path):
    opened = Spool.open(tmp_path / "spool", durability=Durability.WRITE)
    yield opened
    opened.close()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def shipper_of(ws, spool, metrics, tmp_path):
    """Return a function that makes a shipper with other options than the usual ones."""

    def make(configs=None, **options):
        options = {"folder": tmp_path / "spool", "pause_seconds": PAUSE, **options}
        return SpoolShipper(ws, configs or {"toy": CONFIG}, spool, metrics, **options)

    return make


@pytest.fixture
def shipper(shipper_of):
    return shipper_of()


@pytest.fixture
def locked(tmp_path):
    """A connection that locks the store; ``execute("ROLLBACK")`` unlocks it."""
    connection = adbc_driver_sqlite.dbapi.connect(str(tmp_path / "keel.db"), autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN EXCLUSIVE")
        yield cursor
    connection.close()
