"""Labels and predictions from several processes at once: each label has one of its outcomes, and nothing fails."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from keel.store import Store
from keel.store.database.tables import label_conflicts
from keel.store.database.tables import labels as labels_table
from tests.support.paths import PROJECT
from tests.support.store_fixtures import EVER, FEATURES

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT)))}
ROWS, ROUNDS = 60, 25
FEED = """
import random, sys
from keel.store import Store
from tests.support.store_fixtures import FEATURES, batch, labels
number, rows, rounds = (int(argument) for argument in sys.argv[2:5])
total = [0] * 5
with Store.open(sys.argv[1], timeout=60) as store:
    log = store.predictions("m", FEATURES)
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(rounds):
        # both say the same of even rows and contradict each other on odd ones, each in an order of its own
        values = [(f"{i}-{j}", float(j % 2 and number)) for j in range(rows)]
        random.Random(number).shuffle(values)
        names = sorted((name for name, _ in values), reverse=bool(number))
        steps = [lambda: log.append(batch(names[: 2 * rows // 3])), None]
        for step in steps[:: 1 if number else -1]:  # the one's labels are late, the other's early
            if step is not None:
                step()
                continue
            found = log.add_labels(labels(values))
            outcome = (found.stored, found.duplicates, found.conflicts, found.unmatched, found.expired)
            total = [a + b for a, b in zip(total, outcome)]
print(*total)
"""


@pytest.mark.slow
def test_labels_from_concurrent_processes_have_one_outcome_each(store_url: str) -> None:
    with Store.open(store_url, timeout=60) as store:
        log = store.predictions("m", FEATURES)
        command = [sys.executable, "-W", "ignore", "-c", FEED, store_url]
        running = [
            subprocess.Popen([*command, str(number), str(ROWS), str(ROUNDS)], env=ENVIRONMENT, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for number in (0, 1)
        ]  # fmt: skip
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0, 0], outputs
        told = [tuple(map(int, out.split())) for out, _ in outputs]
        stored, duplicates, conflicts, _, expired = (sum(column) for column in zip(*told, strict=True))
        every = ROWS * ROUNDS
        assert (stored, duplicates, conflicts, expired) == (every, every // 2, every // 2, 0)
        with store.connect() as connection:
            kept = dict(connection.execute(sa.select(labels_table.c.id, labels_table.c.label)).tuples().all())
            aside = dict(connection.execute(sa.select(label_conflicts.c.id, label_conflicts.c.label)).tuples().all())
        assert len(kept) == every
        assert aside == {name: 1 - value for name, value in kept.items() if int(name.split("-")[1]) % 2}
        with_rows = log.count(*EVER)
        assert log.labelled(*EVER).num_rows == with_rows
        assert sum(revision > 0 for *_, revision in store.performance.stale("m")) == 1, "all rows lie in one hour"
        assert store.verify() == []
