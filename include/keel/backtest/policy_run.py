"""Run one policy in its folder: from its last checkpoint, step by step, to the end."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.backtest.past import Past
from keel.backtest.scratch import open_workspace, restore_checkpoint, unsynced, write_checkpoint
from keel.backtest.simulation import Scores, Simulation
from keel.errors import ConfigError
from keel.reports.backtest.records import BacktestStep

if TYPE_CHECKING:
    from datetime import datetime

    from keel.backtest.plan import Plan
    from keel.backtest.policies import Policy

CHECKPOINTS, STEPS = "checkpoints", "steps"
Progress = Callable[[str], None]


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


def run_policy(plan: Plan, policy: Policy, folder: Folder, report: Progress = lambda _: None) -> None:
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


def read_steps(home: Path, count: int) -> tuple[list[BacktestStep], list[Scores]]:
    """Return the first ``count`` steps of a policy, and what it predicted in each."""
    steps, scores = [], []
    for number in range(count):
        name = home / STEPS / f"{number:05d}"
        steps.append(BacktestStep.from_dict(json.loads(name.with_suffix(".json").read_text())))
        with np.load(name.with_suffix(".npz")) as arrays:
            scores.append(Scores(arrays["score"], arrays["prediction"]))
    return steps, scores


def training_seconds(home: Path) -> float:
    """Return how long a policy has trained."""
    return sum(json.loads(path.read_text())["seconds"] for path in (home / STEPS).glob("*.seconds"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, whose lock ends with this process in whatever way that ends; `ConfigError` if it is taken."""
    with path.open("w") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{path.parent} is in use by another backtest; wait until that ends") from None
        yield


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON as a whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    part.rename(path)


def _is_new_month(plan: Plan, number: int) -> bool:
    """Whether a step is the first that ends in its calendar month. A step that ends at midnight of the 1st is."""
    start, end = plan.steps[number]
    return _month(end) != _month(start)


def _month(time: datetime) -> tuple[int, int]:
    return time.year, time.month


def _write_step(folder: Path, number: int, step: BacktestStep, scores: Scores, *, seconds: float) -> None:
    np.savez(folder / f"{number:05d}.npz", score=scores.score, prediction=scores.prediction)
    write_json(folder / f"{number:05d}.json", step.to_dict())
    write_json(folder / f"{number:05d}.seconds", {"seconds": seconds})
