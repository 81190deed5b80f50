"""The live monitors of the mean loss: false alarms and delays, with all labels, with one in ten, and with late ones.

``python -m benchmarks.live_losses`` prints the tables; ``--trials 20`` makes a quick look.
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from keel.monitoring.live.audit import AuditTest
from keel.monitoring.live.loss_test import LossTest
from keel.stats.metrics.losses import Estimate
from keel.stats.sequential.bounded_losses import BoundedLoss
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
DAILY_ROWS, DAILY_SHOCK = 1_000, 0.3
"""Rows of a day, and the standard deviation of its shock on the scale of the log-odds: as for probations."""
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
        """Median delay, and how many found the change, where not all did."""
        if not self.delays:
            return "never"
        every = len(self.delays) == self.trials
        return f"{np.median(self.delays):,.0f}{'' if every else f' ({len(self.delays)} of {self.trials})'}"


def gather(rows: Sequence[int | None], *, change: int = 0) -> Found:
    """Return what the rows of the alarms of several runs come to."""
    found = [row for row in rows if row is not None]
    return Found(len(found), len(rows), tuple(row - change for row in found if row > change))


def first_alarm(test: LossTest, rows: Floats, bound: float) -> int | None:
    """Return the number of rows after which a test alarms, or None."""
    over = test.feed(rows).evidence >= math.log(bound)
    return (int(np.argmax(over)) + 1) * test.block_size if over.any() else None


def limit_of(losses: Floats, metric: str) -> float:
    """Return what is tolerated after a holdout with these losses."""
    n, mean = len(losses), float(losses.mean())
    baseline = Estimate(mean, float(losses.std(ddof=1)) / math.sqrt(n), n)
    return BoundedLoss(metric).limit(baseline, TOLERANCE)


def numbered(values: Floats, *others: Floats) -> Floats:
    """Return rows of a test, a second apart."""
    return np.column_stack([values, np.arange(len(values)) * 1e6, *others])


# wrong decisions ------------------------------------------------------------------------------------------------------


def wrong_decisions(
    after: float | None, trial: int, *, shock: float = 0.0, thinning: int = 1, blocks: int = BLOCKS
) -> int | None:
    """Run the harm test on errors of .15 that become ``after`` at `CHANGE`; None: they are at the limit all along."""
    rng = np.random.default_rng([1, trial])
    limit = limit_of((rng.random(HOLDOUT) < 0.15).astype(float), "accuracy")
    n = BLOCK * (blocks if after in (None, 0.15) else CHANGE // BLOCK + 400)
    rate = np.full(n, limit if after is None else 0.15)
    if after is not None:
        rate[CHANGE:] = after
    if shock:
        days = rng.normal(0.0, shock, n // DAILY_ROWS + 1)
        odds = np.log(rate / (1 - rate)) + days[np.arange(n) // DAILY_ROWS]
        rate = 1 / (1 + np.exp(-odds))
    test = LossTest(limit, low=0.0, high=1.0, block_size=BLOCK, thinning=thinning)
    found = first_alarm(test, numbered((rng.random(n) < rate).astype(float)), BOUND)
    return found and found * thinning


def harm_table(trials: int) -> str:
    """Measure false alarms and delays of the harm test."""
    kinds: dict[str, Callable[[int], int | None]] = {
        "error stays .15": partial(wrong_decisions, 0.15),
        "error stays exactly at what is tolerated": partial(wrong_decisions, None),
        "error stays .15 on average, whole days off": partial(wrong_decisions, 0.15, shock=DAILY_SHOCK),
        "the same, with `live.thinning: 10`": partial(
            wrong_decisions, 0.15, shock=DAILY_SHOCK, thinning=10, blocks=10 * BLOCKS
        ),
    } | {f"error .15 → {after:.2f}": partial(wrong_decisions, after) for after in ERRORS}
    lines = ["| world | runs | alarms within 1,000 blocks | median delay, labels |", "|---|---|---|---|"]
    for name, kind in kinds.items():
        changes = "→" in name
        found = gather(runs(kind, trials if not changes else max(20, trials // 2)), change=CHANGE if changes else 0)
        alarms = f"{(found.alarms - len(found.delays)) / found.trials:.3f} before" if changes else found.share
        lines.append(f"| {name} | {found.trials:,} | {alarms} | {found.delay if changes else '–'} |")
    return "\n".join([*lines, "", note(trials, BLOCKS / BOUND)])


def note(trials: int, bound: float) -> str:
    """Return the bound and its sampling error."""
    error = math.sqrt(bound * (1 - bound) / trials)
    return (
        f"Holdouts of {HOLDOUT:,} labels, tolerance {TOLERANCE}, blocks of {BLOCK}. The bound of the first two lines is "
        f"{bound:.2f}; a share of that size has a standard error of {error:.4f}."
    )


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


def one_in_ten(method: str, shift: float, trial: int) -> int | None:
    """Run a test on the squared errors of a world; ``method``: ``all``, ``labelled`` or ``powered``."""
    rng = np.random.default_rng([2, trial])
    n = BLOCK * BLOCKS if not shift else CHANGE + 300 * BLOCK
    world, limit = World.draw(rng, n, shift), REFERENCE_LOSS + TOLERANCE
    if method == "all":
        return first_alarm(LossTest(limit, low=0.0, high=1.0, block_size=BLOCK), numbered(world.loss), AUDIT_BOUND)
    audited = rng.random(n) < SHARE
    if method == "labelled":
        found = first_alarm(
            LossTest(limit, low=0.0, high=1.0, block_size=BLOCK), numbered(world.loss[audited]), AUDIT_BOUND
        )
        return found and int(np.flatnonzero(audited)[found - 1]) + 1
    return first_alarm(audit_test(limit), audit_rows(world, audited, audited, SHARE), AUDIT_BOUND)


def audit_test(limit: float, share: float = SHARE) -> AuditTest:
    """Return the audit monitor's test of squared errors."""
    low = lowest(largest_estimate("brier", mean=REFERENCE_LOSS), share=share)
    return AuditTest(limit, low=low, high=1 / share, block_size=BLOCK, pending=np.empty((0, 4)))


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
        f"{trials:,} runs without a change, {fewer:,} with each shift of the log-odds; median predictions from the shift "
        f"to the alarm. Bound: {bound:.2f}, with a standard error of {error:.3f}."
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
        test = LossTest(limit, low=lowest(0.25, share=share), high=1 / share, block_size=BLOCK)
        return first_alarm(test, audit_rows(world, early, early, share), AUDIT_BOUND)
    if method == "audit":
        audited = rng.random(n) < SHARE
        return first_alarm(audit_test(limit), audit_rows(world, audited, early, SHARE), AUDIT_BOUND)
    rows = numbered(world.loss)
    if method == "impatient":
        rows = rows[np.argsort(np.arange(n) / HOURLY_ROWS + hours)]
    return first_alarm(LossTest(limit, low=0.0, high=1.0, block_size=BLOCK), rows, AUDIT_BOUND)


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
