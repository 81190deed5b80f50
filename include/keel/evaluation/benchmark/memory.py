"""Measure the memory of versions, each in a process of its own.

A new interpreter imports everything that the versions need and then forks once for each version. So neither imports nor
the memory of the calling process are counted. The calling process does not fork itself: the OpenMP threads of many
estimators do not survive a fork.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from keel.registry.pinned_code import own_code
from keel.registry.scoring_model import ScoringModel

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.registry.registry import Registry

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
SECONDS_PER_VERSION = 120
"""Time after which a version's process ends itself, even if it hangs."""
CALLS = 3
"""Number of times that the rows are scored: by the last, all library code that scoring needs is in memory."""


@dataclass(frozen=True)
class StoredModel:
    """A version's MLflow model on disk, and its decision threshold."""

    folder: Path
    threshold: float | None


def size_mb(registry: Registry, model: str, version: int) -> float:
    """Return the size in MB of a version's MLflow model on disk; raises the errors of `Registry.fetch`."""
    with tempfile.TemporaryDirectory() as folder:
        return folder_mb(registry.fetch(model, version, Path(folder)))


def folder_mb(folder: Path) -> float:
    """Return the size in MB of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MEGABYTE


def measure_memory(config: ModelConfig, stored: Mapping[int, StoredModel], rows: pa.Table) -> dict[int, float]:
    """Return the peak memory in MB that loading each version and scoring ``rows`` adds to a process.

    Code of libraries is not counted, since all versions share it. The result is NaN for a version whose process failed;
    the reason is logged. The kernel counts memory to about half a MB.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=pickle.dumps((config, dict(stored), rows)),
            capture_output=True,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
        )
    output = json.loads(done.stdout) if done.returncode == 0 else {}
    peaks = {version: output.get(str(version)) for version in stored}
    if None in peaks.values():
        errors = done.stderr.decode(errors="replace").strip()[-2_000:]
        log.warning("%s: memory was not measured (exit code %d): %s", config.model, done.returncode, errors)
    return {version: math.nan if peak is None else peak for version, peak in peaks.items()}


def _main() -> None:
    """Read the arguments from standard input, and write only the peaks to standard output."""
    config, stored, rows = pickle.load(sys.stdin.buffer)  # from our own parent process
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.alarm(2 * SECONDS_PER_VERSION * len(stored))
    import_module("mlflow.pyfunc")
    for version, model in stored.items():
        for name in _in_child(partial(_modules_used, config, version, model, rows)) or ():
            with suppress(Exception):
                import_module(name)
    peaks = {v: _in_child(partial(_peak_mb, config, v, model, rows)) for v, model in stored.items()}
    os.write(output, json.dumps(peaks).encode())


def _modules_used(config: ModelConfig, version: int, stored: StoredModel, rows: pa.Table) -> list[str]:
    """Return the modules that are imported once the version has scored; imported beforehand, they are not counted."""
    _load(config, version, stored).score(rows)
    return sorted(sys.modules)


def _peak_mb(config: ModelConfig, version: int, stored: StoredModel, rows: pa.Table) -> float:
    process = psutil.Process()
    before = process.memory_info()

    def added() -> float:
        """Return the peak resident memory, without files mapped since, which are code of libraries."""
        mapped = process.memory_info().shared - before.shared if hasattr(before, "shared") else 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT - before.rss - mapped

    model = _load(config, version, stored)
    loading = added()
    for _ in range(CALLS):
        model.score(rows)
    return max(loading, added()) / MEGABYTE


def _load(config: ModelConfig, version: int, stored: StoredModel) -> ScoringModel:
    import mlflow

    with own_code(stored.folder):
        pyfunc = mlflow.pyfunc.load_model(str(stored.folder))
    return ScoringModel(config, version, pyfunc, stored.threshold)


def _in_child(work: Callable[[], Any]) -> Any:
    """Return the result of ``work`` in a fork of this process; None if it failed or was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS_PER_VERSION)  # a fork does not inherit the alarm
        os.close(reading)
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException:
            logging.exception("this version could not be measured")
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return json.loads(result) if result else None


if __name__ == "__main__":
    _main()
