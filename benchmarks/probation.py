"""How soon a bad version on probation is taken back, and how often a good one: on known truths, and on real flights.

``python -m benchmarks.probation`` prints the tables; ``--seeds 2 --dates 2 --weeks 3 --trials 50`` makes a quick look.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.probation_flights import ALPHA, TOLERANCE, delays, flights_table
from benchmarks.simulations import versions
from keel.config import PromotionConfig
from keel.evaluation.probation.verdict import evaluate_probation
from keel.stats.metrics.losses import Floats, Scored, estimate

METRICS = ("brier", "roc_auc", "accuracy", "mae")
QUALITIES = (1.3, 1.2, 1.0, 0.5, 0.0)
"""Of versions simulated to be worse than one of 1.5; 0 knows nothing of the label."""
ROWS, SECONDS = 6_000, 100.8
"""Seven days of evenly spaced predictions, about as many as there are flights."""
DAILY_SHOCK = 0.3
"""Standard deviation, on the scale of the logit, by which versions whose days differ are off on a whole day."""


def simulated(metric: str, quality: float, shock: float, trials: Sequence[int]) -> list[int | None]:
    """Put versions of known quality on probation over one of 1.5; return when each was taken back, if it was.

    shock: standard deviation, on the scale of the logit, by which either version is off on a whole day.
    """
    times = np.datetime64("2026-01-01") + (np.arange(ROWS) * SECONDS * 1e6).astype("timedelta64[us]")
    day, crossed = (times - times[0]) // np.timedelta64(1, "D"), []
    for trial in trials:
        rng = np.random.default_rng([trial, 1])
        previous, new = (
            moved(rows, shock * rng.standard_normal(day[-1] + 1)[day])
            for rows in versions(ROWS, seed=trial, quality=quality, binary=metric != "mae")
        )
        # equal versions have the same loss on their holdouts: one of that many rows, which the cap is taken from
        then = estimate(metric, versions(ROWS, seed=-1 - trial + 2**31, binary=metric != "mae")[0])
        report = evaluate_probation(
            new, previous, times=times, metric=metric, reference={"metrics": {metric: then.to_dict()}},
            policy=PromotionConfig(), max_degradation=TOLERANCE, over=True,
        )  # fmt: skip
        assert report.harm is not None
        crossed.append(report.harm.crossed_at)
    return crossed


def moved(rows: Scored, by: Floats) -> Scored:
    """Return a version whose outputs are off."""
    if np.isnan(rows.score).all():
        return Scored(rows.label, rows.score, rows.prediction + by)
    score = 1 / (1 + np.exp(-np.log(rows.score / (1 - rows.score)) - by))
    return Scored(rows.label, score, (score > 0.5).astype(float))


def simulation_table(trials: int) -> str:
    """Known truths: how often versions of each quality are taken back, over one of quality 1.5."""
    equal = [(metric, 1.5, shock, trials) for metric in METRICS for shock in (0.0, DAILY_SHOCK)]
    worse = [(metric, quality, 0.0, max(2, trials // 10)) for metric in METRICS for quality in QUALITIES]
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(equal + worse, pool.map(_simulated, equal + worse, chunksize=1), strict=True))
    head = ["equal (1.5)", "equal, whole days off", *(f"worse ({quality})" for quality in QUALITIES)]
    lines = [f"| metric | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for metric in METRICS:
        cells = []
        for job in (job for job in equal + worse if job[0] == metric):
            harmed = [at for at in found[job] if at]
            share = len(harmed) / len(found[job])
            cells.append(f"{share:.3f}" if job in equal else f"{share:.2f}; {delays(harmed)}")
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    note = (
        f"Shares taken back, of {trials:,} probations of {ROWS:,} predictions in 7 days where equal and "
        f"{worse[0][3]:,} where worse, and after how many labelled predictions. A share of α = {ALPHA} has a standard "
        f"error of {math.sqrt(ALPHA * (1 - ALPHA) / trials):.4f}. Whole days off: the scores of either version are "
        f"moved by a normal amount of {DAILY_SHOCK} a day, on the scale of the logit."
    )
    return "\n".join([*lines, "", note])


def run(seeds: int = 20, dates: int = 10, weeks: int = 35, trials: int = 1_000) -> dict[str, str]:
    """Return the tables by their names in ``docs/statistics.md``."""
    return {
        "probation on flights": flights_table(seeds, dates, weeks),
        "probation simulated": simulation_table(trials),
    }


def _simulated(job: tuple[str, float, float, int]) -> list[int | None]:
    metric, quality, shock, trials = job
    return simulated(metric, quality, shock, range(trials))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--dates", type=int, default=10)
    parser.add_argument("--weeks", type=int, default=35)
    parser.add_argument("--trials", type=int, default=1_000)
    for name, table in run(**vars(parser.parse_args())).items():
        print(f"{name}\n\n{table}\n", flush=True)


if __name__ == "__main__":
    main()
