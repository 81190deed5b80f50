"""Many writers, and writers that die: nothing is lost, nothing is there twice, nothing is there by half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from keel.store import Store
from tests.support.paths import PROJECT
from tests.support.store_fixtures import EVER, FEATURES

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT)))}
APPEND = """
import sys
from datetime import timedelta
from keel.store import Store
from tests.support.store_fixtures import FEATURES, NOON, batch, labels
number, rounds, size = (int(argument) for argument in sys.argv[2:5])
with Store.open(sys.argv[1], timeout=60) as store:
    log = store.predictions("m", FEATURES)
    stored = 0
    for i in range(rounds):
        # half of every batch is this process's own, half is what all of them send, in another order each
        ids = [f"own-{number}-{i}-{j}" for j in range(size)] + [f"all-{i}-{j}" for j in range(size)]
        table = batch(ids[:: 1 if number % 2 else -1], start=NOON + timedelta(hours=i), step=timedelta(0))
        stored += log.append(table).stored
        log.add_labels(labels({name: 1.0 for name in ids[::7]}))
        print(i, flush=True)
print(stored)
"""


def start(url: str, *numbers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", APPEND, url, *map(str, numbers)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_append_by_concurrent_processes_stores_each_row_once(store_url: str) -> None:
    processes, rounds, size = 4, 6, 200
    with Store.open(store_url, timeout=60) as store:
        log = store.predictions("m", FEATURES)
        running = [start(store_url, number, rounds, size) for number in range(processes)]
        counted: dict[object, int] = {}
        # meanwhile, a counter: what it last saw of every hour must in the end be all there is
        while any(process.poll() is None for process in running) or log.dirty_hours(EVER[1]):
            for version, hour, revision in log.dirty_hours(EVER[1]):
                counted[hour] = sum(table.num_rows for table in log.read_hour(version, hour))
                log.mark_counted(version, [(hour, revision)])
            time.sleep(0.02)
        outputs = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0] * processes, outputs
        expected = rounds * size * (processes + 1)
        assert sum(int(out.split()[-1]) for out, _ in outputs) == expected
        assert log.count(*EVER) == sum(counted.values()) == expected
        ids = log.read(*EVER)[0]["id"].to_pylist()
        assert len(set(ids)) == len(ids)
        labelled = log.labelled(*EVER).num_rows
        assert labelled == len({f"{i}-{name}" for i in range(rounds) for name in labelled_names(processes, size)})


def labelled_names(processes: int, size: int) -> set[str]:
    names: set[str] = set()
    for number in range(processes):
        names.update(([f"own-{number}-{j}" for j in range(size)] + [f"all-{j}" for j in range(size)])[::7])
    return names


@pytest.mark.slow
def test_append_by_a_killed_writer_is_atomic(store_url: str) -> None:
    size, chance = 10_000, random.Random(0)
    with Store.open(store_url, timeout=60) as store:
        log = store.predictions("m", FEATURES)
        confirmed: set[str] = set()
        for number in range(4):
            process = start(store_url, number, 1000, size)
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, process.stderr and process.stderr.read()
            time.sleep(chance.uniform(0.05, 0.6))
            process.send_signal(signal.SIGKILL)
            rounds = [first, *process.communicate()[0].splitlines()]
            confirmed.update(f"own-{number}-{line.strip()}" for line in rounds if line.strip().isdigit())
        batches: dict[str, int] = {}
        for name in log.read(*EVER)[0]["id"].to_pylist():
            batches[name.rsplit("-", 1)[0]] = batches.get(name.rsplit("-", 1)[0], 0) + 1
        assert set(batches.values()) == {size}, "a batch is there by half"
        assert confirmed <= batches.keys(), "a batch that was confirmed is gone"
        hours = {hour for _, hour, _ in log.dirty_hours(EVER[1])}
        marked = sum(table.num_rows for hour in hours for table in log.read_hour(1, hour))
        assert marked == log.count(*EVER), "rows in an hour that nobody will count"
