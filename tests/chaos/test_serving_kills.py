"""The service is killed under load repeatedly and the store goes down: every answered row is stored exactly once.

``KEEL_FULL_SIZE=1``: 50 kills on each database instead of 5.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keel.workspace import Workspace
from tests.support.chaos.kills import FULL_SIZE
from tests.support.chaos.serving_load import (
    PATIENCE,
    THREADS,
    Installation,
    postgres,
    require_everything_stored,
    sending,
    until_stored,
)
from tests.support.loop_steps import CONFIG, first_version
from tests.support.serving.process import write_models

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = 50 if FULL_SIZE else 5
OUTAGE_SECONDS = 60 if FULL_SIZE else 5
STARTING_SECONDS = 1.5
"""About the time from the start of a forked service to its first answer."""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation per database, as training a version takes longer than a test."""
    with contextlib.ExitStack() as stack:
        home = tmp_path_factory.mktemp("kills") / "home"
        if request.param == "sqlite":
            url, without_store = f"sqlite:///{home / 'keel.db'}", lambda: locked(home / "keel.db")
        else:
            url, without_store = stack.enter_context(postgres())
        with Workspace.open(home=home, store_url=url, environment={}) as ws:
            first_version(ws)
        write_models(home, CONFIG)
        yield Installation(home, url, without_store)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a store on SQLite against other writers."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_kills_and_store_outages_lose_no_answered_row(installation: Installation) -> None:
    chance = random.Random(KILLS)
    before = {name for name, _ in installation.predictions() + installation.labels()}
    with installation.serving() as serving, sending(serving, seed=1) as client:
        for number in range(KILLS):
            client.until_answered(20)
            with installation.without_store() if number % 3 == 1 else contextlib.nullcontext():
                time.sleep(chance.uniform(0, 1.5))
                serving.kill()
                serving.start()
                if number % 3 == 2:
                    # once more while it starts and adopts what the last one left
                    time.sleep(chance.uniform(0, STARTING_SECONDS))
                    serving.kill()
                    serving.start()
                elif number % 3 == 1:
                    time.sleep(chance.uniform(0, 2 * STARTING_SECONDS))
        client.until_answered(20)
        client.finish()
        until_stored(serving)
        assert serving.stop() == 0
    assert set(client.refused) <= {"503 NoProductionVersion", "503 StoreUnavailable"}
    require_everything_stored(installation, client, before, in_flight=2 * KILLS * 5 * THREADS)
    assert len(client.predicted) >= 20 * KILLS
    assert len(client.labelled) > KILLS


def test_store_outage_costs_no_request(installation: Installation) -> None:
    before = {name for name, _ in installation.predictions() + installation.labels()}
    with installation.serving() as serving, sending(serving, seed=2) as client:
        client.until_answered(50)
        with installation.without_store():
            down_at, answered = time.monotonic(), len(client.predicted)
            while time.monotonic() < down_at + OUTAGE_SECONDS:
                client.until_answered(10)
            assert len(client.predicted) > answered + 20
            assert serving.client.get("/version").json()["spool"]["records"] > 10
        client.until_answered(50)
        client.finish()
        until_stored(serving)
        assert serving.stop() == 0
    assert not client.refused
    require_everything_stored(installation, client, before, in_flight=0)
