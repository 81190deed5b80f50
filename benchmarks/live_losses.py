"""The live monitors of the mean loss: false alarms and delays, with all labels, with one in ten, and with late ones.

``python -m benchmarks.live_losses`` prints the tables; ``--trials 20`` makes a quick look.
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config import ModelConfig, PerformanceConfig, TargetConfig
from keel.monitoring.live.audit import AuditTest
from keel.monitoring.live.harm import HarmMonitor
from keel.monitoring.live.loss_plan import LossPlan, plan_losses
from keel.monitoring.live.loss_test import DAY, LossTest
from keel.stats.metrics.losses import Estimate, Scored
from keel.stats.sequential.day_spread import measure_days
from keel.stats.sequential.prediction_powered import (
    estimated_losses,
    largest_estimate,
    lowest,
    prediction_powered_losses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keel.stats.metrics.losses import Floats

BLOCK, BLOCKS, CHANGE = 100, 1_000, 10_000
"""Rows of a block; blocks of a run without a change; row at which others change."""
HOLDOUT, TOLERANCE = 5_000, 0.01
BOUND, AUDIT_BOUND = 2e4, 1e4
"""Values at which the sketches alarm. Over 1,000 blocks they promise .05 and .10."""
SHARE = 0.1
HOLDOUT_DAYS, DAILY_ROWS, DAILY_SHOCK = 14, 1_000, 0.25
"""Days of a holdout, rows of a day in production, and the standard deviation of the logarithm of a day's factor."""
ERRORS = (0.20, 0.25, 0.30)
SHIFTS = (1.0, 1.5, 2.0)
HOURLY_ROWS, EARLY, MATURE = 100, 1.0, 24.0
"""Of the simulation of late labels: rows an hour, and the ages in hours at which early labels and all are there."""


@dataclass(frozen=True)
class Found:
    """What runs of one kind came to."""

    alarms: int
    trials: int
    delays: tuple[int, ...] = ()
    """Rows from the change to the alarm, of runs that alarmed after it."""

    @property
    def share(self) -> str:
        """Share of runs with an alarm."""
        return f"{self.alarms / self.trials:.3f}"

    @property
    def delay(self) -> str:
        """Median delay of runs without an earlier alarm, and how many found the change, where not all did."""
        if not self.delays:
            return "never"
        missed = self.trials - self.alarms
        median = np.median([*self.delays, *[math.inf] * missed])
        found = f"{median:,.0f}" if math.isfinite(median) else "not found by most"
        return f"{found} ({len(self.delays)} of {len(self.delays) + missed})" if missed else found


def gather(rows: Sequence[int | None], *, change: int = 0) -> Found:
    """Return what the rows of the alarms of several runs come to."""
    found = [row for row in rows if row is not None]
    return Found(len(found), len(rows), tuple(row - change for row in found if row > change))


def first_alarm(test: LossTest, rows: Floats, bound: float) -> int | None:
    """Return the number of rows after which a test alarms, or None."""
    over = test.feed(rows).evidence >= math.log(bound)
    return (int(np.argmax(over)) + 1) * test.block_size if over.any() else None


def numbered(values: Floats, *others: Floats) -> Floats:
    """Return rows of a test, `DAILY_ROWS` a day."""
    return np.column_stack([values, np.arange(len(values)) * (DAY / DAILY_ROWS), *others])


# wrong decisions ------------------------------------------------------------------------------------------------------


def errors(rng: np.random.Generator, rate: Floats, shock: float, daily: int) -> Floats:
    """Return wrong decisions whose rate is multiplied on each day by a lognormal factor with a mean of 1."""
    day = np.arange(len(rate)) // daily
    factor = np.exp(rng.normal(-(shock**2) / 2, shock, day[-1] + 1))[day]
    return (rng.random(len(rate)) < rate * factor).astype(float)


def plan_of(wrong: Floats, *, with_days: bool) -> LossPlan:
    """Return what a holdout of `HOLDOUT_DAYS` equal days tolerates; without days its rows count as independent."""
    n, zeros = len(wrong), np.zeros(len(wrong))
    value = Estimate(1 - float(wrong.mean()), float(wrong.std(ddof=1)) / math.sqrt(n), n)
    reference: dict[str, Any] = {"metrics": {"accuracy": value.to_dict()}}
    if with_days:
        times = np.datetime64("2026-01-01", "us") + np.arange(n) * HOLDOUT_DAYS // n * np.timedelta64(1, "D")
        reference["days"] = measure_days("accuracy", reference, times, Scored(wrong, zeros * np.nan, zeros))
    config = ModelConfig(
        model="simulated",
        target=TargetConfig(name="y"),
        features={"x": "numeric"},
        performance=PerformanceConfig(metric="accuracy", max_degradation=TOLERANCE),
    )
    plan = plan_losses(config, reference)
    assert plan is not None
    return plan


def wrong_decisions(after: float | None, trial: int, *, shock: float = 0.0, with_days: bool = True) -> int | None:
    """Run the harm test on errors of .15 that become ``after`` at `CHANGE`; None: they are at the limit all along."""
    rng = np.random.default_rng([1, trial])
    plan = plan_of(errors(rng, np.full(HOLDOUT, 0.15), shock, HOLDOUT // HOLDOUT_DAYS), with_days=with_days)
    change = None if after in (None, 0.15) else CHANGE
    rate = np.full(BLOCK * (BLOCKS if change is None else CHANGE // BLOCK + 400), 0.15 if after else plan.limit)
    if after and change:
        rate[change:] = after
    monitor = HarmMonitor.start(plan, after=0, last=0, delay=timedelta(0), block_size=BLOCK)
    return first_alarm(monitor.test, numbered(errors(rng, rate, shock, DAILY_ROWS)), BOUND)


def harm_table(trials: int) -> str:
    """Measure false alarms and delays of the harm test."""
    lines = [
        "| error | days alike | days differ | days differ, rows taken as independent |",
        "|---|---|---|---|",
    ]
    fewer = max(20, trials // 2)
    shocks = (0.0, True), (DAILY_SHOCK, True), (DAILY_SHOCK, False)
    for name, after in (("stays .15", 0.15), ("stays at what is tolerated", None)):
        cells = [
            gather(runs(partial(wrong_decisions, after, shock=shock, with_days=days), trials)).share
            for shock, days in shocks
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for after in ERRORS:
        cells = []
        for shock, days in shocks:
            found = gather(runs(partial(wrong_decisions, after, shock=shock, with_days=days), fewer), change=CHANGE)
            before = found.alarms - len(found.delays)
            cells.append(f"{found.delay}{f'; {before} before' if before else ''}")
        lines.append(f"| .15 → {after:.2f} | {' | '.join(cells)} |")
    bound = BLOCKS / BOUND
    text = (
        f"The first two lines: shares of {trials:,} runs of 1,000 blocks with an alarm; bound {bound:.2f}, with a "
        f"standard error of {math.sqrt(bound * (1 - bound) / trials):.3f}. The others: median labels from the change "
        f"to the alarm, of {fewer:,} runs, and how many alarmed before it. Holdouts of {HOLDOUT:,} labels on "
        f"{HOLDOUT_DAYS} days, tolerance {TOLERANCE}, {DAILY_ROWS:,} labels a day, alarm at 20,000. Days that differ: "
        f"the error of a day is multiplied by a lognormal factor of mean 1; the deviation of its logarithm is "
        f"{DAILY_SHOCK}."
    )
    return "\n".join([*lines, "", text])


def runs(kind: Callable[[int], int | None], trials: int) -> list[int | None]:
    """Return the rows of the alarms of all trials, on two cores."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(kind, range(trials), chunksize=8))


# one label in ten -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Calibrated scores and their labels; from `CHANGE` on the log-odds of the truth move by ``shift``."""

    score: Floats
    label: Floats

    @property
    def loss(self) -> Floats:
        """Squared errors."""
        return (self.score - self.label) ** 2

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, shift: float) -> World:
        """Return n rows."""
        score = rng.beta(1.2, 4, n)
        odds = np.log(score / (1 - score)) + np.where(np.arange(n) >= CHANGE, shift, 0.0)
        return cls(score, (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float))


REFERENCE_LOSS = 1.2 * 4 / (5.2 * 6.2)
"""Mean of p(1 − p) under the scores' law, which the sketch takes as known."""


def one_in_ten(method: str, shift: float, trial: int, *, tolerance: float = TOLERANCE) -> int | None:
    """Run a test on the squared errors of a world; ``method``: ``all``, ``labelled`` or ``powered``."""
    rng = np.random.default_rng([2, trial])
    n = BLOCK * BLOCKS if not shift else CHANGE + 300 * BLOCK
    world, limit = World.draw(rng, n, shift), REFERENCE_LOSS + tolerance
    if method == "all":
        return first_alarm(LossTest(limit, low=0.0, block_size=BLOCK), numbered(world.loss), AUDIT_BOUND)
    audited = rng.random(n) < SHARE
    if method == "labelled":
        found = first_alarm(LossTest(limit, low=0.0, block_size=BLOCK), numbered(world.loss[audited]), AUDIT_BOUND)
        return found and int(np.flatnonzero(audited)[found - 1]) + 1
    return first_alarm(audit_test(limit), audit_rows(world, audited, audited, SHARE), AUDIT_BOUND)


def audit_test(limit: float, share: float = SHARE) -> AuditTest:
    """Return the audit monitor's test of squared errors."""
    low = lowest(largest_estimate("brier", mean=REFERENCE_LOSS), share=share)
    return AuditTest(limit, low=low, block_size=BLOCK, pending=np.empty((0, 4)))


def audit_rows(world: World, audited: Floats, labelled: Floats, share: float) -> Floats:
    """Return the audit monitor's rows: an audited row without a label has a loss of 0."""
    estimate = estimated_losses("brier", world.score, mean=REFERENCE_LOSS)
    z = prediction_powered_losses(estimate, np.where(labelled, world.loss, 0.0), audited, share=share)
    return numbered(z, audited, labelled)


def audit_table(trials: int) -> str:
    """Measure false alarms and delays with all labels and with one in ten."""
    names = {
        "all": "all labels",
        "labelled": "one in ten: the harm test on those labels",
        "powered": "one in ten: the audit test",
    }
    lines = [
        "| labels | false alarms within 1,000 blocks | shift 1 | shift 1.5 | shift 2 |",
        "|---|---|---|---|---|",
    ]
    fewer = max(20, trials // 2)
    for method, name in names.items():
        null = gather(runs(partial(one_in_ten, method, 0.0), trials))
        late = [gather(runs(partial(one_in_ten, method, shift), fewer), change=CHANGE).delay for shift in SHIFTS]
        lines.append(f"| {name} | {null.share} | {' | '.join(late)} |")
    bound = BLOCKS / AUDIT_BOUND
    error = math.sqrt(bound * (1 - bound) / trials)
    text = (
        f"{trials:,} runs without a change, {fewer:,} with each shift of the log-odds; median predictions from the "
        f"shift to the alarm. Bound: {bound:.2f}, with a standard error of {error:.3f}."
    )
    return "\n".join([*lines, "", text])


# late labels ----------------------------------------------------------------------------------------------------------


def late_labels(method: str, first: str, shift: float, trial: int) -> int | None:
    """Run a method where the labels of one class come early.

    first: ``positives`` or ``negatives`` are known within some minutes, the others evenly over a day. method:

    - ``sample``: whoever has a label after an hour is taken for a random sample;
    - ``audit``: Keel's audit test, with an audit sample that nobody labels on purpose;
    - ``impatient``: the harm test on labels in the order in which they come;
    - ``matured``: the harm monitor, which waits for a day.
    """
    rng = np.random.default_rng([3, trial])
    n = BLOCK * BLOCKS if not shift else CHANGE + 300 * BLOCK
    world, limit = World.draw(rng, n, shift), REFERENCE_LOSS + TOLERANCE
    soon = world.label == (first == "positives")
    hours = np.where(soon, rng.uniform(0.0, 0.5, n), rng.uniform(EARLY, MATURE, n))
    early = hours < EARLY
    if method == "sample":
        share = float(early[:CHANGE].mean())  # as it was while nothing had changed
        test = LossTest(limit, low=lowest(0.25, share=share), block_size=BLOCK)
        return first_alarm(test, audit_rows(world, early, early, share), AUDIT_BOUND)
    if method == "audit":
        audited = rng.random(n) < SHARE
        return first_alarm(audit_test(limit), audit_rows(world, audited, early, SHARE), AUDIT_BOUND)
    rows = numbered(world.loss)
    if method == "impatient":
        rows = rows[np.argsort(np.arange(n) / HOURLY_ROWS + hours)]
    return first_alarm(LossTest(limit, low=0.0, block_size=BLOCK), rows, AUDIT_BOUND)


def late_table(trials: int) -> str:
    """Measure what early labels do to each method."""
    names = {
        "sample": "early labels taken for a random sample",
        "impatient": "harm test on labels as they come",
        "audit": "audit test, the audited not labelled early",
        "matured": "harm monitor: waits for `label_delay`",
    }
    lines = [
        "| method | false alarms, positives come first | false alarms, negatives first "
        "| delay, positives first | delay, negatives first |",
        "|---|---|---|---|---|",
    ]
    fewer = max(20, trials // 4)
    for method, name in names.items():
        cells = [
            gather(runs(partial(late_labels, method, who, 0.0), fewer)).share for who in ("positives", "negatives")
        ]
        for who in ("positives", "negatives"):
            found = gather(runs(partial(late_labels, method, who, 1.5), fewer), change=CHANGE)
            cells.append(found.delay if not found.alarms - len(found.delays) else "alarms before")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    text = f"{fewer:,} runs each, of 1,000 blocks; the delay in predictions from a shift of the log-odds by 1.5."
    return "\n".join([*lines, "", text])


TABLES = {"live harm": harm_table, "live audit": audit_table, "live late labels": late_table}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--only", action="append", choices=TABLES)
    asked = parser.parse_args()
    for name in asked.only or TABLES:
        print(f"{name}\n\n{TABLES[name](asked.trials)}\n", flush=True)


if __name__ == "__main__":
    main()
