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
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from keel import loop, rollout
from keel.alerts.digest import flush_digests
from keel.alerts.records import Change, Message, News
from keel.cli.standalone.replay import replay
from keel.config import Kind, ModelConfig
from keel.loop.alarms import alarms_to_judge
from keel.loop.notification import notify
from keel.monitoring.live.catch_up import catch_up
from keel.monitoring.records import Action, DecisionRecord
from keel.monitoring.storage import CheckReports, read_check_reports
from keel.workspace import Workspace

START = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = timedelta(days=40)
"""What the version is trained and measured on; the year of checks follows."""
BEGIN = START + HISTORY
DAY, STEP = timedelta(days=1), timedelta(hours=6)
YEAR = 1460
"""Checks of a year, four a day."""
ROWS_AN_HOUR = 20
PIPELINE = "tests.support.pipelines.toy"
PEOPLE = {"email": ["ann@example.com", "bob@example.com"]}
PAGED = {"channel": "pagerduty", "to": "on_call", "severity": "error"}


@dataclass(frozen=True)
class Stretch:
    """Part of a year, as days from its begin."""

    first: float
    last: float

    def holds(self, day: float) -> bool:
        """Return whether a time lies in it."""
        return self.first <= day < self.last


@dataclass(frozen=True)
class World:
    """What happens in a year. In the null year nothing does."""

    season: float = 1.3
    """Largest shift of ``temp``, in half a year, in standard deviations."""
    price_from: float = 120
    price: float = 0.9
    """Shift of ``price`` for good."""
    wavers: Stretch = Stretch(150, 330)
    waver: float = 0.32
    """Mean shift of ``flicker`` then: the PSI of a week is about .1, its threshold, and on either side of it."""
    no_labels: Stretch = Stretch(240, 252)
    incident: Stretch = Stretch(300, 310)

    def rows(self, start: datetime, end: datetime, seed: int = 0) -> pa.Table:
        """Return the rows of some hours. The same hours have the same rows, whatever is asked for at once."""
        hours = round((end - start) / timedelta(hours=1))
        return pa.concat_tables([self._hour(start + i * timedelta(hours=1), seed) for i in range(hours)])

    def _hour(self, start: datetime, seed: int) -> pa.Table:
        n = ROWS_AN_HOUR
        rng = np.random.default_rng([seed, int(start.timestamp())])
        day = (start - BEGIN) / DAY
        x = rng.normal(0, 1, n)
        steepness = 0.2 if self.incident.holds(day) else 1.5
        label = (rng.random(n) < 1 / (1 + np.exp(-steepness * x))).astype(float)
        seconds = (np.arange(n) * 3600 // n).astype("timedelta64[s]").astype("timedelta64[us]")
        times = np.datetime64(start.replace(tzinfo=None), "us") + seconds
        is_lost = np.full(n, self.no_labels.holds(day))
        return pa.table(
            {
                "id": [f"{start:%Y%m%dT%H}-{seed}-{i}" for i in range(n)],
                "time": pa.array(times, pa.timestamp("us", "UTC")),
                "label": pa.array(label, mask=is_lost),
                "x": x,
                "z": rng.exponential(1, n),
                "temp": rng.normal(self._season(day), 1, n),
                "price": rng.normal(self.price * (day >= self.price_from), 1, n),
                "flicker": rng.normal(self._waver(day, seed), 1, n),
                "colour": pa.array(rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])),
            }
        )

    def _season(self, day: float) -> float:
        return self.season * np.sin(np.pi * day / 365) ** 2 if day > 0 else 0.0

    def _waver(self, day: float, seed: int) -> float:
        if not self.wavers.holds(day):
            return 0.0
        return self.waver + np.random.default_rng([seed, int(day)]).normal(0, 0.25)


NULL = World(season=0, price=0, waver=0, wavers=Stretch(0, 0), no_labels=Stretch(0, 0), incident=Stretch(0, 0))


def config_of(**alerts: object) -> ModelConfig:
    """Return the model's configuration: the defaults, for two people by mail and a pager."""
    return ModelConfig.model_validate(
        {
            "model": "shop",
            "owner": "benchmark",
            "target": {"name": "bought", "label_delay": "24h"},
            "features": {
                **dict.fromkeys(("x", "z", "temp", "price", "flicker"), "numeric"),
                "colour": "categorical",
            },
            "retrain": {"pipeline": PIPELINE, "window": "30d", "holdout": "10d", "min_rows": 200},
            "alerts": {**PEOPLE, "routes": [PAGED], **alerts},
        }
    )


@dataclass
class Year:
    """What a year of checks has led to."""

    checks: int = 0
    blocks: int = 0
    alarms: int = 0
    found: list[datetime] = field(default_factory=list)
    """Ends of the checks that found anything, each of which is a mail of a naive system."""
    harm_found: datetime | None = None
    """End of the first check that found harm."""
    harm_told: datetime | None = None
    """When people were sent that."""
    changes: dict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    """What people were told of each alert, in order."""
    messages: dict[str, Message] = field(default_factory=dict)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages by channel and recipient."""

    @property
    def naive(self) -> int:
        return len(self.found)

    def lines(self) -> Iterator[str]:
        """Yield the result in words."""
        yield f"{self.checks} checks, {self.blocks} live blocks, {self.alarms} live alarms"
        yield f"a naive system sends each person {self.naive} mails"
        for (channel, recipient), number in sorted(self.sent.items()):
            yield f"{recipient} by {channel}: {number} messages (1/{self.naive / number:.0f})"
        yield f"harm found at {self.harm_found}, told at {self.harm_told}"
        for message in self.messages.values():
            yield f"  {message.at:%Y-%m-%d %H:%M} {message.topic:9} {message.severity:8} {message.subject}"


@dataclass
class Run:
    """A workspace in which a year passes."""

    ws: Workspace
    world: World
    seed: int = 0
    config: ModelConfig = field(default_factory=config_of)
    year: Year = field(default_factory=Year)

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
            self._posted(posted.message_id, posted.news)
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
        self._judge(end, decision, read_check_reports(ws, counted))
        self._posted(posted.message_id, posted.news)
        told = any(each.alert.kind is Kind.PERFORMANCE for each in posted.news)
        if year.harm_told is None and told:
            year.harm_told = end

    def _judge(self, end: datetime, decision: DecisionRecord, reports: CheckReports) -> None:
        """Note what a system without alerts would have sent of this check."""
        labels = reports.labels.status if reports.labels else "ok"
        statuses = (reports.quality.status, reports.drift.status, reports.performance.status, labels)
        anything = any(each in ("warn", "drift", "broken", "degraded", "empty") for each in statuses)
        if anything or reports.performance.labels_missing or decision.action is not Action.ALL_CLEAR:
            self.year.found.append(end)
        if reports.performance.status == "degraded" and self.year.harm_found is None:
            self.year.harm_found = end

    def _posted(self, message_id: str | None, news: tuple[News, ...]) -> None:
        if message_id is None:
            return
        store = self.ws.store
        self.year.messages[message_id] = Message.from_dict(store.outbox.message(message_id) or {})
        for row in store.outbox.deliveries(message_ids=[message_id]):
            self.year.sent[row["channel"], row["recipient"]] += 1
        for each in news:
            self.year.changes[each.alert.alert_id].append(each.change)


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
