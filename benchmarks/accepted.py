"""A window as the reference, because a person accepted it or because it is the one before: level and power.

``python -m benchmarks.validate --only "accepted drifts"`` writes the tables of docs/statistics.md.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.simulations import ALPHA, CATEGORICAL, KINDS, NUMERIC, OUTPUTS, WINDOWS_A_REFERENCE, draw
from keel import DriftConfig, ReferenceGrid, detect
from keel.monitoring.quality import check_quality

if TYPE_CHECKING:
    from keel.grid.counts import Counts
    from keel.monitoring.drift import DriftReport

REFERENCE = 5000
SIZES = (500, 2500)
CHANGES = {
    0.0: "the window before",
    0.3: "accepted, a change of 0.3 sd",
    1.0: "accepted, a change of 1 sd",
    5.0: "accepted, a change of 5 sd",
}
"""What the reference is, by how far the level has changed."""
MOVES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Further moves, in standard deviations."""
LEVELS = {"1 sd, within the range of training": 1.0, "3 sd, at its edge": 3.0, "12 sd, beyond it": 12.0}
"""Accepted levels of a normal column, in standard deviations from training."""


def moved(rng: np.random.Generator, rows: int, by: float) -> pa.Table:
    """Draw the world of `draw` after a change of all columns: numbers move, some are lost, new categories appear."""
    table = draw(rng, rows)
    for i, name in enumerate(table.column_names):
        column = table[name]
        if name in NUMERIC:
            lost = rng.random(rows) < min(0.05 * by, 0.3)
            column = pc.if_else(pa.array(lost), None, pc.add(pc.cast(column, pa.float64()), by))
        elif name in CATEGORICAL:
            new = rng.random(rows) < min(0.1 * by, 0.5)
            column = pc.if_else(pa.array(new), pa.array(np.where(rng.random(rows) < 0.5, "new", "newer")), column)
        table = table.set_column(i, name, column)
    return table


def with_window(grid: ReferenceGrid, counts: Counts) -> ReferenceGrid:
    """Return the grid with a window as the reference of every column."""
    return grid.with_references({name: counts.column(name) for name in grid.layout.names})


def fitted(rng: np.random.Generator, reference: int = REFERENCE) -> ReferenceGrid:
    """Return the grid of a version that was trained on the world as it was."""
    return ReferenceGrid.fit(draw(rng, reference), KINDS, holdout=draw(rng, reference // 2), outputs=OUTPUTS)


def is_any_test(report: DriftReport) -> bool:
    """Whether any single test of a report rejects, material or not."""
    return any(q <= ALPHA for column in report.columns for q in column.q_values.values())


def false_alarms(rows: int, by: float, trials: int) -> dict[str, float]:
    """Return the shares of windows at an accepted level in which something was said to be wrong.

    What is accepted is a window that the check has found, as it happens in use: by its luck, the level seems a little
    farther from training than it is. Every changed column of it is accepted.

    by: the change of the level; 0: nothing has changed, and the window is the one before.
    """
    rng = np.random.default_rng([rows, round(100 * by)])
    config = DriftConfig(alpha=ALPHA, min_rows=50)
    wrong = {"drift": 0, "any test": 0, "quality": 0}
    grid = None
    for trial in range(trials):
        if trial % WINDOWS_A_REFERENCE == 0 or grid is None:
            own = fitted(rng)
            accepted = _found(rng, own, rows, by, config) if by else own.count(draw(rng, rows))
            grid = with_window(own, accepted)
        counts = grid.count(moved(rng, rows, by))
        report = detect(grid, counts, config)
        wrong["drift"] += report.status != "ok"
        wrong["any test"] += is_any_test(report)
        wrong["quality"] += check_quality(grid, counts, config=config).status != "ok"
    return {name: count / trials for name, count in wrong.items()}


def _found(rng: np.random.Generator, own: ReferenceGrid, rows: int, by: float, config: DriftConfig) -> Counts:
    while True:
        counts = own.count(moved(rng, rows, by))
        if detect(own, counts, config).status != "ok":
            return counts


def power(rows: int, level: float, move: float, trials: int) -> dict[str, float]:
    """Return how often a further move of a normal column is found, in standard deviations of it.

    Beside the accepted window on the version's grid: a grid that is fitted to the rows of that window.
    """
    rng = np.random.default_rng([rows, round(100 * level), round(100 * move)])
    config = DriftConfig(alpha=ALPHA, min_rows=50)
    found = {"accepted": 0, "fitted": 0}
    for _ in range(trials):
        own = ReferenceGrid.fit(normal(rng, REFERENCE, 0.0), {"x": "numeric"})
        window = normal(rng, rows, level)
        later = normal(rng, rows, level + move)
        for name, grid in {
            "accepted": with_window(own, own.count(window)),
            "fitted": ReferenceGrid.fit(window, {"x": "numeric"}),
        }.items():
            found[name] += detect(grid, grid.count(later), config).column("x").severity != "ok"
    return {name: count / trials for name, count in found.items()}


def normal(rng: np.random.Generator, rows: int, mean: float) -> pa.Table:
    """Draw one normal column."""
    return pa.table({"x": rng.normal(mean, 1, rows)})


def tables(trials: int) -> dict[str, str]:
    """Return the tables of docs/statistics.md; power on a tenth of the trials."""
    return {"accepted levels": level_table(trials), "further moves": power_table(max(1, trials // 10))}


def level_table(trials: int) -> str:
    """Nothing has moved since: how often each part of the check says otherwise."""
    cases = [(rows, by) for rows in SIZES for by in CHANGES]
    with ProcessPoolExecutor(2) as pool:
        measured = list(pool.map(false_alarms, *zip(*cases, strict=True), [trials] * len(cases)))
    error = math.sqrt(ALPHA * (1 - ALPHA) / (trials / WINDOWS_A_REFERENCE))
    lines = [
        "| window rows | the reference | drift status | any single test | quality status |",
        "|---|---|---|---|---|",
    ]
    for (rows, by), wrong in zip(cases, measured, strict=True):
        shares = " | ".join(f"{wrong[name]:.3f}" for name in ("drift", "any test", "quality"))
        lines.append(f"| {rows:,} | {CHANGES[by]} | {shares} |")
    note = f"{trials:,} windows a row, α = {ALPHA}; a share of {ALPHA} has a standard error of at most {error:.3f}."
    return "\n".join([*lines, "", note])


def power_table(trials: int) -> str:
    """Return how often a further move is found, beside a grid of the window's own."""
    cases = [(rows, level, move) for rows in SIZES for level in LEVELS.values() for move in MOVES]
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(cases, pool.map(power, *zip(*cases, strict=True), [trials] * len(cases)), strict=True))
    lines = ["| window rows | accepted level | " + " | ".join(f"{move:g} sd" for move in MOVES) + " |"]
    lines.append("|---" * (2 + len(MOVES)) + "|")
    for rows in SIZES:
        for name, level in LEVELS.items():
            each = [found[rows, level, move] for move in MOVES]
            cells = " | ".join(f"{share['accepted']:.2f} ({share['fitted']:.2f})" for share in each)
            lines.append(f"| {rows:,} | {name} | {cells} |")
    note = f"{trials:,} windows each; in brackets, a grid that is fitted to the rows of the accepted window."
    return "\n".join([*lines, "", note])
