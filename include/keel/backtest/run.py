"""Run a backtest in a folder of its own: record the past, train the first version, run each policy, measure."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from keel.backtest.past import Past, record_past
from keel.backtest.policy_run import (
    CHECKPOINTS,
    Folder,
    Progress,
    locked,
    read_steps,
    run_policy,
    steps_done,
    training_seconds,
    write_json,
)
from keel.backtest.processes import run_in_processes
from keel.backtest.results import measure
from keel.backtest.scratch import open_workspace, unsynced, write_checkpoint
from keel.backtest.simulation import train_first_version
from keel.errors import ConfigError

if TYPE_CHECKING:
    from keel.backtest.past import Source
    from keel.backtest.plan import Plan
    from keel.reports.backtest.records import BacktestResult

MARK = "folder-of-keel-backtests"
"""Marker file of a folder whose backtests may be deleted."""


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
    report: Progress = lambda _: None,
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
    part = _new_part(home)
    try:
        recorded = record_past(plan, part, source=source, store_url=store_url)
        identity = plan.identity(recorded.digest)
        place = home / f"{plan.config.model}-{identity}"
        place.mkdir(exist_ok=True)
        with locked(place / "lock"):
            folder = _attempt(place, fresh=fresh)
            if not folder.past.exists():
                part.rename(folder.past)
            first = _first_version(plan, folder, report)
            _run_policies(plan, folder, jobs, report)
            report("measuring")
            runs = {policy.name: read_steps(folder.of(plan, policy), len(plan.steps)) for policy in plan.policies}
            past = Past.open(folder.past)
            result = measure(plan, past, runs, backtest_id=identity, recorded=recorded, first_version=first)
            seconds = {policy.name: training_seconds(folder.of(plan, policy)) for policy in plan.policies}
            return Finished(result, folder.path, seconds)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def _new_part(home: Path) -> Path:
    """Return the folder of a past that is being read, and delete those that killed processes left."""
    for left in home.glob(".past-*"):
        number = left.name.partition("-")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return home / f".past-{os.getpid()}"


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


def _first_version(plan: Plan, folder: Folder, report: Progress) -> str:
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
        f"Version {trained.challenger} was trained on {trained.training.rows:,} rows of the window from "
        f"{trained.training.start:%Y-%m-%d} to {trained.training.end:%Y-%m-%d}; {metric} on its holdout: {value:.4f}."
    )
    write_json(folder.first_version, {"sentence": sentence})
    return sentence


def _run_policies(plan: Plan, folder: Folder, jobs: int, report: Progress) -> None:
    todo = [policy for policy in plan.policies if steps_done(folder.of(plan, policy)) < len(plan.steps)]
    if jobs > 1 and len(todo) > 1:
        run_in_processes(plan, todo, folder, jobs, report)
        return
    for policy in todo:
        run_policy(plan, policy, folder, report)
