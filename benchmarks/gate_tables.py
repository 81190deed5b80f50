"""The tables of ``docs/statistics.md`` on the gate, each from the number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from benchmarks import gate

LOOKS_SHARE = 4
"""Ten comparisons a trial: a fourth of the trials is enough to tell .05 from what it would be without levels."""
SEGMENT_SHARE = 4
TRUTH = 4
"""How many times as many holdouts tell the truth as are judged by it: its own error must not count."""


def promotion_table(trials: int) -> str:
    """How often challengers of known quality pass at the first look, and equal ones would by a simpler error."""
    qualities = {"worse": gate.WORSE, "equal": gate.CHAMPION, "better": gate.BETTER, "much better": gate.MUCH_BETTER}
    rows = [(world, metric) for world in gate.WORLDS for metric in gate.METRICS]
    jobs: list[Any] = []
    for world, metric in rows:
        jobs += [partial(gate.promotions, metric, gate.ROWS, trials, quality=quality, world=world)
                 for quality in qualities.values()]  # fmt: skip
        jobs += [partial(gate.naive_promotions, metric, trials, world=world, days=days) for days in (False, True)]
    head = ("world", "metric", *qualities, "equal, by the error of independent rows", "equal, by that of separate days")
    cells = _grid(_run(jobs), len(head) - 2)
    lines = [[world.name, metric, *row] for (world, metric), row in zip(rows, cells, strict=True)]
    note = (
        f"{trials:,} holdouts of {gate.ROWS:,} rows over {gate.DAYS} days each, margin 0; the level of a first look is "
        f"{gate.LEVEL:.3f}, and a share of it has a standard error of {_error(gate.LEVEL, trials):.3f}."
    )
    return _table(head, lines, note)


def margin_table(trials: int) -> str:
    """How often challengers pass by a negative margin that one of them just does not keep."""
    qualities = {"worse than the margin": gate.WORSE, "at the margin": gate.AT_MARGIN, "equal": gate.CHAMPION}
    rows = [(world, metric) for world in gate.WORLDS for metric in gate.METRICS]
    margins = _run([partial(gate.true_difference, metric, world, gate.AT_MARGIN, TRUTH * trials)
                    for world, metric in rows])  # fmt: skip
    jobs = [
        partial(gate.promotions, metric, gate.ROWS, trials, quality=quality, world=world, margin=margin)
        for (world, metric), margin in zip(rows, margins, strict=True)
        for quality in qualities.values()
    ]
    cells = _grid(_run(jobs), len(qualities))
    lines = [
        [world.name, metric, f"{margin:.4f}", *row]
        for (world, metric), margin, row in zip(rows, margins, cells, strict=True)
    ]
    note = f"{trials:,} holdouts each; level and standard error as above."
    return _table(("world", "metric", "margin", *qualities), lines, note)


def looks_table(trials: int) -> str:
    """How often any of ten equal challengers passes that are judged on one holdout."""
    trials = max(1, trials // LOOKS_SHARE)
    rows = [(world, metric) for world in (gate.INDEPENDENT, gate.CLUSTERED) for metric in gate.METRICS]
    found = _run([partial(gate.ever_promoted, metric, world, trials) for world, metric in rows])
    lines = [[world.name, metric, *map(_share, shares)] for (world, metric), shares in zip(rows, found, strict=True)]
    note = (
        f"{trials:,} holdouts, {gate.CHALLENGERS} equal challengers on each; α = {gate.ALPHA}, and a share of it has a "
        f"standard error of {_error(gate.ALPHA, trials):.3f}."
    )
    head = ("world", "metric", "any passes, as judged", "any would, each at α")
    return _table(head, lines, note)


def segment_table(trials: int) -> str:
    """How often no segment stops a challenger, with flights' carriers, days and differences."""
    trials = max(1, trials // SEGMENT_SHARE)
    truths: dict[str, tuple[float, int | None]] = {
        "equal in each": (0.0, None),
        "better by 0.01 in each": (0.01, None),
        "better by 0.02 in each": (0.02, None),
        "worse by the margin in the largest": (0.01, gate.LARGEST),
        "worse by the margin in the smallest": (0.01, gate.SMALLEST),
    }
    rows = [(difference, truth) for difference in (gate.REFRESH, gate.RENEWAL) for truth in truths]
    jobs = [partial(gate.segments_shown, difference, *truths[truth], trials) for difference, truth in rows]
    lines = [
        [difference.name, truth, *map(_share, shares)]
        for (difference, truth), shares in zip(rows, _run(jobs), strict=True)
    ]
    note = (
        f"{trials:,} holdouts of {gate.FLIGHTS:,} rows with {len(gate.CARRIERS)} carriers, nine of them judged; margin "
        f"0.02, level {gate.LEVEL:.3f} with a standard error of {_error(gate.LEVEL, trials):.3f}."
    )
    head = ("versions", "challenger", "passes all, as judged", "would, with Bonferroni's correction")
    return _table(head, lines, note)


TABLES: dict[str, Callable[[int], str]] = {
    "gate": promotion_table, "gate margin": margin_table, "gate looks": looks_table, "gate segments": segment_table,
}  # fmt: skip
"""By the name of their markers on the page."""


def _run(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    with ProcessPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def _grid(shares: Sequence[float], width: int) -> list[list[str]]:
    return [[_share(share) for share in shares[i : i + width]] for i in range(0, len(shares), width)]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *rows, "", note])


def _share(share: float) -> str:
    return f"{share:.3f}"


def _error(share: float, trials: int) -> float:
    return math.sqrt(share * (1 - share) / trials)
