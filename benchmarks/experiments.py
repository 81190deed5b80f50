"""How often an experiment ends in the wrong verdict, and how soon in the right one, where the truth is known.

``python -m benchmarks.experiments`` prints the tables; ``--trials 20`` makes a quick look.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from keel.evaluation.experiment.analysis import ExperimentVerdict, decide, usable_outcomes
from keel.evaluation.experiment.evidence import MISMATCH_EVIDENCE, evaluate_rows
from keel.evaluation.experiment.outcomes import read_rows
from keel.evaluation.experiment.plan import Plan, Stage, assign_many, in_utc
from keel.evaluation.experiment.report import HARM
from keel.stats.metrics.losses import Estimate, Floats, Scored, brier_loss, error_loss, estimate
from keel.stats.sequential.confidence_sequences import running
from keel.stats.sequential.sample_ratio import log_ratio_mismatch

if TYPE_CHECKING:
    from keel.stats.sequential.blocks import Times

ALPHA = 0.05
START = datetime(2026, 1, 1, tzinfo=UTC)
DELAY = timedelta(hours=24)
DAYS, ROWS = 20, 10_000
EVERY = 100
"""Outcomes between two looks of the naive test; Keel's are looked at after every one."""
METRICS = {"brier": brier_loss, "accuracy": error_loss}
WEATHER = 1.0
"""Standard deviation, on the scale of the logit, by which all labels of a day move together."""
OWN_DAYS = 0.3
"""The same for the scores of versions whose days differ: by so much either is off on a whole day."""
QUALITY = 1.5
QUALITIES = (0.9, 1.2, 1.8, 2.1)
USELESS = {0.0: "scores that say nothing", -QUALITY: "scores turned round"}
"""Challengers that do gross harm."""
DAYS_SHARE, POWER_SHARE = 2, 25
"""Half as many trials are enough where whole days differ, and a twenty-fifth to see how soon a difference shows."""
SKEWS = (0.5, 0.51, 0.52, 0.55)

Stages = tuple[Stage, ...]
ALLOCATIONS: dict[str, Stages] = {
    "50/50": (Stage(0.5),),
    "canary of 10%": (Stage(0.1),),
    "ramp 5→20→50%": (Stage(0.05, timedelta(days=2)), Stage(0.2, timedelta(days=3)), Stage(0.5)),
    "shadow": (),
}


def plan_of(stages: Stages, metric: str, baseline: Estimate | None, *, seed: object, start: datetime = START) -> Plan:
    """Return a plan; none of the stages: shadow mode. seed: makes the salt."""
    return Plan(
        experiment_id=f"{seed}", model="simulated", champion=1, challenger=2, mode="ab" if stages else "shadow",
        stages=stages, salt=f"salt {seed}", metric=metric, margin=0.0, alpha=ALPHA, max_outcomes=10**6,
        started_at=start, baseline=baseline, label_delay=DELAY,
    )  # fmt: skip


def tables(plan: Plan, times: Times, champion: Scored, challenger: Scored) -> tuple[pa.Table, pa.Table]:
    """Serve rows, each its own entity, by a plan; return what the store gives of them: outcomes, and assignments."""
    entities = [f"row {i}" for i in range(len(times))]
    is_challenger, probability = assign_many(plan, entities, times)
    shown = {"entity": entities, "time": times, "allocation": probability}
    shown["arm"] = np.where(is_challenger, "challenger", "champion")
    shadow = plan.mode == "shadow"
    nothing = np.full(len(times), math.nan)
    outcomes = {
        **shown,
        "version": np.where(is_challenger, plan.challenger, plan.champion),
        "score": np.where(is_challenger, challenger.score, champion.score),
        "prediction": np.where(is_challenger, challenger.prediction, champion.prediction),
        "label": champion.label,
        "observed_at": times + np.timedelta64(DELAY),
        "shadow_version": np.full(len(times), plan.challenger),
        "shadow_score": challenger.score if shadow else nothing,
        "shadow_prediction": challenger.prediction if shadow else nothing,
    }
    assigned = pa.table(shown)
    return pa.table(outcomes), assigned.slice(0, 0) if shadow else assigned


def weathered(n: int, seed: int, quality: float, own_days: float = 0.0) -> tuple[Times, Scored, Scored]:
    """Draw rows of days that share their weather; return times, a champion of `QUALITY` and a challenger.

    own_days: standard deviation, on the scale of the logit, by which either version is off on a whole day.
    """
    rng = np.random.default_rng(seed)
    day = np.arange(n) * DAYS // n
    weather = WEATHER * rng.standard_normal(DAYS)
    label = (rng.random(n) < 1 / (1 + np.exp(1 - weather[day]))).astype(float)
    common = rng.standard_normal(n)

    def version(strength: float) -> Scored:
        off = own_days * rng.standard_normal(DAYS)[day]
        raw = strength * label + math.sqrt(0.8) * common + math.sqrt(0.2) * rng.standard_normal(n) + off
        score = 1 / (1 + np.exp(1.2 - raw))
        return Scored(label, score, (score > 0.5).astype(float))

    started = np.datetime64(START.replace(tzinfo=None), "us")
    times = started + (np.arange(n) * (DAYS * 86_400e6 / n)).astype("timedelta64[us]")
    return times, version(QUALITY), version(quality)


@dataclass(frozen=True)
class Found:
    """What an experiment came to, and what a test of fixed size, looked at again and again, would have made of it."""

    verdict: ExperimentVerdict
    n: int
    naive: ExperimentVerdict
    early: bool
    """Whether it was ended for gross harm, before the least time."""
    hours: float
    """From the start until it ended; NaN where it did not."""


def simulated(
    allocation: str, metric: str, quality: float, trials: Iterable[int], *, n: int = ROWS, own_days: float = 0.0
) -> list[Found]:
    """Run experiments on known truths to their end."""
    found = []
    for trial in trials:
        times, champion, challenger = weathered(n, trial, quality, own_days)
        baseline = _baseline(metric, weathered(5_000, 10**6 + trial, quality)[1])
        plan = plan_of(ALLOCATIONS[allocation], metric, baseline, seed=trial)
        found.append(run_one(plan, times, champion, challenger))
    return found


def run_one(plan: Plan, times: Times, champion: Scored, challenger: Scored) -> Found:
    """Serve all rows by a plan and look once, at the end, when the first thing shown is what counts.

    That is `evaluate` without its report, whose bounds take longer than the verdict.
    """
    outcomes, assigned = tables(plan, times, champion, challenger)
    now = times[-1].astype(datetime).replace(tzinfo=UTC) + 2 * DELAY
    labelled, rows = read_rows(plan, outcomes, assigned, now=now)
    usable, end = usable_outcomes(plan, labelled), np.datetime64(in_utc(now), "us")
    shown = evaluate_rows(plan, usable, end)
    event = decide(plan, labelled, usable, shown, rows, end=end)
    by_naive = naive(plan, outcomes, champion, challenger)
    if event is None:
        return Found(ExperimentVerdict.RUNNING, len(usable), by_naive, early=False, hours=math.nan)
    lasted = (event.moment - np.datetime64(in_utc(plan.started_at), "us")) / np.timedelta64(1, "h")
    return Found(event.verdict, event.n, by_naive, early=event.cause == HARM, hours=float(lasted))


def naive(plan: Plan, outcomes: pa.Table, champion: Scored, challenger: Scored) -> ExperimentVerdict:
    """Compare means by a z-test at `ALPHA`, one-sided both ways, every `EVERY` outcomes until one is significant."""
    looks = np.arange(EVERY, outcomes.num_rows + 1, EVERY) - 1
    losses = METRICS[plan.metric]
    if plan.mode == "shadow":
        difference = losses(champion) - losses(challenger)
        n = np.arange(1, len(difference) + 1)
        mean = np.cumsum(difference) / n
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (mean * np.sqrt(n) / np.sqrt(np.cumsum(difference**2) / n - mean**2))[looks]
    else:
        is_challenger = outcomes["arm"].to_numpy() == "challenger"
        seen = running(np.where(is_challenger, losses(challenger), losses(champion)), is_challenger)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (seen.improvement / seen.standard_error)[looks]
    shown = np.flatnonzero(np.abs(np.nan_to_num(z)) > -ndtri(ALPHA))
    if not len(shown):
        return ExperimentVerdict.RUNNING
    return ExperimentVerdict.PROMOTE if z[shown[0]] > 0 else ExperimentVerdict.ROLL_BACK


def _baseline(metric: str, holdout: Scored) -> Estimate:
    found = estimate(metric, holdout)
    return Estimate(1 - found.value, found.standard_error, found.n) if metric == "accuracy" else found


def skewed(truth: float, trials: int, n: int = 100_000, seed: int = 0) -> Floats:
    """Draw assignments with another share than the stated half; return after how many rows each is caught, or ∞."""
    rng, caught = np.random.default_rng([seed, round(truth * 1_000)]), []
    for _ in range(trials):
        path = log_ratio_mismatch(rng.random(n) < truth, 0.5)
        above = path >= math.log(MISMATCH_EVIDENCE)
        caught.append(float(above.argmax() + 1) if above.any() else math.inf)
    return np.array(caught)


def run(trials: int = 500) -> dict[str, str]:
    """Return the tables by their names in ``docs/statistics.md``."""
    found = simulated_worlds(trials)
    return {
        "experiments mismatch": mismatch_table(trials),
        "experiments simulated": simulation_report(found),
        "experiments gross harm": harm_report(found),
    }


World = tuple[str, str, float, float]
"""Allocation, metric, the challenger's quality, and how much days differ."""
PLANS = [(allocation, metric) for allocation in ALLOCATIONS for metric in METRICS]
WORLDS = (QUALITY, 0.0), (QUALITY, OWN_DAYS), (QUALITIES[0], 0.0)


def simulated_worlds(trials: int) -> dict[World, list[Found]]:
    """Run experiments on known truths, with equal versions and with unequal ones."""
    of_days, of_power = max(2, trials // DAYS_SHARE), max(2, trials // POWER_SHARE)
    jobs: list[tuple[World, int]] = []
    for each in PLANS:
        jobs += [((*each, QUALITY, 0.0), trials), ((*each, QUALITY, OWN_DAYS), of_days)]
        jobs += [((*each, quality, 0.0), of_power) for quality in (*QUALITIES, *USELESS)]
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(_simulated, jobs, chunksize=1)
        return {world: each for (world, _), each in zip(jobs, found, strict=True)}


def simulation_report(found: Mapping[World, Sequence[Found]]) -> str:
    """Put what experiments in the worlds of every plan came to into a table."""
    head = ["promote", "roll back", "naive: either", "promote, days differ", "roll back, days differ"]
    head += [f"{'worse' if quality < QUALITY else 'better'} ({quality})" for quality in QUALITIES]
    lines = [f"| allocation | metric | {' | '.join(head)} |", "|---|---|" + "---|" * len(head)]
    for each in PLANS:
        alike, differing = found[*each, QUALITY, 0.0], found[*each, QUALITY, OWN_DAYS]
        cells = [_rate(alike, ExperimentVerdict.PROMOTE), _rate(alike, ExperimentVerdict.ROLL_BACK)]
        cells.append(f"{np.mean([one.naive is not ExperimentVerdict.RUNNING for one in alike]):.2f}")
        cells += [_rate(differing, ExperimentVerdict.PROMOTE), _rate(differing, ExperimentVerdict.ROLL_BACK)]
        cells += [_told_apart(quality, found[*each, quality, 0.0]) for quality in QUALITIES]
        lines.append(f"| {' | '.join([*each, *cells])} |")
    trials, of_days, of_power = (len(found[*PLANS[0], *world]) for world in WORLDS)
    note = (
        f"Challengers over a champion of quality {QUALITY}, in {DAYS} days with {ROWS:,} outcomes whose labels share "
        f"the weather of their day; {trials:,} experiments each with equal versions, {of_power:,} with others: "
        "share that ends in the right verdict (wrong ones, if any), and after how many outcomes in the median. "
        f"A share of α = {ALPHA} has a standard error of {math.sqrt(ALPHA * (1 - ALPHA) / trials):.4f}. Days differ: "
        f"the scores of either version are off by a normal amount of {OWN_DAYS} a day, on the scale of the logit; "
        f"{of_days:,} experiments. Naive: a one-sided z-test each way, every {EVERY} outcomes."
    )
    return "\n".join([*lines, "", note])


def harm_report(found: Mapping[World, Sequence[Found]]) -> str:
    """Put into a table what was ended for gross harm before the least time, rightly and wrongly."""
    head = ["equal", "equal, days differ", *USELESS.values()]
    lines = [f"| allocation | metric | {' | '.join(head)} |", "|---|---|" + "---|" * len(head)]
    for each in PLANS:
        if ALLOCATIONS[each[0]]:  # in a shadow nobody is harmed
            cells = [_early(found[*each, *world]) for world in ((QUALITY, 0.0), (QUALITY, OWN_DAYS))]
            cells += [_early(found[*each, quality, 0.0]) for quality in USELESS]
            lines.append(f"| {' | '.join([*each, *cells])} |")
    worlds = (QUALITY, 0.0), (QUALITY, OWN_DAYS), (min(USELESS), 0.0)
    trials, of_days, of_power = (len(found[*PLANS[0], *world]) for world in worlds)
    note = (
        f"Worlds as above: {trials:,} experiments with equal versions, {of_days:,} with equal ones whose days differ, "
        f"and {of_power:,} with challengers of no use. Share that is ended for gross harm before rows span seven days; "
        "after how many outcomes and hours in the median. Labels take 24 hours, and no other verdict comes before 192."
    )
    return "\n".join([*lines, "", note])


def mismatch_table(trials: int, n: int = 100_000) -> str:
    """Skewed assignments: how many are caught, and how soon, with a half stated."""
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(skewed, SKEWS, [trials] * len(SKEWS), [n] * len(SKEWS)))
    lines = ["| true share | caught | after rows: median (fewest to most) |", "|---|---|---|"]
    for share, rows in zip(SKEWS, found, strict=True):
        caught = rows[np.isfinite(rows)]
        delay = f"{np.median(caught):,.0f} ({caught.min():,.0f} to {caught.max():,.0f})" if len(caught) else "–"
        lines.append(f"| {share} | {len(caught) / trials:.3f} | {delay} |")
    note = f"{trials:,} assignments of {n:,} rows each; stated share 0.5, threshold {MISMATCH_EVIDENCE:,.0f}."
    return "\n".join([*lines, "", note])


def _simulated(job: tuple[World, int]) -> list[Found]:
    (allocation, metric, quality, own_days), trials = job
    return simulated(allocation, metric, quality, range(trials), own_days=own_days)


def _rate(found: Sequence[Found], verdict: ExperimentVerdict) -> str:
    return f"{np.mean([each.verdict is verdict for each in found]):.3f}"


def _early(found: Sequence[Found]) -> str:
    ended = [each for each in found if each.early]
    if not ended:
        return "0"
    n, hours = np.median([each.n for each in ended]), np.median([each.hours for each in ended])
    return f"{len(ended) / len(found):.3f}; {n:,.0f}; {hours:.0f} h"


def _told_apart(quality: float, found: Sequence[Found]) -> str:
    right = ExperimentVerdict.PROMOTE if quality > QUALITY else ExperimentVerdict.ROLL_BACK
    after = [each.n for each in found if each.verdict is right]
    wrong = sum(each.verdict not in (right, ExperimentVerdict.RUNNING) for each in found)
    share = f"{len(after) / len(found):.2f}" + (f" ({wrong} wrong)" if wrong else "")
    return f"{share}; {np.median(after):,.0f}" if after else share


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    for name, table in run(trials).items():
        print(f"{name}\n\n{table}\n", flush=True)


if __name__ == "__main__":
    main()
