"""The service in this process, on an installation without a version."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial

import pytest

from keel.serving.http.app import create_app
from keel.serving.prediction_log.spool import Durability
from keel.serving.service import Service
from keel.serving.settings import Settings
from tests.support.serving.process import LOCAL
from tests.support.toy import toy_config


def running(stack, home, *configs, **changes):
    """Start the service on an installation, with models and changed settings; return a client of it."""
    from starlette.testclient import TestClient

    settings = Settings(**{"home": home, "durability": Durability.WRITE, "stop_seconds": 5.0, **changes})
    service = Service(settings, configured={config.model: config for config in configs or (toy_config(),)})
    stack.callback(service.until_connected)  # it may be in Alembic, which supports one thread per process
    client = stack.enter_context(
        TestClient(create_app(settings, service=service), base_url=LOCAL, raise_server_exceptions=False)
    )
    client.service = service
    return client


@pytest.fixture(scope="module", autouse=True)
def _no_other_stores():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KEEL_STORE_URL", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture
def serve(tmp_path, migrated_sqlite):
    """Return a function that starts the service on an empty installation, with models and changed settings."""
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with ExitStack() as stack:
        yield partial(running, stack, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, migrated_sqlite):
    """One service for the tests whose requests are all rejected."""
    home = tmp_path_factory.mktemp("shared")
    shutil.copy(migrated_sqlite, home / "keel.db")
    with ExitStack() as stack:
        client = running(stack, home)
        yield client
        assert client.service.spool.stats.appended == 0, "nothing of a rejected request may be stored"
