"""Columns on which drift checks go wrong: zero-inflated, tied, asked as float32, half missing; and what moves in them.

The truth is known: `unchanged` windows must stay within the stated level, `CHANGES` must be noticed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmarks.simulations import ALPHA, WINDOWS_A_REFERENCE
from keel import DriftConfig, ReferenceGrid, detect

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Draw = Callable[[np.random.Generator, int], Floats]

PRICES = np.array([0.99, 1.99, 4.95, 9.95, 19.9])
CONFIG = DriftConfig(alpha=ALPHA, min_rows=50, max_impact=0.0)
"""With the lowest limit of the impact, so that its test is in the family too."""


def inflated(share: float, low: float = 0.0) -> Draw:
    """Return draws of which ``share`` lies evenly between ``low`` and 1000, the others at 0."""
    return lambda rng, n: np.where(rng.random(n) < share, rng.uniform(low, 1000, n), 0.0)


def gappy(missing: float) -> Draw:
    """Return normal draws with so many missing."""
    return lambda rng, n: np.where(rng.random(n) < missing, np.nan, rng.normal(size=n))


COLUMNS: dict[str, Draw] = {
    "claims_40": inflated(0.40),
    "claims_14": inflated(0.14),
    "claims_5": inflated(0.05),
    "claims_1": inflated(0.01),
    "visits": lambda rng, n: rng.negative_binomial(0.2, 0.1, n).astype(np.float64),
    "counted": lambda rng, n: rng.poisson(2, n).astype(np.float64),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "prices": lambda rng, n: rng.choice(PRICES, n),
    "amounts": lambda rng, n: np.round(rng.lognormal(6, 2, n), 2),
    "measured": lambda rng, n: rng.normal(1e4, 1.0, n),
    "gap_60": gappy(0.6),
    "gap_50": gappy(0.5),
    "gap_99": gappy(0.99),
    "never": gappy(1.0),
}
AS_FLOAT32 = ("claims_14", "prices", "amounts", "measured", "gap_50")
"""Columns that the window has as 32-bit floats and the reference as 64-bit ones."""


def draw(rng: np.random.Generator, rows: int, *, float32: bool = False) -> pa.Table:
    """Draw every column from its unchanging world."""
    columns = {name: column(rng, rows) for name, column in COLUMNS.items()}
    return pa.table(
        {
            name: values.astype(np.float32) if float32 and name in AS_FLOAT32 else values
            for name, values in columns.items()
        }
    )


def fit(rng: np.random.Generator, rows: int) -> ReferenceGrid:
    """Fit a grid with losses that depend on some of the columns."""
    holdout = draw(rng, rows // 2)
    loss = 0.1 + 0.3 * (holdout["claims_14"].to_numpy() > 0) + 0.3 * np.isnan(holdout["gap_60"].to_numpy())
    loss += 0.1 * rng.exponential(size=len(loss))
    return ReferenceGrid.fit(draw(rng, rows), dict.fromkeys(COLUMNS, "numeric"), holdout=holdout, loss=loss)


def false_alarms(rows: int, reference: int, trials: int) -> dict[str, float]:
    """Return the shares of unchanged windows with a status other than ok, and with any significant test."""
    rng = np.random.default_rng([rows, reference, 11])
    wrong = {"drift": 0, "any test": 0, "impact": 0}
    grid = None
    for trial in range(trials):
        if trial % WINDOWS_A_REFERENCE == 0 or grid is None:
            grid = fit(rng, reference)
        report = detect(grid, grid.count(draw(rng, rows, float32=True)), CONFIG)
        wrong["drift"] += report.status != "ok"
        wrong["any test"] += any(q <= ALPHA for column in report.columns for q in column.q_values.values())
        wrong["impact"] += (report.impact_q_value or 0.0) <= ALPHA
    return {name: count / trials for name, count in wrong.items()}


CHANGES: dict[str, tuple[str, Draw]] = {
    "5% off 0, all in the upper fifth": ("claims_5", inflated(0.05, 800)),
    "14% off 0, all in the upper fifth": ("claims_14", inflated(0.14, 800)),
    "14% off 0, none below 300": ("claims_14", inflated(0.14, 300)),
    "1% off 0, all in the upper fifth": ("claims_1", inflated(0.01, 800)),
    "60% missing, now none": ("gap_60", gappy(0.0)),
    "60% missing, now 45%": ("gap_60", gappy(0.45)),
    "never there, now in a tenth": ("never", gappy(0.9)),
    "prices, one step a tenth higher": ("prices", lambda rng, n: rng.choice(PRICES * [1, 1, 1.1, 1, 1], n)),
}


def power(rows: int, reference: int, trials: int) -> dict[str, float]:
    """Return for each of `CHANGES` the share of windows in which its column is not ok, among all the others."""
    rng = np.random.default_rng([rows, reference, 12])
    found = dict.fromkeys(CHANGES, 0)
    grid = None
    for trial in range(trials):
        if trial % WINDOWS_A_REFERENCE == 0 or grid is None:
            grid = fit(rng, reference)
        for change, (name, column) in CHANGES.items():
            window = draw(rng, rows, float32=True)
            position = window.schema.names.index(name)
            window = window.set_column(position, name, pa.array(column(rng, rows)))
            found[change] += detect(grid, grid.count(window), CONFIG).column(name).severity != "ok"
    return {change: count / trials for change, count in found.items()}
