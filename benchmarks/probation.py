"""How soon a bad version on probation is taken back, and how often a good one: on real flights and on known truths.

``python -m benchmarks.probation`` prints the tables; ``--seeds 2 --dates 4 --trials 100`` makes a quick look.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.simulations import versions
from keel.config import ModelConfig, PerformanceConfig, PromotionConfig, get_model
from keel.lifecycle.comparison import Verdict, compare_versions
from keel.lifecycle.look import BLOCK_ROWS, BLOCK_SPAN, MOST
from keel.lifecycle.probation import ProbationReport, ProbationVerdict, watch_version
from keel.lifecycle.training import Split, TrainingRows, score_rows, train
from keel.measures.betting import log_capital
from keel.measures.blocks import block_ends, block_means
from keel.measures.losses import Floats, Scored, brier_loss, estimate
from keel.replay import labelled_history

if TYPE_CHECKING:
    from keel.lifecycle.candidate import Candidate
    from keel.measures.blocks import Times

ALPHA, TOLERANCE = PromotionConfig().rollback_alpha, PerformanceConfig().max_increase
FIRST, LAST = datetime(2013, 4, 26, tzinfo=UTC), datetime(2013, 12, 20, tzinfo=UTC)
"""The first day before which a training window, a holdout and the label delay fit; the last with a whole probation."""
CHAMPION_AGE = timedelta(weeks=4)
AGES = (timedelta(weeks=4), timedelta(weeks=8), timedelta(weeks=12))
"""Since the training of the version that a good challenger replaces."""
METRICS = ("brier", "roc_auc", "accuracy", "mae")
QUALITIES = (1.3, 1.2, 1.0, 0.5, 0.0)
"""Of versions simulated to be worse than one of 1.5; 0 knows nothing of the label."""
ROWS, SECONDS = 6_000, 100.8
"""Seven days of evenly spaced predictions, about as many as there are flights."""
DAILY_SHOCK = 0.3
"""Standard deviation, on the scale of the logit, by which versions whose days differ are off on a whole day."""


def promotion_dates(n: int, first: datetime = FIRST) -> list[datetime]:
    """Return days spread evenly over what is left of the year."""
    return [first + timedelta(days=round((LAST - first).days * i / max(1, n - 1))) for i in range(n)]


@lru_cache(maxsize=1)
def flights() -> tuple[ModelConfig, pa.Table]:
    """Return the example's configuration and its labelled rows, with the columns of a prediction log."""
    config = get_model("flight_delay")
    rows = labelled_history(config)
    rows = rows.filter(pc.is_valid(rows["label"]))
    for name, kind in (("version", pa.int64()), ("score", pa.float64()), ("prediction", pa.float64())):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, kind))
    return config, rows


def between(start: datetime, end: datetime) -> pa.Table:
    _, rows = flights()
    times = rows["time"].to_numpy()
    first, last = np.searchsorted(times, [np.datetime64(at.replace(tzinfo=None), "us") for at in (start, end)])
    return rows.slice(first, last - first)


@lru_cache(maxsize=16)
def version(end: datetime, kind: str = "recipe", seed: int = 0) -> Candidate:
    """Train as a retrain at ``end`` would.

    kind: ``recipe``; ``resampled``, on training rows drawn with replacement; ``shuffled``, with the labels of other
    training rows, which leaves nothing to learn.
    """
    import sklearn.ensemble  # noqa: F401 (only threads of what is loaded can be limited)
    from threadpoolctl import threadpool_limits

    config, _ = flights()
    split = Split.ending(end, config)
    rows, rng = between(split.start, split.cut), np.random.default_rng([seed, int(end.timestamp())])
    if kind == "resampled":
        rows = rows.take(pa.array(np.sort(rng.integers(0, rows.num_rows, rows.num_rows))))
    if kind == "shuffled":
        labels = pa.array(rng.permutation(rows["label"].to_numpy()))
        rows = rows.set_column(rows.schema.get_field_index("label"), "label", labels)
    assert config.retrain is not None
    seeded = config.model_copy(update={"retrain": config.retrain.model_copy(update={"seed": seed})})
    with threadpool_limits(1):  # threads that wait for a core others use make a training fifty times as long
        return train(seeded, TrainingRows(split, rows, between(split.cut, split.end)), reason="benchmark", parent=None)


def scored(candidate: Candidate, rows: pa.Table) -> Scored:
    config, _ = flights()
    return score_rows(config, candidate.estimator, rows, candidate.reference["threshold"])


Watched = tuple[ProbationReport, dict[str, bool]]


def put_on_probation(new: Candidate, previous: Candidate, since: datetime) -> Watched:
    """Watch a promotion to its end; return the report, and which `simpler_tests` would take the version back.

    All labels take as long, so they come in the order of the flights.
    """
    config, _ = flights()
    rows = between(since, since + config.promotion.probation)
    times, current, before = rows["time"].to_numpy(), scored(new, rows), scored(previous, rows)
    report = watch_version(
        current, before, times=times, metric=config.performance.metric, reference=new.reference,
        policy=config.promotion, max_increase=TOLERANCE, over=True,
    )  # fmt: skip
    return report, simpler_tests(brier_loss(current) - brier_loss(before), current.label, times)


def simpler_tests(worse: Floats, label: Floats, times: Times) -> dict[str, bool]:
    """Return which ways to bet on the difference in mean loss, simpler than Keel's, would take a version back."""
    ends = block_ends(times, label, rows=BLOCK_ROWS, span=BLOCK_SPAN)
    blocks = np.clip(block_means(worse, ends) - TOLERANCE, -MOST, MOST)
    paths = {
        "single flights": log_capital(worse, null=0.0, low=-1.0),
        "single flights, beyond the tolerance": log_capital(worse, null=TOLERANCE, low=-1.0),
        "blocks, without the ranking": log_capital(blocks, null=0.0, low=-MOST, high=MOST),
    }
    return {name: bool(capital.path.max() >= -math.log(ALPHA)) for name, capital in paths.items()}


def bad_retrains(end: datetime, seeds: Sequence[int]) -> list[Watched]:
    """Promote by force, over the version of four weeks ago, ones whose training labels were shuffled."""
    champion = version(end - CHAMPION_AGE)
    return [put_on_probation(version(end, "shuffled", seed), champion, end) for seed in seeds]


def good_versions(end: datetime, seeds: Sequence[int]) -> list[tuple[str, Watched]]:
    """Promote versions as good as the one before them, in both directions, and one that has passed the gate."""
    recipe, found = version(end), []
    for seed in seeds:
        same = (("another seed", version(end, "recipe", seed + 1)), ("resampled", version(end, "resampled", seed)))
        for kind, other in same:
            for new, previous in ((other, recipe), (recipe, other)):
                found.append((kind, put_on_probation(new, previous, end)))
    for age in AGES:
        if end - age >= FIRST and passes(recipe, version(end - age), end):
            found.append(("passed the gate", put_on_probation(recipe, version(end - age), end)))
    return found


def passes(challenger: Candidate, champion: Candidate, end: datetime) -> bool:
    """Whether the gate would promote the challenger on its holdout, which neither has seen."""
    config, _ = flights()
    split = Split.ending(end, config)
    rows = between(split.cut, split.end)
    found = compare_versions(
        scored(champion, rows), scored(challenger, rows), metric=config.performance.metric, policy=config.promotion,
        times=rows["time"].to_numpy(), segments={}, earlier_looks=0, holdout_end=split.end,
    )  # fmt: skip
    return found.verdict is Verdict.PASS


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
        report = watch_version(
            new, previous, times=times, metric=metric, reference={"metrics": {metric: then.to_dict()}},
            policy=PromotionConfig(), max_increase=TOLERANCE, over=True,
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


def flights_table(seeds: int, dates: int) -> str:
    """Real flights: how soon a bad version is taken back, and how many of those as good as the one before."""
    bad_dates, good_dates = promotion_dates(dates, FIRST + CHAMPION_AGE), promotion_dates(2 * dates + 1)
    with ProcessPoolExecutor(2) as pool:
        bad = pool.map(bad_retrains, bad_dates, [range(seeds)] * len(bad_dates))
        good = pool.map(good_versions, good_dates, [range(1)] * len(good_dates))
        watched = [("trained on shuffled labels", one) for several in bad for one in several]
        watched += [one for several in good for one in several]
    simpler = list(watched[0][1][1])
    lines = [
        "| promoted | promotions | taken back within 7 days | after labelled flights: median (fewest to most) | "
        f"told of a broken promise | taken back by {' | by '.join(simpler)} |",
        "|---|---|---|---|---|" + "---|" * len(simpler),
    ]
    for kind in dict.fromkeys(name for name, _ in watched):
        reports = [report for name, (report, _) in watched if name == kind]
        harmed = [report.harm.crossed_at for report in reports if report.harm and report.harm.crossed_at]
        told = sum(report.verdict is ProbationVerdict.BROKEN_PROMISE for report in reports)
        others = [sum(found[test] for name, (_, found) in watched if name == kind) for test in simpler]
        cells = [kind, len(reports), len(harmed), _delays(harmed), told, *others]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    note = (
        f"{seeds} seeds on each of {dates} days from {bad_dates[0]:%-d %B} to {bad_dates[-1]:%-d %B} for the first "
        f"row, {len(good_dates)} days from {good_dates[0]:%-d %B} on for the others; α = {ALPHA}."
    )
    return "\n".join([*lines, "", note])


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
            cells.append(f"{share:.3f}" if job in equal else f"{share:.2f}; {_delays(harmed)}")
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    note = (
        f"Shares taken back, of {trials:,} probations of {ROWS:,} predictions in 7 days where equal and "
        f"{worse[0][3]:,} where worse, and after how many labelled predictions. A share of α = {ALPHA} has a standard "
        f"error of {math.sqrt(ALPHA * (1 - ALPHA) / trials):.4f}. Whole days off: the scores of either version are "
        f"moved by a normal amount of {DAILY_SHOCK} a day, on the scale of the logit."
    )
    return "\n".join([*lines, "", note])


def run(seeds: int = 20, dates: int = 10, trials: int = 1_000) -> dict[str, str]:
    """Return the tables by their names in ``docs/statistics.md``."""
    return {"probation on flights": flights_table(seeds, dates), "probation simulated": simulation_table(trials)}


def _simulated(job: tuple[str, float, float, int]) -> list[int | None]:
    metric, quality, shock, trials = job
    return simulated(metric, quality, shock, range(trials))


def _delays(rows: Sequence[int]) -> str:
    return f"{np.median(rows):,.0f} ({min(rows):,} to {max(rows):,})" if rows else "–"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--dates", type=int, default=10)
    parser.add_argument("--trials", type=int, default=1_000)
    for name, table in run(**vars(parser.parse_args())).items():
        print(f"{name}\n\n{table}\n", flush=True)


if __name__ == "__main__":
    main()
