"""Experiments between versions of the flights' model: real flights, real labels, arms drawn with many salts.

Both versions score every flight once. So what an experiment should find is known exactly: the difference of their mean
losses on all of its flights, of which each arm sees a part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.experiments import ALLOCATIONS, METRICS, Found, plan_of, run_one
from benchmarks.probation_flights import FIRST, LAST, WEEK, between, scored, version
from keel.evaluation.experiment.analysis import ExperimentVerdict
from keel.stats.sequential.bounded_losses import baseline_loss

if TYPE_CHECKING:
    from keel.registry.candidate import Candidate

LASTS = timedelta(weeks=8)
"""How long an experiment may last: about 50,000 flights."""
DATES = 3
SHUFFLED, MIRRORED = "challenger trained on shuffled labels", "champion trained on shuffled labels"
TWICE, RESAMPLED = "the same version twice", "trained on the same rows drawn again"
PAIRS: dict[str, Callable[[datetime], tuple[Candidate, Candidate]]] = {
    SHUFFLED: lambda end: (version(end), version(end, "shuffled")),
    MIRRORED: lambda end: (version(end, "shuffled"), version(end)),
    TWICE: lambda end: (version(end), version(end)),
    RESAMPLED: lambda end: (version(end), version(end, "resampled")),
}
"""Champion and challenger, by what distinguishes them."""
KINDS = (
    (SHUFFLED, "accuracy"), (MIRRORED, "accuracy"), (SHUFFLED, "brier"), (MIRRORED, "brier"), (TWICE, "brier"),
    (RESAMPLED, "brier"),
)  # fmt: skip
SERVED = tuple(name for name in ALLOCATIONS if not name.startswith("canary"))
RIGHT, WRONG, NONE = "agrees", "contradicts", "shows nothing"


@dataclass(frozen=True)
class Served:
    """Experiments on the flights after one day, with one pair of versions, one metric and one allocation."""

    date: datetime
    kind: tuple[str, str]
    allocation: str
    difference: float
    """By how much lower the challenger's mean loss is on all flights."""
    error: float
    """Standard error of that between days: what other weeks would have made of it."""
    n: int
    found: tuple[Found, ...]

    def judged(self, verdict: ExperimentVerdict) -> str:
        """Say what a verdict is to the known difference; any is wrong where that is none."""
        if verdict not in (ExperimentVerdict.PROMOTE, ExperimentVerdict.ROLL_BACK):
            return NONE
        said = 1 if verdict is ExperimentVerdict.PROMOTE else -1
        return RIGHT if said * self.difference > 0 else WRONG


def starts(n: int = DATES) -> list[datetime]:
    """Return days spread evenly over the year, all of one weekday, each with all of an experiment after it."""
    last = LAST - LASTS - FIRST
    return [FIRST + round(last / WEEK * i / max(1, n - 1)) * WEEK for i in range(n)]


def serve(date: datetime, seeds: int, kinds: Iterable[tuple[str, str]] = KINDS) -> list[Served]:
    """Run all experiments that begin on a day; in shadow mode there is nothing to draw, so once."""
    rows = between(date, date + LASTS)
    times, served = rows["time"].to_numpy().astype("datetime64[us]"), []
    for kind in kinds:
        pair, metric = kind
        champion, challenger = PAIRS[pair](date)
        before, new = scored(champion, rows), scored(challenger, rows)
        baseline = baseline_loss(metric, champion.reference)  # none of the accuracy, which the model does not ask for
        better = METRICS[metric](before) - METRICS[metric](new)
        days = np.unique(times.astype("datetime64[D]"), return_inverse=True)[1]
        sums = np.bincount(days, better - better.mean())
        error = math.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(better)
        for allocation in SERVED:
            stages = ALLOCATIONS[allocation]
            salts = range(seeds if stages else 1)
            plans = (plan_of(stages, metric, baseline, seed=f"{pair} {salt}", start=date) for salt in salts)
            found = tuple(run_one(plan, times, before, new) for plan in plans)
            served.append(Served(date, kind, allocation, float(better.mean()), error, len(better), found))
    return served


def flights_table(seeds: int = 20, dates: int = DATES) -> str:
    """Return which verdicts experiments on flights end in, beside those of a test that must not be looked at often."""
    with ProcessPoolExecutor(2) as pool:
        served = [one for several in pool.map(serve, starts(dates), [seeds] * dates) for one in several]
    return report(served, seeds)


def report(served: Sequence[Served], seeds: int) -> str:
    """Sum up by pair, metric and allocation, and tell the known differences."""
    lines = [
        f"| versions | metric | allocation | experiments | verdict {RIGHT} | {WRONG} | {NONE} | for gross harm, after "
        f"hours | after outcomes: median (fewest to most) | naive: {RIGHT} | {WRONG} |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in served)]
    for kind in kinds:
        for allocation in SERVED:
            lines.append(_line([one for one in served if one.kind == kind and one.allocation == allocation]))
    n = [one.n for one in served]
    note = (
        f"Margin 0, α = 0.05, eight weeks of {min(n):,} to {max(n):,} flights, {seeds} salts from each day (in shadow "
        "mode nothing is drawn). The same version twice has no difference, and any verdict contradicts that. The "
        "differences known are those of the mean losses on all of the flights, positive where the challenger is "
        "better, with their standard errors between days:"
    )
    return "\n".join([*lines, "", note, "", *_differences(served, kinds)])


def _line(served: Sequence[Served]) -> str:
    found = [(one, each) for one in served for each in one.found]
    keel = [one.judged(each.verdict) for one, each in found]
    naive = [one.judged(each.naive) for one, each in found]
    after = [each.n for (_, each), said in zip(found, keel, strict=True) if said != NONE]
    delay = f"{np.median(after):,.0f} ({min(after):,} to {max(after):,})" if after else "–"
    early = [each.hours for _, each in found if each.early]
    harm = f"{len(early)}, {np.median(early):.0f}" if early else "0"
    said = [keel.count(RIGHT), keel.count(WRONG), keel.count(NONE), harm, delay]
    cells = [*served[0].kind, served[0].allocation, len(found), *said, naive.count(RIGHT), naive.count(WRONG)]
    return f"| {' | '.join(map(str, cells))} |"


def _differences(served: Sequence[Served], kinds: Sequence[tuple[str, str]]) -> list[str]:
    dates = sorted({one.date for one in served})
    lines = [f"| versions | metric | {' | '.join(f'from {date:%-d %B}' for date in dates)} |"]
    lines.append("|---|---|" + "---|" * len(dates))
    for kind in kinds:
        if kind[0] == TWICE:
            continue
        known = {one.date: f"{one.difference:+.4f} ± {one.error:.4f}" for one in served if one.kind == kind}
        lines.append(f"| {' | '.join([*kind, *(known.get(date, '–') for date in dates)])} |")
    return lines


if __name__ == "__main__":
    print(flights_table())
