"""How much memory a version takes, measured in processes that do nothing else.

A fresh interpreter imports what the versions need and then forks once per version, so that neither imports nor
whatever the calling process holds is counted. It is not the calling process that forks: it may have scored before, and
the OpenMP threads that many estimators score with do not survive a fork.
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

from keel.registry.scoring_model import ScoringModel

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.registry.registry import Registry

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
SECONDS_PER_VERSION = 120
"""After which a version's process ends itself, whatever it hangs in and whether or not anybody still waits for it."""
CALLS = 3
"""How often the rows are scored: the last time, all library code that scoring runs through is in memory."""


@dataclass(frozen=True)
class Stored:
    """A version's MLflow model on disk, and the threshold it decides by."""

    folder: Path
    threshold: float | None


def size_mb(registry: Registry, model: str, version: int) -> float:
    """Return the size in MB of a version's MLflow model on disk; raises what fetching it raises."""
    with tempfile.TemporaryDirectory() as folder:
        return folder_mb(registry.fetch(model, version, Path(folder)))


def folder_mb(folder: Path) -> float:
    """Return the size in MB of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MEGABYTE


def measure_memory(config: ModelConfig, stored: Mapping[int, Stored], rows: pa.Table) -> dict[int, float]:
    """Return by version the peak of the memory, in MB, that loading it and scoring ``rows`` adds to a process.

    Code of libraries is not counted, as it is there once for all versions. NaN for a version whose process did not live
    to tell; why is logged. The kernel's accounting is good to about half an MB.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=pickle.dumps((config, dict(stored), rows)), capture_output=True,
            check=False, cwd=folder, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    found = {version: told.get(str(version)) for version in stored}
    if None in found.values():
        last_words = done.stderr.decode(errors="replace").strip()[-2_000:]
        log.warning("%s: memory was not measured (exit code %d): %s", config.model, done.returncode, last_words)
    return {version: math.nan if peak is None else peak for version, peak in found.items()}


def _answer() -> None:
    """Read what is asked on standard input, and answer on standard output with nothing else before or after."""
    config, stored, rows = pickle.load(sys.stdin.buffer)  # our own parent's
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.alarm(2 * SECONDS_PER_VERSION * len(stored))
    import_module("mlflow.pyfunc")
    for version, place in stored.items():
        for name in _in_child(partial(_modules_used, config, version, place, rows)) or ():
            with suppress(Exception):
                import_module(name)
    peaks = {v: _in_child(partial(_peak_mb, config, v, place, rows)) for v, place in stored.items()}
    os.write(answer, json.dumps(peaks).encode())


def _modules_used(config: ModelConfig, version: int, place: Stored, rows: pa.Table) -> list[str]:
    """Return the modules that are there once the version has scored: imported beforehand, they are none of its own."""
    _load(config, version, place).score(rows)
    return sorted(sys.modules)


def _peak_mb(config: ModelConfig, version: int, place: Stored, rows: pa.Table) -> float:
    process = psutil.Process()
    before = process.memory_info()

    def added() -> float:
        """Peak of the resident memory, less files mapped since, which are libraries' code."""
        mapped = process.memory_info().shared - before.shared if hasattr(before, "shared") else 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT - before.rss - mapped

    model = _load(config, version, place)
    loading = added()
    for _ in range(CALLS):
        model.score(rows)
    return max(loading, added()) / MEGABYTE


def _load(config: ModelConfig, version: int, place: Stored) -> ScoringModel:
    import mlflow

    return ScoringModel(config, version, mlflow.pyfunc.load_model(str(place.folder)), place.threshold)


def _in_child(work: Callable[[], Any]) -> Any:
    """Return what a fork of this process gives back from ``work``; None where it failed or was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS_PER_VERSION)  # a fork does not inherit it
        os.close(reading)
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException:
            logging.exception("this version could not be measured")
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else None


if __name__ == "__main__":
    _answer()
