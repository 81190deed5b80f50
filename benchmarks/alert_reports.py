"""The checks of a year by their functions alone, and what people are sent of them: many years in a few minutes.

    python -m benchmarks.alert_reports [--checks 1460] [--years 20] [--nothing]

As `benchmarks.alert_year`, without a registry, stored rows and live monitors: blocks of six hours are counted on a
grid, counts of a week are added, `detect`, `check_quality` and `detect_degradation` judge them, `decide_action`
decides, and the door tells. The version is the truth of the world as it was in the beginning.
"""

from __future__ import annotations

import argparse
import functools
import operator
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks.alert_world import BEGIN, DAY, NULL, START, STEEPNESS, STEP, YEAR, World, Year, config_of
from keel.alerts.budget import Levels, alert_levels, promise
from keel.alerts.digest import flush_digests
from keel.alerts.door import observe_in
from keel.alerts.findings.check import CheckFacts, observe_check
from keel.alerts.messages.check import compose_check
from keel.grid.reference import ReferenceGrid
from keel.monitoring.decision import Policy, decide_action
from keel.monitoring.drift import detect, explained_change
from keel.monitoring.performance import LabelArrival, detect_degradation
from keel.monitoring.quality import check_quality
from keel.monitoring.records import (
    DecisionRecord,
    StoredDriftReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.monitoring.storage import report_id
from keel.stats.metrics.losses import Estimate, Scored, estimate, row_loss
from keel.store import Store
from keel.window import Window
from keel.workspace import Workspace

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.grid.counts import Counts

WEEK = timedelta(days=7)
DELAY = 4
"""Blocks until labels have come: 24 hours."""
BLOCKS = WEEK // STEP
OUTPUTS = {"score": "numeric", "prediction": "categorical"}


def predicted(rows: pa.Table) -> pa.Table:
    """Return rows with the score and prediction of a version that knows how the world began."""
    score = 1 / (1 + np.exp(-STEEPNESS * rows["x"].to_numpy()))
    return rows.append_column("score", pa.array(score)).append_column(
        "prediction", pa.array((score > 0.5).astype(float))
    )


def scored(rows: pa.Table) -> Scored:
    """Return labels, scores and predictions; a label that is lost is NaN."""
    return Scored(*(rows[name].to_numpy() for name in ("label", "score", "prediction")))


@dataclass(frozen=True)
class Version:
    """What a version was measured on."""

    grid: ReferenceGrid
    metrics: Mapping[str, Estimate]
    loss: float

    @classmethod
    def of(cls, config: ModelConfig, world: World, seed: int) -> Version:
        """Take the first 30 days of history as its training rows, and the last ten as its holdout."""
        cut = BEGIN - 10 * DAY
        training, holdout = (predicted(world.rows(*each, seed)) for each in ((START, cut), (cut, BEGIN)))
        loss = row_loss("brier", scored(holdout))
        grid = ReferenceGrid.fit(training, dict(config.features), holdout=holdout, outputs=OUTPUTS, loss=loss)
        return cls(grid, {"brier": estimate("brier", scored(holdout))}, float(loss.mean()))


@dataclass
class Checks:
    """A store in which the checks of a year tell what is new."""

    store: Store
    world: World
    seed: int
    config: ModelConfig
    year: Year = field(init=False)
    counts: deque[Counts] = field(default_factory=lambda: deque(maxlen=BLOCKS + DELAY))
    labelled: deque[Scored] = field(default_factory=lambda: deque(maxlen=BLOCKS + DELAY))

    def __post_init__(self) -> None:
        self.year = Year(harm_from=self.world.incident_begins)

    def go(self, checks: int) -> Year:
        """Let time pass, check after check."""
        version, levels = Version.of(self.config, self.world, self.seed), alert_levels(self.config, [self.config])
        for number in range(checks):
            self.check(version, BEGIN + (number + 1) * STEP, levels)
        return self.year

    def check(self, version: Version, end: datetime, levels: Levels) -> None:
        """Let six hours of rows come, and check the week that ends then."""
        rows = predicted(self.world.rows(end - STEP, end, self.seed))
        self.counts.append(version.grid.count(rows))
        self.labelled.append(scored(rows))
        ws = Workspace(Path(), self.store, None)  # type: ignore[arg-type]  # no digest asks the registry
        for posted in flush_digests(ws, [self.config], now=end):
            self.year.post(self.store, end, posted.message_id, posted.news)
        facts = self._facts(version)
        window = Window(end - WEEK, end)
        assert facts.quality is not None
        assert facts.drift is not None
        assert facts.performance is not None
        policy = Policy(can_retrain=False, cooldown=timedelta(0), window_end=end, last_retrain=None)
        reached = decide_action(facts.quality, facts.drift, facts.performance, policy)
        decision = DecisionRecord(
            decision_id=report_id("decision", self.config.model, 1, window),
            model=self.config.model,
            version=1,
            window=window,
            action=reached.action,
            sentence=reached.sentence,
            about=reached.about,
        )
        observation = observe_check(self.config, decision, None, facts, levels=levels)

        def compose(notice: Notice) -> Message:
            return compose_check(self.config, notice, facts, decision=decision, outcome=None, now=end)

        posted = observe_in(self.store, self.config, observation, compose, now=end)
        self.year.checks += 1
        statuses = (facts.quality.status, facts.drift.status, facts.performance.status)
        self.year.judge(end, statuses, labels_missing=facts.performance.labels_missing)
        self.year.post(self.store, end, posted.message_id, posted.news)

    def _facts(self, version: Version) -> CheckFacts:
        """Return the reports of the last week, and of the performance of a week that ended a day earlier."""
        config, grid = self.config, version.grid
        week, before = list(self.counts)[-BLOCKS:], list(self.counts)[:-DELAY][-BLOCKS:]
        counts = functools.reduce(operator.add, week)
        matured = [np.concatenate(part) for part in zip(*(_arrays(each) for each in self._matured()), strict=True)]
        known = np.isfinite(matured[0]) if matured else np.zeros(0, bool)
        rows = Scored(*(part[known] for part in matured)) if matured else Scored(*[np.zeros(0)] * 3)
        performance = detect_degradation(
            rows,
            version.metrics,
            version.loss,
            config.performance,
            explained=explained_change(grid, functools.reduce(operator.add, before)) if before else None,
            arrival=LabelArrival(len(known), int(known.sum())),
        )
        return CheckFacts(
            quality=StoredQualityReport.from_dict(check_quality(grid, counts, config=config.drift).to_dict()),
            drift=StoredDriftReport.from_dict(detect(grid, counts, config.drift).to_dict()),
            performance=StoredPerformanceReport.from_dict(performance.to_dict()),
        )

    def _matured(self) -> list[Scored]:
        return list(self.labelled)[:-DELAY][-BLOCKS:]


def _arrays(rows: Scored) -> tuple[np.ndarray, ...]:
    return rows.label, rows.score, rows.prediction


def simulate(folder: Path, *, checks: int = YEAR, world: World | None = None, seed: int = 0, **alerts: object) -> Year:
    """Let a year of checks pass in a new store in a folder, and return what people were sent."""
    config = config_of(**alerts).model_copy(update={"retrain": None, "live": None})
    with Store.open(f"sqlite:///{folder / f'{seed}.db'}") as store:
        return Checks(store, world or World(), seed, config).go(checks)


def main() -> None:
    """Print what people are sent in some years, and what was promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=YEAR)
    parser.add_argument("--years", type=int, default=1)
    parser.add_argument("--budget", type=float, default=2.0)
    parser.add_argument("--digest", default="weekly")
    parser.add_argument("--nothing", action="store_true", help="years in which nothing is wrong")
    options = parser.parse_args()
    alerts = {"budget": options.budget, "digest": None if options.digest == "none" else options.digest}
    config = config_of(**alerts)
    made = promise([config])
    level, harm = made.levels["shop"], made.harm_levels["shop"]
    most = made.expected(made.people[0])
    print(f"levels {level:.4g}, of harm {harm:.4g}; at most {most:.3g} messages in 30 days by chance")
    for seed in range(options.years):
        with tempfile.TemporaryDirectory() as folder:
            world = NULL if options.nothing else World()
            year = simulate(Path(folder), checks=options.checks, world=world, seed=seed, **alerts)
        print(f"year {seed}:", "\n".join(year.lines()), flush=True)


if __name__ == "__main__":
    main()
