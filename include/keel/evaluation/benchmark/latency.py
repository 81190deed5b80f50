"""How fast versions answer: latency, throughput and load time, measured in turns.

A shared machine is never quiet. Versions are therefore called one after the other on the same rows, in an order that
is drawn anew for each round, so that whatever else the machine does falls on all of them alike: their ratios mean more
than their milliseconds.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import InsufficientData
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.registry.registry import Registry
    from keel.registry.scoring_model import ScoringModel

    Clock = Callable[[], float]

SIZES = (1, 100, 1_000)
"""Rows in a call: one answer for one caller, and batches; one row must be among them."""
SECONDS = 10.0
QUICK_SECONDS = 1.0
WARM_UP_CALLS = 3
"""The first calls import, allocate and fill caches: they are made, and not counted."""
LEAST_CALLS = 50
"""Made though the time is over: on a busy machine the median of fewer says little."""
MOST_CALLS = 10_000
BATCHES = 50
"""Different batches that calls take in turn, so that no single row's path through the model is what is measured."""
LOADS = 5


@dataclass(frozen=True)
class Latency:
    """How long calls with so many rows took, in ms; NaN for a percentile that so few calls do not reach."""

    rows: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, rows: int, seconds: Sequence[float]) -> Latency:
        """Sum up how long each call took."""
        calls = len(seconds)
        # From where on at least one call lies beyond it.
        p50, p95, p99 = (
            float(np.percentile(seconds, percent)) * 1_000 if calls * (100 - percent) >= 100 else math.nan
            for percent in (50, 95, 99)
        )
        return cls(rows, calls, p50, p95, p99)


@dataclass(frozen=True)
class Speed:
    """How fast and how large one version is; NaN for what was not measured.

    ``p50_ms`` to ``p99_ms`` are one row's. A ratio to another version's is worth more than a number by itself.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    batches: Mapping[int, Latency] = field(default_factory=dict)
    rows_per_second: float = math.nan
    """Rows over the median time of a call, of the size for which that is highest."""
    load_ms: float = math.nan
    """Median time from asking the registry until the version can score, in a process that has loaded others before."""
    memory_mb: float = math.nan
    """Peak of what loading the version and scoring a batch add to a process, without libraries' code."""
    size_mb: float = math.nan
    """The version's model on disk."""

    @property
    def numbers(self) -> dict[str, float]:
        """Every measure under the name it is logged by; a batch's as ``batch_100_p50_ms``."""
        batches = {
            f"batch_{rows}_{name}": getattr(latency, name)
            for rows, latency in self.batches.items()
            for name in ("p50_ms", "p95_ms", "p99_ms")
        }
        return {
            "p50_ms": self.p50_ms, "p95_ms": self.p95_ms, "p99_ms": self.p99_ms, **batches,
            "rows_per_second": self.rows_per_second, "load_ms": self.load_ms, "memory_mb": self.memory_mb,
            "size_mb": self.size_mb,
        }  # fmt: skip

    def ratios(self, baseline: Speed) -> dict[str, float | None]:
        """Return each measure over the baseline's; None where either was not measured."""
        theirs = baseline.numbers
        return {
            name: finite_or_none(value / theirs[name]) if theirs.get(name) else None
            for name, value in self.numbers.items()
        }

    @property
    def summary(self) -> str:
        """The main numbers in a line."""
        parts = [f"{self.p50_ms:.3g} ms a row", f"{self.rows_per_second:,.0f} rows/s"]
        rest = (("to load", self.load_ms, "ms"), ("of memory", self.memory_mb, "MB"), ("on disk", self.size_mb, "MB"))
        return ", ".join(parts + [f"{value:.3g} {unit} {what}" for what, value, unit in rest if math.isfinite(value)])

    def to_dict(self) -> dict[str, Any]:
        """Return `numbers` as JSON-able values, NaN as None, and by size how many calls they rest on."""
        calls = {"1": self.calls} | {str(rows): latency.calls for rows, latency in self.batches.items()}
        return {name: finite_or_none(value) for name, value in self.numbers.items()} | {"calls": calls}


def measure(
    models: Mapping[int, ScoringModel],
    rows: pa.Table,
    *,
    sizes: Sequence[int] = SIZES,
    seconds: float = SECONDS,
    seed: int = 0,
    clock: Clock = time.perf_counter,
) -> dict[int, Speed]:
    """Measure how fast versions score: latency for one row and for batches, and throughput.

    rows: what is scored; batches larger than it repeat it. seconds: for each version, the sizes sharing them alike; a
    version that takes longer than that for `LEAST_CALLS` of each size is nevertheless called so often.

    Raises
    ------
    InsufficientData
        There are no rows.

    """
    if not rows.num_rows:
        raise InsufficientData(feature="rows to score", needed=1, got=0)
    generator = np.random.default_rng(seed)
    taken: dict[int, dict[int, Latency]] = {version: {} for version in models}
    for size in sizes:
        batches = _batches(rows, size, generator)
        with _collector_paused():
            timed = _time_calls(models, batches, seconds / len(sizes), generator, clock)
        for version, spent in timed.items():
            taken[version][size] = Latency.of(size, spent)
    return {version: _speed(latencies) for version, latencies in taken.items()}


def quick(
    models: Mapping[int, ScoringModel], rows: pa.Table, *, seed: int = 0, clock: Clock = time.perf_counter
) -> dict[int, Speed]:
    """Measure the latency of one row, to compare medians by, in about a second for each version.

    A version that takes longer than 20 ms is nevertheless called `LEAST_CALLS` times.
    """
    return measure(models, rows, sizes=(1,), seconds=QUICK_SECONDS, seed=seed, clock=clock)


def time_loading(
    load: Callable[[int], ScoringModel],
    versions: Iterable[int],
    *,
    loads: int = LOADS,
    clock: Clock = time.perf_counter,
) -> dict[int, float]:
    """Return the median time in ms that each version takes to load, in turns, after one load that does not count."""
    spent: dict[int, list[float]] = {version: [] for version in versions}
    for turn in range(loads + 1):
        for version, times in spent.items():
            began = clock()
            load(version)
            if turn:
                times.append(clock() - began)
    return {version: float(np.median(times)) * 1_000 for version, times in spent.items()}


def record(registry: Registry, speeds: Mapping[int, Speed], report: Mapping[str, Any]) -> None:
    """Log to each version's own run its numbers as metrics and the report of all, and tag the version with a summary.

    As metrics of runs, versions stand side by side wherever MLflow compares runs or versions.
    """
    for version, speed in speeds.items():
        run_id = registry.resolve(report["model"], version=version).run_id
        registry.log_report(run_id, "benchmark", report)
        measured = {f"benchmark_{name}": value for name, value in speed.numbers.items() if math.isfinite(value)}
        with registry.reachable():
            client = registry.client
            for name, value in measured.items():
                client.log_metric(run_id, name, value)
        registry.set_tags(report["model"], version, {"keel.benchmark": speed.summary})


def _time_calls(
    models: Mapping[int, ScoringModel],
    batches: Sequence[pa.Table],
    seconds: float,
    generator: np.random.Generator,
    clock: Clock,
) -> dict[int, list[float]]:
    """Return by version how long each call took."""
    for model in models.values():
        for batch in batches[:WARM_UP_CALLS]:
            model.score(batch)
    order, taken = np.array(list(models)), {version: list[float]() for version in models}
    until, calls = clock() + seconds * len(models), 0
    while calls < LEAST_CALLS or (calls < MOST_CALLS and clock() < until):
        batch = batches[calls % len(batches)]
        for version in generator.permutation(order).tolist():
            began = clock()
            models[version].score(batch)
            taken[version].append(clock() - began)
        calls += 1
    return taken


def _batches(rows: pa.Table, size: int, generator: np.random.Generator) -> list[pa.Table]:
    """Draw batches of rows, each in one piece, as a caller would send them."""
    return [rows.take(generator.choice(rows.num_rows, size, replace=size > rows.num_rows)) for _ in range(BATCHES)]


def _speed(latencies: Mapping[int, Latency]) -> Speed:
    one = latencies[1]
    fastest = max(latency.rows / latency.p50_ms * 1_000 for latency in latencies.values())
    batches = {rows: latency for rows, latency in latencies.items() if rows != 1}
    return Speed(one.p50_ms, one.p95_ms, one.p99_ms, one.calls, batches, fastest)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep garbage collection, which stops whichever call it happens in, out of what is timed."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
