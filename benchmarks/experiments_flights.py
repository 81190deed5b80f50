"""Experiments between versions of the flights' model: real flights, real labels, arms drawn with many salts.

Both versions score every flight once. So what an experiment should find is known exactly: the difference of their mean
losses on all of its flights, of which each arm sees a part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.experiments import ALLOCATIONS, METRICS, Found, plan_of, run_one
from benchmarks.probation_flights import FIRST, LAST, WEEK, between, scored, version
from keel.lifecycle.experiment_look import ExperimentVerdict
from keel.measures.bounded import promised_loss

if TYPE_CHECKING:
    from keel.lifecycle.candidate import Candidate

METRIC = "brier"
WEEKS = timedelta(weeks=8)
"""How long an experiment may last: about 50,000 flights."""
DATES = 3
KINDS: dict[str, Callable[[datetime], tuple[Candidate, Candidate]]] = {
    "challenger trained on shuffled labels": lambda end: (version(end), version(end, "shuffled")),
    "champion trained on shuffled labels": lambda end: (version(end, "shuffled"), version(end)),
    "the same version twice": lambda end: (version(end), version(end)),
    "another seed": lambda end: (version(end), version(end, "recipe", 1)),
    "resampled": lambda end: (version(end), version(end, "resampled")),
}
"""Champion and challenger, by what distinguishes them."""


@dataclass(frozen=True)
class Served:
    """Experiments on the flights after one day, with one pair of versions and one allocation."""

    date: datetime
    kind: str
    allocation: str
    difference: float
    """By how much lower the challenger's mean loss is on all flights."""
    error: float
    """Standard error of that between days: what other weeks would have made of it."""
    n: int
    found: tuple[Found, ...]


def starts(n: int = DATES) -> list[datetime]:
    """Return days spread evenly over the year, all of one weekday, with as many weeks after them."""
    last = LAST - WEEKS - FIRST
    return [FIRST + round(last / WEEK * i / max(1, n - 1)) * WEEK for i in range(n)]


def serve(date: datetime, seeds: int, kinds: Iterable[str] = tuple(KINDS)) -> list[Served]:
    """Run all experiments that begin on a day; in shadow mode there is nothing to draw, so once."""
    rows = between(date, date + WEEKS)
    times, served = rows["time"].to_numpy().astype("datetime64[us]"), []
    for kind in kinds:
        champion, challenger = KINDS[kind](date)
        before, new = scored(champion, rows), scored(challenger, rows)
        promised = promised_loss(METRIC, champion.reference)
        assert promised is not None
        better = METRICS[METRIC](before) - METRICS[METRIC](new)
        days = np.unique(times.astype("datetime64[D]"), return_inverse=True)[1]
        sums = np.bincount(days, better - better.mean())
        error = math.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(better)
        for allocation, stages in ALLOCATIONS.items():
            salts = range(seeds if stages else 1)
            plans = (plan_of(stages, METRIC, promised, seed=f"{kind} {salt}", start=date) for salt in salts)
            found = tuple(run_one(plan, times, before, new) for plan in plans)
            served.append(Served(date, kind, allocation, float(better.mean()), error, len(better), found))
    return served


def flights_table(seeds: int = 20, dates: int = DATES) -> str:
    """Return which verdicts experiments on flights end in, beside those of a test that must not be looked at often."""
    with ProcessPoolExecutor(2) as pool:
        served = [one for several in pool.map(serve, starts(dates), [seeds] * dates) for one in several]
    lines = [
        "| versions | from | difference known (between days ±) | allocation | promote | roll back | "
        "after outcomes: median (fewest to most) | naive: promote | naive: roll back |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(served, key=lambda one: (list(KINDS).index(one.kind), one.date)):
        lines.append(_line(one))
    note = (
        f"Brier score, margin 0, α = 0.05, {seeds} salts a row (in shadow mode nothing is drawn); eight weeks, "
        f"{min(one.n for one in served):,} to {max(one.n for one in served):,} flights. The difference known is that "
        "of the mean losses on all of them, positive where the challenger is better, with its error between days."
    )
    return "\n".join([*lines, "", note])


def _line(one: Served) -> str:
    counts = [_share(one.found, verdict) for verdict in (ExperimentVerdict.PROMOTE, ExperimentVerdict.ROLL_BACK)]
    naive = [
        f"{sum(found.naive is verdict for found in one.found)} of {len(one.found)}"
        for verdict in (ExperimentVerdict.PROMOTE, ExperimentVerdict.ROLL_BACK)
    ]
    ended = [found.n for found in one.found if found.verdict is not ExperimentVerdict.RUNNING]
    delay = f"{np.median(ended):,.0f} ({min(ended):,} to {max(ended):,})" if ended else "–"
    cells = [one.kind, f"{one.date:%-d %B}", f"{one.difference:+.4f} ± {one.error:.4f}", one.allocation]
    return f"| {' | '.join([*cells, *counts, delay, *naive])} |"


def _share(found: tuple[Found, ...], verdict: ExperimentVerdict) -> str:
    return f"{sum(each.verdict is verdict for each in found)} of {len(found)}"


if __name__ == "__main__":
    print(flights_table())
