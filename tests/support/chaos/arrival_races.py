"""Processes that append predictions and labels while another follows their numbers; some are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from keel.store import Store
from keel.store.predictions.layout import ARRIVAL
from tests.support.paths import PROJECT
from tests.support.store_fixtures import EVER, FEATURES

if TYPE_CHECKING:
    import pyarrow as pa

WRITERS = 4
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT)))}
WRITE = """
import random, sys
from keel.store import Store
from tests.support.store_fixtures import FEATURES, batch, labels
number, rounds = int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(number)
with Store.open(sys.argv[1], timeout=60) as store:
    log = store.predictions("m", FEATURES)
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(rounds):
        # some of the rows are those of other processes too
        ids = [f"own-{number}-{i}-{j}" for j in range(chance.choice((1, 3, 40, 400)))]
        ids += [f"all-{i}-{j}" for j in range(chance.randrange(20))]
        chance.shuffle(ids)
        feed = [lambda: log.append(batch(ids)), lambda: log.add_labels(labels({name: 1.0 for name in ids[::3]}))]
        for step in feed[:: chance.choice((1, -1))]:  # labels come early or late
            step()
"""


class Follower:
    """Follows the rows of a version, and their pairs with labels, in pages of random size."""

    def __init__(self, store: Store) -> None:
        self._log = store.predictions("m", FEATURES)
        self._chance = random.Random(0)
        self.rows: list[str] = []
        self.pairs: list[str] = []
        self._read = self._settled = self._labels = 0

    def step(self) -> bool:
        """Read a page of each. Returns whether there was anything new."""
        before = self._read, self._settled, self._labels
        limit = self._chance.choice((1, 7, 100, 1_000))
        page = self._log.arrived(1, after=self._read, limit=limit)
        numbers = [self._read, *page[ARRIVAL].to_pylist()]
        assert numbers == sorted(set(numbers)), "in order, each once"
        self._read = numbers[-1]
        self.rows += page["id"].to_pylist()
        self._settled, pairs = self._log.settled(
            1, after=self._settled, mature=EVER[1], labels_until=self._labels, limit=limit
        )
        self._add(pairs)
        self._labels, pairs = self._log.late_labels(1, predictions_until=self._settled, after=self._labels, limit=limit)
        self._add(pairs)
        return (self._read, self._settled, self._labels) != before

    def _add(self, pairs: pa.Table) -> None:
        self.pairs += pairs["id"].to_pylist()


def require_each_row_once(url: str, *, rounds: int, kills: int) -> int:
    """Follow writers, ``kills`` of which die in the middle of their work. Returns the number of rows."""
    chance = random.Random(kills)
    with Store.open(url, timeout=60) as store:
        log = store.predictions("m", FEATURES)
        follower, killed = Follower(store), 0
        running = [start(url, number, rounds) for number in range(WRITERS)]
        for process in running:
            begin(process)
        next_kill = time.monotonic() + chance.uniform(0.05, 0.2)
        while any(process.poll() is None for process in running):
            if not follower.step():
                time.sleep(0.005)
            if killed < kills and time.monotonic() > next_kill:
                victim = chance.randrange(WRITERS)
                if running[victim].poll() is None:
                    running[victim].send_signal(signal.SIGKILL)
                    running[victim].communicate()
                    killed += 1
                running[victim] = start(url, WRITERS + killed, rounds)  # a service that is started again
                begin(running[victim])
                next_kill = time.monotonic() + chance.uniform(0.05, 0.4)
        errors = [process.communicate()[1] for process in running]
        assert [process.returncode for process in running] == [0] * WRITERS, errors
        assert killed == kills, "too few kills: the writers ended before"
        while follower.step():
            pass
        stored = log.read(*EVER)[0]["id"].to_pylist()
        assert sorted(follower.rows) == sorted(stored)
        assert sorted(follower.pairs) == sorted(log.labelled(*EVER)["id"].to_pylist())
        assert store.verify() == []
        return len(stored)


def start(url: str, number: int, rounds: int) -> subprocess.Popen[str]:
    """Start a writer that waits for `begin`."""
    command = [sys.executable, "-W", "ignore", "-c", WRITE, url, str(number), str(rounds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def begin(process: subprocess.Popen[str]) -> None:
    """Let a writer begin as soon as it is ready."""
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
