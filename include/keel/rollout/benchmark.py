"""Benchmark versions of a model side by side on recently logged rows, and log the results to MLflow."""

from __future__ import annotations

import logging
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keel import deployments
from keel.deployments.history import Status, history
from keel.errors import ConfigError, InsufficientData, UnknownVersion
from keel.evaluation.benchmark.latency import SECONDS, BenchmarkResult, log_to_mlflow, measure, time_loading
from keel.evaluation.benchmark.memory import StoredModel, folder_mb, measure_memory
from keel.monitoring.records import JsonObject, Record, Span, Time
from keel.training.datasets import recent_rows
from keel.window import now_utc

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

ROWS = 1_000
MIN_ROWS = 100
"""Fewer rows do not have the variety that a version meets: categories, missing values, paths through its trees."""


class Machine(Record):
    """The machine that the numbers depend on."""

    python: str
    system: str
    architecture: str
    cpus: int | None


class BenchmarkRecord(Record):
    """The results of versions that were measured side by side."""

    model: str
    production: int | None
    baseline: int
    """The version that ratios refer to: the one in production, or the first measured."""
    rows: int
    window: Span
    """From the first to the last of the rows."""
    seed: int
    measured_at: Time
    machine: Machine
    versions: dict[str, JsonObject]
    """By version, its `keel.evaluation.benchmark.latency.BenchmarkResult` and its ``ratios`` to the baseline."""
    sentence: str


def benchmark_versions(
    ws: Workspace,
    config: ModelConfig,
    versions: Sequence[int] = (),
    *,
    end: datetime | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
) -> BenchmarkRecord:
    """Measure versions side by side, and log the results to the run of each version.

    versions: empty for those in production and staging, the previous one and the newest candidate.
    end: the last rows before it are scored; None for the end of the prediction log.
    seconds: of scoring, for each version. Loading it and measuring its memory take additional time.

    Raises
    ------
    UnknownVersion
        A version does not exist, or there is none to measure.
    ConfigError
        A version is named twice, or needs a feature that is not configured any more.
    InsufficientData
        The log has too few rows.
    ArtifactChanged
        The files of a version are not those that were registered.

    """
    chosen = choose_versions(ws, config, versions)
    rows = recent_sample(ws, config, end=end, seed=seed)
    results = _measure_all(ws, config, chosen, rows, seconds, seed)
    production = deployments.read(ws.store, config.model).production
    baseline = production if production in chosen else chosen[0]
    sentences = [_sentence(version, result, baseline, results[baseline]) for version, result in results.items()]
    for sentence in sentences:
        log.info("%s", sentence)
    report = BenchmarkRecord(
        model=config.model,
        production=production,
        baseline=baseline,
        rows=rows.num_rows,
        window=_window(rows),
        seed=seed,
        measured_at=now_utc(),
        machine=Machine(
            python=platform.python_version(),
            system=platform.system(),
            architecture=platform.machine(),
            cpus=os.cpu_count(),
        ),
        versions={
            str(version): {**result.to_dict(), "ratios": result.ratios(results[baseline])}
            for version, result in results.items()
        },
        sentence=" ".join(sentences),
    )
    log_to_mlflow(ws.registry, results, report.to_dict())
    return report


def choose_versions(ws: Workspace, config: ModelConfig, versions: Sequence[int]) -> list[int]:
    """Return the named versions, each of which must exist and be named once; without names the deployed ones."""
    if twice := sorted({version for version in versions if list(versions).count(version) > 1}):
        raise ConfigError(f"{config.model}: versions: {', '.join(map(str, twice))} named more than once")
    if versions:
        return [ws.registry.resolve(config.model, version=version).version for version in versions]
    state = history(ws.store, config.model)
    candidates = [version for version, reached in state.version_statuses.items() if reached.status is Status.CANDIDATE]
    deployed = deployments.read(ws.store, config.model).aliases
    present = {info.version for info in ws.registry.versions(config.model)}
    wanted = [*(deployed[name] for name in ("production", "staging", "previous")), max(candidates, default=None)]
    chosen = [version for version in dict.fromkeys(wanted) if version in present]
    if not chosen:
        raise UnknownVersion(
            f"{config.model} has no version that is deployed or a candidate; name versions, "
            f"or train one: airflow dags trigger {config.model}.retrain"
        )
    return chosen


def recent_sample(ws: Workspace, config: ModelConfig, *, end: datetime | None, seed: int) -> pa.Table:
    """Return ``time`` and the features of the last `ROWS` predictions before ``end``, in random order."""
    latest = recent_rows(ws, config, ROWS, end=end)
    if latest.num_rows < MIN_ROWS:
        what = f"{config.model}: logged predictions to score (log some, or run `keel replay`)"
        raise InsufficientData(feature=what, needed=MIN_ROWS, got=latest.num_rows)
    return latest.take(np.random.default_rng(seed).permutation(latest.num_rows))


def _measure_all(
    ws: Workspace, config: ModelConfig, versions: Sequence[int], rows: pa.Table, seconds: float, seed: int
) -> dict[int, BenchmarkResult]:
    models = {version: ws.registry.load(config, version) for version in versions}
    results = measure(models, rows, seconds=seconds, seed=seed)
    load_ms = time_loading(partial(ws.registry.load, config, anew=True), versions)
    with tempfile.TemporaryDirectory() as parent:
        folders = {version: Path(parent, str(version)) for version in versions}
        for version, folder in folders.items():
            folder.mkdir()
            ws.registry.fetch(config.model, version, folder)
        stored = {version: StoredModel(folders[version], model.threshold) for version, model in models.items()}
        size_mb = {version: folder_mb(folder) for version, folder in folders.items()}
        memory_mb = measure_memory(config, stored, rows)
    return {
        v: replace(result, load_ms=load_ms[v], memory_mb=memory_mb[v], size_mb=size_mb[v])
        for v, result in results.items()
    }


def _window(rows: pa.Table) -> Span:
    """Return the times of the first and the last row."""
    import pyarrow.compute as pc

    times = pc.min_max(rows["time"]).as_py()
    return Span(start=times["min"], end=times["max"])


def _sentence(version: int, result: BenchmarkResult, baseline: int, other: BenchmarkResult) -> str:
    if version == baseline:
        return f"Version {version}: {result.summary}."
    ratio = result.p50_ms / other.p50_ms
    return f"Version {version}: {result.summary}; a row takes {ratio:.2f} times as long as with version {baseline}."
