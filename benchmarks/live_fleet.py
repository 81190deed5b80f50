"""Fifty models on one triggerer: how late is a block judged, and what does an idle poll cost the store?

    PYTHONPATH=include:. python -m benchmarks.live_fleet [--models 50] [--block-every 10] [--store URL]

Real stores, versions and monitors; the poll is the triggerer's thread without Airflow around it. A process of its own
sends each model a block of 100 predictions in turn, so that every model has one every ``--block-every`` seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from keel.monitoring.live import poll as polling
from keel.workspace import Workspace
from tests.support.versions.cloned import RIGHT, Trained

if TYPE_CHECKING:
    from keel.config import ModelConfig

Ends = multiprocessing.Queue
BLOCK = 100


def block(number: int, rng: np.random.Generator) -> pa.Table:
    """Return a block of predictions that end now."""
    now, x = datetime.now(UTC), rng.normal(size=BLOCK)
    score = 1 / (1 + np.exp(-1.5 * x))
    times = [now - timedelta(microseconds=BLOCK - i) for i in range(BLOCK)]
    return pa.table(
        {
            "id": [f"b{number}-{i}" for i in range(BLOCK)],
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "version": pa.array([1] * BLOCK, pa.int64()),
            "score": score,
            "prediction": (score > 0.5).astype(float),
            "x": x,
            "z": rng.exponential(size=BLOCK),
            "colour": pa.array(rng.choice(["red", "green", "blue"], BLOCK)),
        }
    )


def send(
    home: Path, url: str, configs: list[ModelConfig], every: float, blocks: int, ends: multiprocessing.Queue
) -> None:
    """Send each model a block in turn, and tell when it was stored."""
    rng = np.random.default_rng(0)
    with Workspace.open(home=home, store_url=url, environment={}) as ws:
        begun = time.monotonic()
        for number in range(blocks):
            time.sleep(max(0.0, begun + number * every / len(configs) - time.monotonic()))
            config = configs[number % len(configs)]
            ws.predictions(config).append(block(number, rng))
            ends.put((config.model, time.monotonic()))


def idle(poll: polling.Poll, models: set[str], passes: int = 200) -> str:
    """Return what a pass costs while nothing arrives."""
    statements = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    begun, cpu, walls = time.monotonic(), time.process_time(), []
    for _ in range(passes):
        start = time.monotonic()
        poll.run(models, now=datetime.now(UTC))
        walls.append(time.monotonic() - start)
    cpu, queries = time.process_time() - cpu, len(statements) / passes
    assert time.monotonic() - begun < polling.REFRESH_SECONDS, "a refresh is no idle pass"
    return (
        f"an idle poll of {len(models)} models: {queries:.0f} query, median {statistics.median(walls) * 1e3:.2f} ms, "
        f"{cpu / passes * 1e3:.2f} ms of the processor"
    )


def lateness(
    poll: polling.Poll, ws: Workspace, models: set[str], ends: multiprocessing.Queue, every: float, blocks: int
):
    """Poll until all blocks are judged; return for each how long after it was stored, and the time of each pass."""
    waiting: dict[str, list[float]] = {model: [] for model in models}
    judged = {model: rows_of(ws, model) for model in models}
    late: list[float] = []
    passes: list[float] = []
    while len(late) < blocks:
        start = time.monotonic()
        behind = poll.run(models, now=datetime.now(UTC)).behind
        end = time.monotonic()
        passes.append(end - start)
        time.sleep(0.02)
        while not ends.empty():
            model, at = ends.get()
            waiting[model].append(at)
        for model in models:
            if waiting[model]:
                rows = rows_of(ws, model)
                for _ in range((rows - judged[model]) // BLOCK):
                    late.append(end - waiting[model].pop(0))
                judged[model] = rows
        time.sleep(0 if behind else max(0.0, every - (time.monotonic() - start)))
    return late, passes


def rows_of(ws: Workspace, model: str) -> int:
    stored = ws.store.live.read(model)
    return 0 if stored is None else stored.rows


def main() -> None:
    """Set up the models, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=6, help="blocks of each model")
    parser.add_argument("--block-every", type=float, default=10.0, help="seconds between two blocks of a model")
    parser.add_argument("--every", type=float, default=polling.POLL_SECONDS, help="seconds between two polls")
    parser.add_argument("--store", default=None, help="URL of an empty database; else a SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = options.store or f"sqlite:///{home / 'keel.db'}"
        with Workspace.open(home=home, store_url=url, environment={}) as ws:
            trained = Trained.in_workspace(ws)
            configs = {m.name: m.config for m in (trained.model(RIGHT) for _ in range(options.models))}
            polling.read_models = lambda: (configs, [])  # type: ignore[assignment]
            poll = polling.Poll(lambda: Workspace.open(home=home, store_url=url, environment={}))
            models, begun = set(configs), time.monotonic()
            while poll.run(models, now=datetime.now(UTC)).behind:
                pass
            print(f"{len(models)} models started in {time.monotonic() - begun:.1f} s")
            print(idle(poll, models))
            blocks, context = options.blocks * options.models, multiprocessing.get_context("spawn")
            ends = context.Queue()
            arguments = (home, url, list(configs.values()), options.block_every, blocks, ends)
            sender = context.Process(target=send, args=arguments)
            sender.start()
            late, passes = lateness(poll, ws, models, ends, options.every, blocks)
            sender.join()
            poll.close()
        ordered = sorted(late)
        worst = ordered[len(ordered) * 99 // 100]
        print(f"{blocks} blocks, one of each model every {options.block_every:g} s, a poll every {options.every:g} s:")
        print(
            f"judged {statistics.median(ordered):.1f} s after the last row at the median, {worst:.1f} at the 99th "
            f"percentile, {ordered[-1]:.1f} at most; a pass takes {statistics.median(passes):.2f} s"
        )


if __name__ == "__main__":
    main()
