"""What the gate says of versions trained on real flights, and what the error of independent rows would have said."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta

import numpy as np

from benchmarks.probation_flights import FIRST, between, flights, promotion_dates, scored, version
from keel.evaluation.holdout.comparison import Comparison, Verdict, compare_versions, comparison_level
from keel.training.training import Split

DATES = 8
OLDEST = timedelta(weeks=8)
PAIRS: dict[str, Callable[[datetime], tuple[datetime, str]]] = {
    "the same rows drawn again": lambda end: (end, "resampled"),
    "four weeks older": lambda end: (end - timedelta(weeks=4), "recipe"),
    "eight weeks older": lambda end: (end - OLDEST, "recipe"),
}
"""Champions by what distinguishes them from the challenger."""


def judged(end: datetime) -> dict[str, Comparison]:
    """Judge the challenger that a retrain at ``end`` makes on its holdout, against each champion."""
    config, _ = flights()
    split = Split.ending(end, config)
    rows, challenger = between(split.cut, split.end), version(end)
    return {
        name: compare_versions(
            scored(version(*older(end)), rows), scored(challenger, rows), metric=config.performance.metric,
            policy=config.promotion.model_copy(update={"max_slowdown": None}), times=rows["time"].to_numpy(),
            segments={column: rows[column].to_numpy(zero_copy_only=False) for column in config.promotion.segments},
            prior_comparisons=0, holdout_end=split.end,
        )
        for name, older in PAIRS.items()
    }  # fmt: skip


def flights_table(dates: int = DATES) -> str:
    """Sum up the comparisons of challengers made at days spread over the year."""
    ends = promotion_dates(dates, FIRST + OLDEST)
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(judged, ends))
    lines = [
        "| champion | error of independent rows | error used | times as large | neighbouring days correlate by | "
        "shown better | would be, by independent rows | shown better, and stopped by a carrier |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in PAIRS:
        sure = [one[name].uncertainty for one in found]
        ratios = [each.standard_error / each.row_error for each in sure]
        better = [one[name] for one in found if one[name].lower_bound > one[name].policy.margin]
        stopped = sum(one.verdict is Verdict.FAIL for one in better)
        by_rows = sum(one[name].improvement > _normal(one[name]) for one in found)
        lines.append(
            f"| {name} | {np.median([each.row_error for each in sure]):.4f} | "
            f"{np.median([each.standard_error for each in sure]):.4f} | {np.median(ratios):.1f} ({min(ratios):.1f} to "
            f"{max(ratios):.1f}) | {np.median([each.neighbours for each in sure]):.2f} | {len(better)} of {dates} | "
            f"{by_rows} of {dates} | {stopped} of {len(better)} |"
        )
    note = (
        f"Brier score, medians over {dates} challengers from {ends[0]:%-d %B} to {ends[-1]:%-d %B}, each on its "
        f"holdout of three weeks, about {np.median([one[name].rows.n for one in found]):,.0f} flights; first looks."
    )
    return "\n".join([*lines, "", note])


def _normal(found: Comparison) -> float:
    """How large an improvement is shown by the error of independent rows."""
    from scipy.special import ndtri

    level = comparison_level(found.policy.alpha, found.prior_comparisons)
    return found.policy.margin - float(ndtri(level)) * found.uncertainty.row_error


if __name__ == "__main__":
    print(flights_table())
