"""Streams with a known truth, and when Keel's live monitors and the usual detectors alarm on them.

Each column of a stream is a repetition of its own. Keel's are its own classes: the reference by context that training
makes, the ranks and the e-detector. river's detectors run in the peers' environment.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import kstwo

from benchmarks.bench_drift import PEERS, ROOT
from keel import ReferenceGrid
from keel.grid.contexts import ContextReference
from keel.stats.sequential.conformal import BETS, ConformalRanks
from keel.stats.sequential.e_detector import EDetector

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK, BLOCKS = 100, 1_000
ALPHA = 0.05
THRESHOLD = math.log(BLOCKS / ALPHA)
"""Of one monitor: P(alarm within `BLOCKS` blocks) ≤ α."""
ROWS_A_DAY = 2_400
REFERENCE_DAYS = 20
PAGE = 10_000
CHANGE = 10_000
"""The row at which a stream changes."""
NAIVE = ("KS, p < .01", "PSI > .2")
RIVER = ("ADWIN", "KSWIN", "PageHinkley")


def draw(kind: str, rng: np.random.Generator, days: Floats, columns: int) -> Floats:
    """Return rows of an unchanging world, shape (rows, columns).

    kind: ``iid``, standard normal; ``cycle``, with a sine of amplitude 1 over each day; ``dependent``, with a
    correlation of .2 between a row and the next one. days: the rows' times in days.
    """
    noise = rng.standard_normal((len(days), columns))
    if kind == "cycle":
        noise += np.sin(2 * np.pi * days)[:, None]
    elif kind == "dependent":
        noise = lfilter([math.sqrt(1 - 0.2**2)], [1, -0.2], noise, axis=0)
    return noise


def table(rows: Floats, days: Floats) -> pa.Table:
    """Return the rows with their times."""
    columns: dict[str, object] = {f"x{i}": column for i, column in enumerate(np.ascontiguousarray(rows.T))}
    return pa.table(columns | {"time": (days * 86_400e6).astype("datetime64[us]")})


def reference_of(
    kind: str, rows: int, columns: int, seed: Sequence[int], context: Sequence[str], *, days: Floats | None = None
) -> ContextReference:
    """Return a reference of so many rows, at these times in days; None: evenly over `REFERENCE_DAYS` days."""
    days = np.arange(rows) * REFERENCE_DAYS / rows if days is None else days
    given = table(draw(kind, np.random.default_rng(seed), days, columns), days)
    grid = ReferenceGrid.fit(given, {f"x{i}": "numeric" for i in range(columns)})
    return ContextReference.fit(grid, given, context=context)


def first_alarms(
    reference: ContextReference,
    stream: Floats,
    *,
    seed: int,
    thinning: int = 1,
    threshold: float = THRESHOLD,
    days: Floats | None = None,
) -> Integers:
    """Return the row after which each column's monitor first alarms, shape (columns,); -1 for never.

    days: the rows' times; None: `ROWS_A_DAY`, evenly.
    """
    ranks, detector = ConformalRanks(reference.counts), EDetector.fresh(len(reference.names), BETS)
    rng = np.random.Generator(np.random.Philox(seed))
    days = np.arange(len(stream)) / ROWS_A_DAY if days is None else days
    kept, days = stream[thinning - 1 :: thinning], days[thinning - 1 :: thinning]
    evidence = []
    for start in range(0, len(kept), PAGE):
        rows = slice(start, start + PAGE)
        bins, contexts = reference.assign(table(kept[rows], days[rows]))
        factors = ranks.log_factors(bins, contexts, rng.random(bins.shape), block_size=BLOCK)
        evidence.append(detector.update(factors).evidence)
    return first(np.concatenate(evidence) >= threshold) * thinning


def first(alarms: NDArray[np.bool_]) -> Integers:
    """Return the row at the end of the first block with an alarm, shape (columns,); -1 for never.

    alarms: shape (blocks, columns).
    """
    return np.where(alarms.any(axis=0), (alarms.argmax(axis=0) + 1) * BLOCK, -1)


def naive_alarms(reference: Floats, stream: Floats) -> dict[str, Integers]:
    """Return the row of the first alarm of tests of the last 100 rows; both shape (rows, columns)."""
    n = len(reference)
    largest = kstwo.isf(0.01, round(n * BLOCK / (n + BLOCK)))  # scipy's ks_2samp(method="asymp")
    steps = np.arange(BLOCK + 1) / BLOCK
    ks, psi = [], []
    for then, now in zip(np.sort(reference, axis=0).T, stream.T, strict=True):
        blocks = np.sort(now.reshape(-1, BLOCK), axis=1)
        above = np.searchsorted(then, blocks, side="right") / n - steps[:-1]
        below = steps[1:] - np.searchsorted(then, blocks, side="left") / n
        ks.append(np.maximum(above, below).max(axis=1) >= largest)
        deciles = np.quantile(then, np.arange(1, 10) / 10)
        expected = np.bincount(np.searchsorted(deciles, then), minlength=10) / n
        cells = np.searchsorted(deciles, blocks) + 10 * np.arange(len(blocks))[:, None]
        share = np.bincount(cells.ravel(), minlength=10 * len(blocks)).reshape(-1, 10) / BLOCK
        share = np.maximum(share, 1e-4)  # the usual floor of an empty bin
        psi.append(((share - expected) * np.log(share / expected)).sum(axis=1) > 0.2)
    return {name: first(np.column_stack(alarms)) for name, alarms in zip(NAIVE, (ks, psi), strict=True)}


def river_alarms(stream: Floats, detectors: Sequence[str] = RIVER) -> dict[str, Integers]:
    """Return the row of the first alarm of river's detectors at their defaults, one for each column; -1 for never."""
    with tempfile.TemporaryDirectory(prefix="keel-live-") as folder:
        np.save(Path(folder) / "stream.npy", stream)
        command = [str(PEERS / "bin" / "python"), str(ROOT / "benchmarks" / "live_peers.py"), folder, *detectors]
        environment = {**os.environ, "PYTHONPATH": ""}
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {name: np.array(rows) for name, rows in json.loads(answer.stdout).items()}
