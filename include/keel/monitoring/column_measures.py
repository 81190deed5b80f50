"""What one column of a window shows, before any judgement: rates and measures with their p-values."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keel.grid.counts import OVERSHOOT_UNIT
from keel.stats.drift.impact import impact
from keel.stats.drift.measures import TESTS, ColumnComparison, Values, measure_column
from keel.stats.drift.rates import beyond_range_p_value, rate_increase_p_value

if TYPE_CHECKING:
    from keel.config import DriftConfig
    from keel.grid.column_grid import ColumnGrid
    from keel.grid.counts import ColumnCounts, Counts
    from keel.grid.reference import ReferenceGrid

MIN_RESAMPLES = 999
MAX_RESAMPLES = 9_999
"""A simulated p-value is at least 1/(resamples + 1): enough of them that it can pass the strictest of all tests."""

DISTRIBUTION = "distribution"
RATES = ("missing", "new_categories", "out_of_range", "infinite", "invalid")


@dataclass(frozen=True)
class Rate:
    """How often something happens in the reference and in the window, and how probable such a rise is by chance."""

    reference: float
    current: float
    events: int
    n_reference: int
    n: int
    p_value: float

    @property
    def increase(self) -> float:
        """Current less reference rate."""
        return self.current - self.reference

    def to_dict(self, q_value: float | None) -> dict[str, float | int | None]:
        """Return plain numbers."""
        return {
            "reference": self.reference,
            "current": self.current,
            "p_value": self.p_value,
            "q_value": q_value,
        }


@dataclass(frozen=True)
class Evidence:
    """One column of one window.

    rates: by name, those of `RATES` with an event on either side. measures: by name, as in the report; empty without
    values on either side. p_value: of the distribution (KS or χ²); None without one. excess: PSI above chance.
    """

    name: str
    role: str
    reference: ColumnCounts
    current: ColumnCounts
    rates: dict[str, Rate] = field(default_factory=dict)
    measures: dict[str, Values] = field(default_factory=dict)
    p_value: float | None = None
    excess: float = 0.0
    impact: float | None = None

    @property
    def kind(self) -> str:
        """Numeric or categorical."""
        return self.current.kind

    @property
    def missing_rate(self) -> float:
        """Share of rows without a value, absent columns included; 0 for no rows."""
        return (self.current.missing + self.current.absent) / max(self.current.n, 1)

    @property
    def tests(self) -> dict[str, float]:
        """p-values by name: the column's members of the family of tests."""
        tests = {name: rate.p_value for name, rate in self.rates.items()}
        if self.p_value is not None:
            tests[DISTRIBUTION] = self.p_value
        return tests


def gather_evidence(grid: ReferenceGrid, counts: Counts, config: DriftConfig) -> list[Evidence]:
    """Measure every column of a window, in the grid's order."""
    resamples = int(min(MAX_RESAMPLES, max(MIN_RESAMPLES, 4 * len(grid.columns) / config.alpha)))
    return [_measure_column(grid, counts, name, config.seed, resamples) for name in grid.layout.names]


def gather_rates(grid: ReferenceGrid, counts: Counts) -> list[Evidence]:
    """Only the rates of every column, in the grid's order."""
    return [
        Evidence(name, _role(grid, name), ref, cur, measure_rates(grid.column(name), ref, cur))
        for name in grid.layout.names
        for ref, cur in [(grid.reference_columns[name], counts.column(name))]
    ]


def _role(grid: ReferenceGrid, name: str) -> str:
    return "feature" if grid.layout.index[name] < grid.n_features else "output"


def _measure_column(grid: ReferenceGrid, counts: Counts, name: str, seed: int, resamples: int) -> Evidence:
    reference, current = grid.reference_columns[name], counts.column(name)
    column = grid.column(name)
    losses = grid.losses_of(name)
    cost = None
    if losses is not None and current.n and reference.n:
        cost = impact(reference.all_cells(), current.all_cells(), losses)
    rates = measure_rates(column, reference, current)
    role = _role(grid, name)
    if not (reference.n_counted and current.n_counted):
        return Evidence(name, role, reference, current, rates, impact=cost)
    measures = measure_column(
        ColumnComparison(
            kind=column.kind,
            reference=reference.cells,
            current=current.cells,
            knots=column.knots,
            scale=column.scale,
            overshoot=(current.below + current.above) * OVERSHOOT_UNIT / current.n_counted,
            decile_starts=grid.decile_starts.get(name),
            cut=column.cut,
            # A seed per column, so that a column's result does not depend on which others there are.
            seed=[seed, zlib.crc32(name.encode())],
            resamples=resamples,
        )
    )
    p_value, excess = measures[TESTS[column.kind]]["p_value"], measures["psi"]["excess"]
    return Evidence(name, role, reference, current, rates, measures, p_value, excess or 0.0, cost)


def measure_rates(column: ColumnGrid, reference: ColumnCounts, current: ColumnCounts) -> dict[str, Rate]:
    """Rates of a column by name, those with an event on either side.

    A test without any event cannot reject, whatever the data: leaving it out keeps the family of tests small without
    changing its level (Tarone 1990).
    """
    r, c = reference, current
    rates: dict[str, Rate] = {}
    present = c.n - c.absent
    if not (r.n and present):
        return rates
    pairs = {
        "missing": (r.missing, r.n, c.missing, present),
        "infinite": (r.infinite, r.n - r.missing, c.infinite, present - c.missing),
        "invalid": (r.invalid, r.n - r.missing, c.invalid, present - c.missing),
    }
    for name, (events_reference, n_reference, events, n) in pairs.items():
        if events_reference + events and n_reference and n:
            p_value = rate_increase_p_value(events_reference, n_reference, events, n)
            rates[name] = Rate(events_reference / n_reference, events / n, events, n_reference, n, p_value)
    if r.n_counted and c.n_counted:
        if c.kind == "categorical" and c.other:
            rates["new_categories"] = _new_categories(column, r.n_counted, c)
        elif c.kind == "numeric" and (beyond := int(c.cells[0] + c.cells[-1])):
            p_value = beyond_range_p_value(r.n_counted, beyond, c.n_counted)
            rates["out_of_range"] = Rate(0.0, beyond / c.n_counted, beyond, r.n_counted, c.n_counted, p_value)
    return {name: rates[name] for name in RATES if name in rates}


def _new_categories(column: ColumnGrid, n_reference: int, current: ColumnCounts) -> Rate:
    """Compare with what the reference itself would have brought of new categories: its leave-one-out rate.

    That rate varies more than a binomial one; the reference counts for as many rows as give a binomial rate the same
    variance.
    """
    effect = max(1.0, column.novel_variance / max(column.novel, 1))
    p_value = rate_increase_p_value(
        round(column.novel / effect), max(1, round(n_reference / effect)), current.other, current.n_counted
    )
    expected = column.novel / n_reference
    return Rate(expected, current.other / current.n_counted, current.other, n_reference, current.n_counted, p_value)
