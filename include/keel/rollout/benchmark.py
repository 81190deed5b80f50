"""Versions of a model measured side by side, on rows it was really asked, and what was found logged to MLflow."""

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
from typing import TYPE_CHECKING, Any

import numpy as np

from keel import deployments
from keel.deployments.history import Status, history
from keel.errors import ConfigError, InsufficientData, UnknownVersion
from keel.evaluation.benchmark.latency import SECONDS, BenchmarkResult, log_to_mlflow, measure, time_loading
from keel.evaluation.benchmark.memory import StoredModel, folder_mb, measure_memory
from keel.training.datasets import recent_rows
from keel.window import now_utc

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

ROWS = 1_000
LEAST_ROWS = 100
"""Fewer are not the variety of values that a version meets: categories, missing values, paths through its trees."""


def benchmark_versions(
    ws: Workspace,
    config: ModelConfig,
    versions: Sequence[int] = (),
    *,
    end: datetime | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure versions side by side and log what was found to each one's run in MLflow.

    versions: those in production and staging, the previous one and the newest candidate where empty. end: the rows
    scored are the last before it, of the prediction log, which ends it where None. seconds: of scoring, for each
    version; loading it and measuring its memory come on top. Every ratio is to the version in production, or to the
    first measured where that one is not.

    Raises
    ------
    UnknownVersion
        A version that does not exist, or none to measure.
    ConfigError
        A version named twice, or one that needs a feature that is not configured any more.
    InsufficientData
        The log holds too few rows to score.
    ArtifactChanged
        A version is not what was registered.

    """
    chosen = choose_versions(ws, config, versions)
    rows = recent_sample(ws, config, end=end, seed=seed)
    speeds = _measure_all(ws, config, chosen, rows, seconds, seed)
    production = deployments.read(ws.store, config.model).production
    baseline = production if production in chosen else chosen[0]
    report = {
        "model": config.model, "production": production, "baseline": baseline,
        "rows": rows.num_rows, "window": _window(rows), "seed": seed,
        "measured_at": now_utc().isoformat(), "machine": _machine(),
        "versions": {
            str(version): {**speed.to_dict(), "ratios": speed.ratios(speeds[baseline])}
            for version, speed in speeds.items()
        },
    }  # fmt: skip
    sentences = [_sentence(version, speed, baseline, speeds[baseline]) for version, speed in speeds.items()]
    for sentence in sentences:
        log.info("%s", sentence)
    report["sentence"] = " ".join(sentences)
    log_to_mlflow(ws.registry, speeds, report)
    return report


def choose_versions(ws: Workspace, config: ModelConfig, versions: Sequence[int]) -> list[int]:
    """Return the versions named, each of which must exist and be named once; else those that matter now."""
    if twice := sorted({version for version in versions if list(versions).count(version) > 1}):
        raise ConfigError(f"{config.model}: versions: {', '.join(map(str, twice))} named more than once")
    if versions:
        return [ws.registry.resolve(config.model, version=version).version for version in versions]
    state = history(ws.store, config.model)
    candidates = [
        version for version, standing in state.version_statuses.items() if standing.status is Status.CANDIDATE
    ]
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
    if latest.num_rows < LEAST_ROWS:
        what = f"{config.model}: logged predictions to score (write some, or `keel replay` a past)"
        raise InsufficientData(feature=what, needed=LEAST_ROWS, got=latest.num_rows)
    return latest.take(np.random.default_rng(seed).permutation(latest.num_rows))


def _measure_all(
    ws: Workspace, config: ModelConfig, versions: Sequence[int], rows: pa.Table, seconds: float, seed: int
) -> dict[int, BenchmarkResult]:
    models = {version: ws.registry.load(config, version) for version in versions}
    speeds = measure(models, rows, seconds=seconds, seed=seed)
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
        v: replace(speed, load_ms=load_ms[v], memory_mb=memory_mb[v], size_mb=size_mb[v]) for v, speed in speeds.items()
    }


def _window(rows: pa.Table) -> dict[str, str]:
    """When the first and the last of the rows were predicted."""
    import pyarrow.compute as pc

    times = pc.min_max(rows["time"]).as_py()
    return {"start": times["min"].isoformat(), "end": times["max"].isoformat()}


def _machine() -> dict[str, Any]:
    """What the numbers depend on beside the versions."""
    return {
        "python": platform.python_version(), "system": platform.system(), "architecture": platform.machine(),
        "cpus": os.cpu_count(),
    }  # fmt: skip


def _sentence(version: int, speed: BenchmarkResult, baseline: int, theirs: BenchmarkResult) -> str:
    if version == baseline:
        return f"Version {version}: {speed.summary}."
    ratio = speed.p50_ms / theirs.p50_ms
    return f"Version {version}: {speed.summary}; a row takes {ratio:.2f} times as long as by version {baseline}."
