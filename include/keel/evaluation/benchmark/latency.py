"""Measure latency, throughput and load time of versions, in turns.

Other work on a shared machine disturbs every measurement. Therefore versions are called one after the other on the same
rows, in a new random order in each round, so that the disturbance affects all of them alike. Their ratios are more
reliable than their milliseconds.
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
"""Rows in a call: a single row and batches; one row must be among them."""
SECONDS = 10.0
QUICK_SECONDS = 1.0
WARM_UP_CALLS = 3
"""Calls that are not counted: the first ones import, allocate and fill caches."""
MIN_CALLS = 50
"""Minimum number of calls, even beyond the time: on a busy machine the median of fewer is not reliable."""
MAX_CALLS = 10_000
BATCHES = 50
"""Number of different batches that calls use in turn, so that no single row determines the result."""
LOADS = 5


@dataclass(frozen=True)
class Latency:
    """The latency in ms of calls with a number of rows; NaN for a percentile without a call beyond it."""

    rows: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, rows: int, seconds: Sequence[float]) -> Latency:
        """Return the latency from the seconds of each call."""
        calls = len(seconds)
        # A percentile needs at least one call beyond it.
        p50, p95, p99 = (
            float(np.percentile(seconds, percent)) * 1_000 if calls * (100 - percent) >= 100 else math.nan
            for percent in (50, 95, 99)
        )
        return cls(rows, calls, p50, p95, p99)


@dataclass(frozen=True)
class BenchmarkResult:
    """The latency, throughput, memory and size of one version; NaN for what was not measured.

    ``p50_ms`` to ``p99_ms`` are those of one row. Ratios between versions are more reliable than the numbers.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    batches: Mapping[int, Latency] = field(default_factory=dict)
    rows_per_second: float = math.nan
    """Rows divided by the median time of a call, for the batch size with the highest value."""
    load_ms: float = math.nan
    """Median time to load the version from the registry, in a process that has loaded another before."""
    memory_mb: float = math.nan
    """Peak memory that loading the version and scoring a batch add to a process, without code of libraries."""
    size_mb: float = math.nan
    """Size of the version's model on disk."""

    @property
    def numbers(self) -> dict[str, float]:
        """Every measurement by its name in MLflow; a batch's is ``batch_100_p50_ms``."""
        batches = {
            f"batch_{rows}_{name}": getattr(latency, name)
            for rows, latency in self.batches.items()
            for name in ("p50_ms", "p95_ms", "p99_ms")
        }
        return {
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
            **batches,
            "rows_per_second": self.rows_per_second,
            "load_ms": self.load_ms,
            "memory_mb": self.memory_mb,
            "size_mb": self.size_mb,
        }

    def ratios(self, baseline: BenchmarkResult) -> dict[str, float | None]:
        """Return each measurement divided by the baseline's; None where either is missing."""
        theirs = baseline.numbers
        return {
            name: finite_or_none(value / theirs[name]) if theirs.get(name) else None
            for name, value in self.numbers.items()
        }

    @property
    def summary(self) -> str:
        """The main measurements in one line."""
        parts = [f"{self.p50_ms:.3g} ms a row", f"{self.rows_per_second:,.0f} rows/s"]
        rest = (("to load", self.load_ms, "ms"), ("of memory", self.memory_mb, "MB"), ("on disk", self.size_mb, "MB"))
        return ", ".join(parts + [f"{value:.3g} {unit} {what}" for what, value, unit in rest if math.isfinite(value)])

    def to_dict(self) -> dict[str, Any]:
        """Return `numbers` as JSON-able values, NaN as None, and the number of calls by batch size."""
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
) -> dict[int, BenchmarkResult]:
    """Measure the latency of versions for one row and for batches, and their throughput.

    Parameters
    ----------
    rows
        The rows to score; batches that are larger repeat them.
    seconds
        Time for each version, divided equally between the sizes. Each size gets at least `MIN_CALLS` calls, even if
        they take longer.

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
    return {version: _result(latencies) for version, latencies in taken.items()}


def measure_single_row(
    models: Mapping[int, ScoringModel], rows: pa.Table, *, seed: int = 0, clock: Clock = time.perf_counter
) -> dict[int, BenchmarkResult]:
    """Measure the latency of one row in about a second for each version, or `MIN_CALLS` calls if they take longer."""
    return measure(models, rows, sizes=(1,), seconds=QUICK_SECONDS, seed=seed, clock=clock)


def time_loading(
    load: Callable[[int], ScoringModel],
    versions: Iterable[int],
    *,
    loads: int = LOADS,
    clock: Clock = time.perf_counter,
) -> dict[int, float]:
    """Return the median time in ms to load each version, in turns, after one load that does not count."""
    spent: dict[int, list[float]] = {version: [] for version in versions}
    for turn in range(loads + 1):
        for version, times in spent.items():
            began = clock()
            load(version)
            if turn:
                times.append(clock() - began)
    return {version: float(np.median(times)) * 1_000 for version, times in spent.items()}


def log_to_mlflow(registry: Registry, results: Mapping[int, BenchmarkResult], report: Mapping[str, Any]) -> None:
    """Log the measurements of each version as metrics of its run, with the report, and tag the version with a summary.

    As metrics of runs, the measurements appear wherever MLflow compares runs or versions.
    """
    for version, result in results.items():
        run_id = registry.resolve(report["model"], version=version).run_id
        registry.log_report(run_id, "benchmark", report)
        measured = {f"benchmark_{name}": value for name, value in result.numbers.items() if math.isfinite(value)}
        with registry.reachable():
            client = registry.client
            for name, value in measured.items():
                client.log_metric(run_id, name, value)
        registry.set_tags(report["model"], version, {"keel.benchmark": result.summary})


def _time_calls(
    models: Mapping[int, ScoringModel],
    batches: Sequence[pa.Table],
    seconds: float,
    generator: np.random.Generator,
    clock: Clock,
) -> dict[int, list[float]]:
    """Return the seconds of each call by version."""
    for model in models.values():
        for batch in batches[:WARM_UP_CALLS]:
            model.score(batch)
    order, taken = np.array(list(models)), {version: list[float]() for version in models}
    until, calls = clock() + seconds * len(models), 0
    while calls < MIN_CALLS or (calls < MAX_CALLS and clock() < until):
        batch = batches[calls % len(batches)]
        for version in generator.permutation(order).tolist():
            began = clock()
            models[version].score(batch)
            taken[version].append(clock() - began)
        calls += 1
    return taken


def _batches(rows: pa.Table, size: int, generator: np.random.Generator) -> list[pa.Table]:
    """Draw random batches of rows."""
    return [rows.take(generator.choice(rows.num_rows, size, replace=size > rows.num_rows)) for _ in range(BATCHES)]


def _result(latencies: Mapping[int, Latency]) -> BenchmarkResult:
    one = latencies[1]
    fastest = max(latency.rows / latency.p50_ms * 1_000 for latency in latencies.values())
    batches = {rows: latency for rows, latency in latencies.items() if rows != 1}
    return BenchmarkResult(one.p50_ms, one.p95_ms, one.p99_ms, one.calls, batches, fastest)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Turn garbage collection off, which would prolong the calls that it happens in."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
