"""Run a backtest in a folder of its own: record the past, train the first version, run each policy, measure."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.backtest.past import Past, record_past
from keel.backtest.results import measure
from keel.backtest.scratch import open_workspace, restore_checkpoint, unsynced, write_checkpoint
from keel.backtest.simulation import Scores, Simulation, train_first_version
from keel.errors import ConfigError
from keel.reports.backtest_records import BacktestStep

if TYPE_CHECKING:
    from datetime import datetime

    from keel.backtest.past import Source
    from keel.backtest.plan import Plan
    from keel.backtest.policies import Policy
    from keel.reports.backtest_records import BacktestResult

log = logging.getLogger(__name__)

MARK = "folder-of-keel-backtests"
"""Marker file of a folder whose backtests may be deleted."""
CHECKPOINTS, STEPS = "checkpoints", "steps"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Folder:
    """The files of one backtest."""

    path: Path

    @property
    def start(self) -> Path:
        """The workspace with the first version, of which each policy gets a copy."""
        return self.path / "start"

    @property
    def first_version(self) -> Path:
        """The file about the first version, which exists once that is trained."""
        return self.path / "first-version.json"

    @property
    def past(self) -> Path:
        """The recorded past."""
        return self.path / "past"

    def of(self, plan: Plan, policy: Policy) -> Path:
        """Return the workspace of a policy."""
        return self.path / f"{policy.name}-{plan.policy_identity(policy)}"


@dataclass(frozen=True)
class Finished:
    """A complete backtest: its result, its folder, and what is not part of the result because it differs each time."""

    result: BacktestResult
    folder: Path
    training_seconds: dict[str, float]
    """By policy."""


def run_backtest(
    plan: Plan,
    *,
    home: Path,
    store_url: str | None,
    source: Source = "auto",
    fresh: bool = False,
    jobs: int = 1,
    report: Report = lambda _: None,
) -> Finished:
    """Run a backtest, or the rest of one that was interrupted, and return its result.

    The same plan on the same past gives the same result, interrupted or not.

    Parameters
    ----------
    home
        Folder of all backtests. Each one has a folder in it, whose name is a digest of what it is about.
    store_url
        Of the model's own store, which is only read.
    fresh
        Whether to begin again.
    jobs
        Policies that run at the same time, each in a process of its own. With 1 they run in this process, in turn.
    report
        Called with a short message at each step.

    Raises
    ------
    ConfigError
        The folder is not one of backtests or another process works on this backtest; there is no past to replay.
    InsufficientData, TrainingFailed
        The first version cannot be trained.

    """
    _claim(home)
    report("reading the past")
    part = home / f".past-{os.getpid()}"
    try:
        found, digest = record_past(plan, part, source=source, store_url=store_url)
        identity = plan.identity(digest)
        place = home / f"{plan.config.model}-{identity}"
        place.mkdir(exist_ok=True)
        with locked(place / "lock"):
            folder = _attempt(place, fresh=fresh)
            if not folder.past.exists():
                part.rename(folder.past)
            first = _first_version(plan, folder, report)
            _run_policies(plan, folder, jobs, report)
            report("measuring")
            runs = {policy.name: _read_steps(folder.of(plan, policy), len(plan.steps)) for policy in plan.policies}
            past = Past.open(folder.past)
            result = measure(plan, past, runs, backtest_id=identity, source=found, first_version=first)
            seconds = {policy.name: _training_seconds(folder.of(plan, policy)) for policy in plan.policies}
            return Finished(result, folder.path, seconds)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def run_policy(plan: Plan, policy: Policy, folder: Folder, report: Report = lambda _: None) -> None:
    """Take the steps of a policy that are not taken yet."""
    home = folder.of(plan, policy)
    with locked(folder.path / f"{home.name}.lock"), unsynced(folder.path):
        done = restore_checkpoint(home, home / CHECKPOINTS)
        if done is None:
            done = restore_checkpoint(home, folder.start / CHECKPOINTS) or 0
        if done == len(plan.steps):
            return
        (home / STEPS).mkdir(exist_ok=True)
        with open_workspace(home) as ws:
            simulation = Simulation(ws, plan.configs[policy.name], policy, Past.open(folder.past))
            for number in range(done, len(plan.steps)):
                start, end = plan.steps[number]
                step, scores = simulation.step(start, end, new_month=_is_new_month(plan, number))
                _write_step(home / STEPS, number, step, scores, seconds=simulation.training_seconds)
                write_checkpoint(ws, home / CHECKPOINTS, number + 1)
                report(f"{policy.name}: {number + 1} of {len(plan.steps)} steps, until {end:%Y-%m-%d}")


def steps_done(home: Path) -> int:
    """Return the number of steps that a policy's workspace has taken."""
    return max((int(path.name) for path in (home / CHECKPOINTS).glob("[0-9]*") if not path.suffix), default=0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, whose lock ends with this process in whatever way that ends; `ConfigError` if it is taken."""
    with path.open("w") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{path.parent} is in use by another backtest; wait until that ends") from None
        yield


def _claim(home: Path) -> None:
    """Create the folder of backtests and mark it; `ConfigError` for a folder with other contents."""
    mark = home / MARK
    try:
        if home.exists() and any(home.iterdir()) and not mark.exists():
            raise ConfigError(f"{home} has contents and is not a folder of backtests; name another one with --home")
        home.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError):
        raise ConfigError(f"{home} is a file; name a folder with --home") from None
    mark.write_text("Keel's backtests. Each folder can be deleted when its backtest is not needed any more.\n")


def _attempt(place: Path, *, fresh: bool) -> Folder:
    """Return the folder of the last attempt at a backtest, or a new one.

    An attempt whose first version was not trained to the end has nothing to go on with. A new attempt has a new path,
    because MLflow keeps connections to the files of the old one for as long as this process runs.
    """
    numbers = [int(path.name) for path in place.iterdir() if path.name.isdigit()]
    last = Folder(place / str(max(numbers, default=0)))
    if last.first_version.exists() and not fresh:
        return last
    for number in numbers:
        shutil.rmtree(place / str(number))
    new = Folder(place / str(max(numbers, default=0) + 1))
    new.path.mkdir()
    return new


def _first_version(plan: Plan, folder: Folder, report: Report) -> str:
    """Train the version that every policy begins with, unless it is there. Returns a sentence about it."""
    if folder.first_version.exists():
        return str(json.loads(folder.first_version.read_text())["sentence"])
    report(f"training the first version on the past before {plan.start:%Y-%m-%d}")
    with unsynced(folder.path), open_workspace(folder.start) as ws:
        trained = train_first_version(ws, plan.config, Past.open(folder.past), start=plan.start)
        write_checkpoint(ws, folder.start / CHECKPOINTS, 0)
    metric = plan.config.performance.metric
    value = trained.metrics[metric]
    sentence = (
        f"Version {trained.challenger} was trained on {trained.training.rows:,} rows from "
        f"{trained.training.start:%Y-%m-%d} to {trained.training.end:%Y-%m-%d}; {metric} on its holdout: {value:.4f}."
    )
    _write(folder.first_version, {"sentence": sentence})
    return sentence


def _run_policies(plan: Plan, folder: Folder, jobs: int, report: Report) -> None:
    todo = [policy for policy in plan.policies if steps_done(folder.of(plan, policy)) < len(plan.steps)]
    if jobs > 1 and len(todo) > 1:
        from keel.backtest.processes import run_in_processes

        run_in_processes(plan, todo, folder, jobs, report)
        return
    for policy in todo:
        run_policy(plan, policy, folder, report)


def _is_new_month(plan: Plan, number: int) -> bool:
    """Whether a step is the first that ends in its calendar month. A step that ends at midnight of the 1st is."""
    start, end = plan.steps[number]
    return _month(end) != _month(start)


def _month(time: datetime) -> tuple[int, int]:
    return time.year, time.month


def _write_step(folder: Path, number: int, step: BacktestStep, scores: Scores, *, seconds: float) -> None:
    np.savez(folder / f"{number:05d}.npz", score=scores.score, prediction=scores.prediction)
    _write(folder / f"{number:05d}.json", step.to_dict())
    _write(folder / f"{number:05d}.seconds", {"seconds": seconds})


def _read_steps(home: Path, count: int) -> tuple[list[BacktestStep], list[Scores]]:
    steps, scores = [], []
    for number in range(count):
        name = home / STEPS / f"{number:05d}"
        steps.append(BacktestStep.from_dict(json.loads(name.with_suffix(".json").read_text())))
        with np.load(name.with_suffix(".npz")) as arrays:
            scores.append(Scores(arrays["score"], arrays["prediction"]))
    return steps, scores


def _training_seconds(home: Path) -> float:
    return sum(json.loads(path.read_text())["seconds"] for path in (home / STEPS).glob("*.seconds"))


def _write(path: Path, values: dict[str, Any]) -> None:
    """Write JSON as a whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    part.rename(path)
