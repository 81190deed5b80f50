"""How soon a bad version of the flights' model is taken back by its probation, and how often a good one.

Every version is trained on real flights as a retrain would train it, and watched on the seven days after its promotion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel.cli.standalone.replay import labelled_history
from keel.config import ModelConfig, PerformanceConfig, PromotionConfig, get_model
from keel.evaluation.holdout.comparison import Verdict, compare_versions
from keel.evaluation.probation.sequential_tests import BLOCK_ROWS, BLOCK_SPAN, bet_on_excess
from keel.evaluation.probation.verdict import ProbationReport, ProbationVerdict, evaluate_probation
from keel.stats.metrics.losses import Floats, Scored, brier_loss
from keel.stats.sequential.betting import log_e_value
from keel.stats.sequential.blocks import block_ends, block_means
from keel.training.training import Split, TrainingRows, score_rows, train

if TYPE_CHECKING:
    from keel.registry.candidate import Candidate
    from keel.stats.sequential.blocks import Times

ALPHA, TOLERANCE = PromotionConfig().rollback_alpha, PerformanceConfig().max_degradation
FIRST, LAST = datetime(2013, 4, 26, tzinfo=UTC), datetime(2013, 12, 20, tzinfo=UTC)
"""The first day before which a training window, a holdout and the label delay fit; the last with a whole probation."""
SHUFFLED = "trained on shuffled labels"
WEEK = timedelta(weeks=1)
CHAMPION_AGE = 4 * WEEK
OLDEST = 9 * WEEK
"""How long ago a version was trained, at most, over which a good challenger is promoted; weekly ones are tried."""


def promotion_dates(n: int, first: datetime = FIRST) -> list[datetime]:
    """Return days spread evenly over what is left of the year, all of one weekday."""
    return [first + round((LAST - first) / WEEK * i / max(1, n - 1)) * WEEK for i in range(n)]


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


@lru_cache(maxsize=64)
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
    report = evaluate_probation(
        current, before, times=times, metric=config.performance.metric, reference=new.reference,
        policy=config.promotion, max_degradation=TOLERANCE, over=True,
    )  # fmt: skip
    return report, simpler_tests(brier_loss(current) - brier_loss(before), current.label, times)


def simpler_tests(worse: Floats, label: Floats, times: Times) -> dict[str, bool]:
    """Return which ways to bet on the difference in mean loss, simpler than Keel's, would take a version back."""
    ends = block_ends(times, label, rows=BLOCK_ROWS, span=BLOCK_SPAN)
    excess = block_means(worse, ends) - TOLERANCE
    paths = {
        "single flights": log_e_value(worse, null=0.0, low=-1.0),
        "single flights, beyond the tolerance": log_e_value(worse, null=TOLERANCE, low=-1.0),
        "blocks, without the ranking": bet_on_excess(excess),
    }
    return {name: bool(capital.path.max() >= -math.log(ALPHA)) for name, capital in paths.items()}


def bad_retrains(end: datetime, seeds: Sequence[int]) -> list[Watched]:
    """Promote by force, over the version of four weeks ago, ones whose training labels were shuffled."""
    champion = version(end - CHAMPION_AGE)
    return [put_on_probation(version(end, "shuffled", seed), champion, end) for seed in seeds]


def good_versions(dates: Sequence[datetime], *, apart: timedelta = WEEK) -> list[tuple[str, Watched]]:
    """Promote versions as good as the one before them, in both directions, and all that pass the gate.

    apart: how far apart the days lie on which the versions before may have been trained.
    """
    found = []
    for end in dates:
        recipe = version(end)
        same = (("another seed", version(end, "recipe", 1)), ("resampled", version(end, "resampled", 0)))
        for kind, other in same:
            for new, previous in ((other, recipe), (recipe, other)):
                found.append((kind, put_on_probation(new, previous, end)))
        for older in earlier(end, apart):
            if passes(recipe, version(older), end):
                found.append(("passed the gate", put_on_probation(recipe, version(older), end)))
    return found


def earlier(end: datetime, apart: timedelta = WEEK) -> Iterator[datetime]:
    """Yield the days on which the version before may have been trained."""
    older = end - apart
    while older >= max(FIRST, end - OLDEST):
        yield older
        older -= apart


def passes(challenger: Candidate, champion: Candidate, end: datetime) -> bool:
    """Whether the gate would promote the challenger on its holdout, which neither has seen."""
    config, _ = flights()
    split = Split.ending(end, config)
    rows = between(split.cut, split.end)
    found = compare_versions(
        scored(champion, rows), scored(challenger, rows), metric=config.performance.metric, policy=config.promotion,
        times=rows["time"].to_numpy(), segments={}, prior_comparisons=0, holdout_end=split.end,
    )  # fmt: skip
    return found.verdict is Verdict.PASS


def flights_table(seeds: int, dates: int, weeks: int) -> str:
    """Return how soon a bad version is taken back, and how many of those as good as the one before.

    Bad ones are promoted on ``dates`` days, ``seeds`` on each; good ones on ``weeks`` days.
    """
    bad_dates, good_dates = promotion_dates(dates, FIRST + CHAMPION_AGE), promotion_dates(weeks)
    halves = [half for half in (good_dates[: weeks // 2], good_dates[weeks // 2 :]) if half]  # versions recur in one
    with ProcessPoolExecutor(2) as pool:
        bad = pool.map(bad_retrains, bad_dates, [range(seeds)] * len(bad_dates))
        good = pool.map(good_versions, halves)
        by_date = dict(zip(bad_dates, bad, strict=True))
        watched = [(SHUFFLED, one) for several in by_date.values() for one in several]
        watched += [one for several in good for one in several]
    note = (
        f"{seeds} seeds on each of {dates} days from {bad_dates[0]:%-d %B} to {bad_dates[-1]:%-d %B} for the first "
        f"row, {len(good_dates)} days from {good_dates[0]:%-d %B} on for the others; α = {ALPHA}."
    )
    return "\n".join([*_kinds(watched), "", note, "", "The first row by days:", "", *_days(by_date)])


def _kinds(watched: Sequence[tuple[str, Watched]]) -> list[str]:
    simpler = list(watched[0][1][1])
    lines = [
        "| promoted | promotions | taken back within 7 days | after labelled flights: median (fewest to most) | "
        f"told of a broken promise | taken back by {' | by '.join(simpler)} |",
        "|---|---|---|---|---|" + "---|" * len(simpler),
    ]
    for kind in dict.fromkeys(name for name, _ in watched):
        reports = [report for name, (report, _) in watched if name == kind]
        harmed = crossings(reports)
        told = sum(report.verdict is ProbationVerdict.BASELINE_NOT_MET for report in reports)
        others = [sum(found[test] for name, (_, found) in watched if name == kind) for test in simpler]
        cells = [kind, len(reports), len(harmed), delays(harmed), told, *others]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _days(by_date: Mapping[datetime, Sequence[Watched]]) -> list[str]:
    lines = [
        "| promoted on | taken back | after labelled flights | of 100 pairs it ranked fewer rightly |",
        "|---|---|---|---|",
    ]
    for date, watched in by_date.items():
        reports = [report for report, _ in watched]
        harmed = crossings(reports)
        lost = np.mean([100 * report.pairs_lost for report in reports if report.pairs_lost is not None])
        lines.append(f"| {date:%-d %B} | {len(harmed)} of {len(reports)} | {delays(harmed)} | {lost:.1f} |")
    return lines


def crossings(reports: Sequence[ProbationReport]) -> list[int]:
    """Return after how many labelled predictions each version that is taken back is."""
    return [report.harm.crossed_at for report in reports if report.harm and report.harm.crossed_at]


def delays(rows: Sequence[int]) -> str:
    """Return median, fewest and most as text."""
    return f"{np.median(rows):,.0f} ({min(rows):,} to {max(rows):,})" if rows else "–"
