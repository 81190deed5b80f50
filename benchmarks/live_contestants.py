"""Run one contestant of `bench_live` in a process of its own: one round, and one line of JSON, per line of input.

``python live_contestants.py NAME FOLDER`` with ``stream.npy`` in the folder, shape (rows, features); a name is what
follows ``prepare_`` below. Imports are those of the contestant only, so that the module runs in either environment.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], int]
"""Observes rows and returns how many observations of one feature that were."""

BLOCK, CONTEXTS, BINS = 100, 24, 20
REFERENCE, PAGE = 50_000, 10_000


def prepare_keel(stream: np.ndarray) -> Run:
    """Every row is in a random one of 24 hours: nothing is saved by rows of one context being together."""
    return _monitors(stream, np.random.default_rng(1).integers(0, CONTEXTS, len(stream)))


def prepare_one_hour(stream: np.ndarray) -> Run:
    return _monitors(stream, np.full(len(stream), 7))


def _monitors(stream: np.ndarray, contexts: np.ndarray) -> Run:
    """Judge block by block, from bins: ranks, bets, evidence and estimated start."""
    from keel.stats.sequential.conformal import BETS, ConformalRanks
    from keel.stats.sequential.e_detector import EDetector

    features, rng = stream.shape[1], np.random.default_rng(2)
    counts = rng.multinomial(REFERENCE // CONTEXTS, np.full(BINS, 1 / BINS), (features, CONTEXTS))
    bins = (np.argsort(np.argsort(stream, axis=0), axis=0) * BINS // len(stream)).T.astype(np.int8)
    ranks, detector = ConformalRanks(counts), EDetector.fresh(features, BETS)
    uniforms = np.random.Generator(np.random.Philox(3))

    def run() -> int:
        for start in range(0, len(stream), BLOCK):
            rows = slice(start, start + BLOCK)
            drawn = uniforms.random((features, BLOCK))
            detector.update(ranks.log_factors(bins[:, rows], contexts[rows], drawn, block_size=BLOCK))
        return stream.size

    return run


def prepare_values(stream: np.ndarray) -> Run:
    """Judge pages of blocks as the background service does: from an arrow table of values and times."""
    import pyarrow as pa

    from keel import ReferenceGrid
    from keel.grid.contexts import ContextReference
    from keel.stats.sequential.conformal import BETS, ConformalRanks
    from keel.stats.sequential.e_detector import EDetector

    def table(values: np.ndarray) -> pa.Table:
        times = np.random.default_rng(4).integers(0, 86_400 * 10**6, len(values)).astype("datetime64[us]")
        return pa.table({name: column for name, column in zip(names, values.T.copy(), strict=True)} | {"time": times})

    features = stream.shape[1]
    names = [f"x{i}" for i in range(features)]
    before = table(np.random.default_rng(5).normal(size=(REFERENCE, features)))
    reference = ContextReference.fit(
        ReferenceGrid.fit(before, dict.fromkeys(names, "numeric")), before, context=("hour",)
    )
    ranks, detector = ConformalRanks(reference.counts), EDetector.fresh(features, BETS)
    uniforms, rows = np.random.Generator(np.random.Philox(3)), table(stream)

    def run() -> int:
        for start in range(0, len(stream), PAGE):
            bins, contexts = reference.assign(rows.slice(start, PAGE))
            detector.update(ranks.log_factors(bins, contexts, uniforms.random(bins.shape), block_size=BLOCK))
        return stream.size

    return run


def prepare_adwin(stream: np.ndarray) -> Run:
    from river.drift import ADWIN

    return _detectors(ADWIN, stream)


def prepare_page_hinkley(stream: np.ndarray) -> Run:
    from river.drift import PageHinkley

    return _detectors(PageHinkley, stream)


def prepare_kswin(stream: np.ndarray) -> Run:
    from river.drift import KSWIN

    return _detectors(lambda: KSWIN(seed=0), stream[:400, :5])  # a hundred times as slow as the others


def _detectors(make: Callable[[], Any], stream: np.ndarray) -> Run:
    """Judge value by value, each feature with a detector of its own at its defaults."""
    values = stream.T.tolist()  # python's own numbers, which river is fastest with
    detectors, found = [make() for _ in values], []

    def run() -> int:
        for detector, column in zip(detectors, values, strict=True):
            for value in column:
                detector.update(value)
                if detector.drift_detected:  # as river's own examples use it
                    found.append(value)
        return stream.size

    return run


def main() -> None:
    contestant, folder = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be read as an answer
    run = globals()[f"prepare_{contestant}"](np.load(folder / "stream.npy"))
    print(json.dumps({"fit": 0.0}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.process_time()  # all of them are single-threaded: other work on the machine counts less
        observations = run()
        seconds = (time.process_time() - started) / observations
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak": peak}), file=answers, flush=True)


if __name__ == "__main__":
    main()
