"""A year of checks, what each person is sent in it, and what a naive system would send.

    python -m benchmarks.alert_year [--checks 1460] [--null 20]

Everything is real: rows are predicted by a trained version and stored, hours are counted, `detect` and the other checks
decide, live monitors read each block, and every decision goes through the door of `keel.alerts` into SQLite. A naive
system sends a mail for each check that finds anything.

The year has, beside what never changes: a seasonal drift, a drift for good, a feature that wavers about its threshold,
labels that do not come for twelve days while features drift (an escalation: then nobody knows whether it does harm),
and a real incident, in which the relation of feature and label turns.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.alert_world import BEGIN, DAY, NULL, START, STEP, YEAR, World, Year, config_of
from keel import loop, rollout
from keel.alerts.digest import flush_digests
from keel.cli.standalone.replay import replay
from keel.loop.alarms import alarms_to_judge
from keel.loop.notification import notify
from keel.monitoring.live.catch_up import catch_up
from keel.monitoring.records import Action
from keel.monitoring.storage import read_check_reports
from keel.workspace import Workspace

if TYPE_CHECKING:
    from keel.config import ModelConfig


@dataclass
class Run:
    """A workspace in which a year passes."""

    ws: Workspace
    world: World
    seed: int = 0
    config: ModelConfig = field(default_factory=config_of)
    year: Year = field(init=False)

    def __post_init__(self) -> None:
        self.year = Year(harm_from=self.world.incident_begins)

    @cached_property
    def monitored(self) -> ModelConfig:
        """The configuration of the year, in which nothing is trained: whatever is wrong stays so."""
        return self.config.model_copy(update={"retrain": None})

    def train(self) -> None:
        """Train the first version on the history, and put it into production."""
        ws, by = self.ws, {"actor": "benchmark", "run_id": "first"}
        replay(ws, self.config, self.world.rows(START, BEGIN, self.seed), start=START, end=BEGIN)
        window = loop.resolve_window(self.config, end=BEGIN, now=BEGIN)
        decision = loop.request_retrain(ws, self.config, window=window, reason="first", run_id="first")
        comparison = rollout.compare(ws, self.config, loop.retrain(ws, self.config, decision, now=BEGIN, **by))
        rollout.promote(ws, self.config, comparison.report_id, now=BEGIN, **by)

    def go(self, checks: int) -> Year:
        """Let time pass, check after check."""
        for number in range(checks):
            self.check(BEGIN + (number + 1) * STEP)
        return self.year

    def check(self, end: datetime) -> None:
        """Let six hours of rows come, bring the live monitors up to date, and check the week that ends then."""
        ws, config, year = self.ws, self.monitored, self.year
        rows = self.world.rows(end - STEP - 2 * DAY, end, self.seed)
        replay(ws, config, rows, start=end - STEP, end=end)
        progress = catch_up(ws, config, now=end)
        year.blocks += progress.blocks
        year.alarms += len(progress.opened)
        for posted in flush_digests(ws, [config], now=end):
            year.post(ws.store, end, posted.message_id, posted.news)
        run = f"check {end.isoformat()}"
        due = alarms_to_judge(
            ws, config, loop.resolve_window(config, end=end, now=end), cause="check", run_id=run, now=end
        )
        counted = loop.count_window(ws, config, due.window, alarms=due.alarms, since_alarms=due.since_alarms)
        for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
            step(ws, config, counted)
        decision = loop.decide(ws, config, counted, run_id=run)
        outcome = None
        if decision.action is Action.QUARANTINE:
            outcome = loop.quarantine(ws, config, decision, actor="benchmark", run_id=run, now=end)
        posted = notify(ws, config, decision, outcome, now=end)
        loop.record(ws, config, decision, outcome, channels=["email"] if posted.message_id else [])
        year.checks += 1
        reports = read_check_reports(ws, counted)
        labels = reports.labels.status if reports.labels else "ok"
        statuses = (reports.quality.status, reports.drift.status, reports.performance.status, labels)
        year.judge(end, statuses, labels_missing=reports.performance.labels_missing)
        year.post(ws.store, end, posted.message_id, posted.news)


def simulate(folder: Path, *, checks: int = YEAR, world: World | None = None, seed: int = 0, **alerts: object) -> Run:
    """Let a year pass in a new workspace in a folder, and return it."""
    with Workspace.open(home=folder, environment={}) as ws:
        run = Run(ws, world or World(), seed, config_of(**alerts))
        run.train()
        run.go(checks)
        return run


def main() -> None:
    """Print what people are sent in a year."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=YEAR)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nothing", action="store_true", help="a year in which nothing is wrong")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = NULL if options.nothing else World()
        run = simulate(Path(folder), checks=options.checks, world=world, seed=options.seed)
    print("\n".join(run.year.lines()))


if __name__ == "__main__":
    main()
