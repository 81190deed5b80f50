"""Measure the columns of a window: rates and distribution measures with their p-values, before any threshold."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keel.grid.counts import OVERSHOOT_LIMIT, OVERSHOOT_UNIT
from keel.stats.drift.beyond import Beyond, measure_beyond
from keel.stats.drift.impact import impact
from keel.stats.drift.measures import MEASURES, TESTS, ColumnComparison, Values, measure_column, measure_off_atoms
from keel.stats.drift.rates import beyond_range_p_value, rate_change_p_value, rate_increase_p_value

if TYPE_CHECKING:
    from keel.config import DriftConfig
    from keel.grid.column_grid import ColumnGrid
    from keel.grid.counts import ColumnCounts, Counts
    from keel.grid.reference import ReferenceGrid

MIN_RESAMPLES = 999
MAX_RESAMPLES = 9_999
"""Bounds of the number of simulations. A simulated p-value is at least 1/(resamples + 1), so the number grows with the
number of tests, until a p-value can pass the strictest of them."""

DISTRIBUTION = "distribution"
"""The name of the test of a column's distribution, beside those of its rates."""
OFF_ATOMS = "off_atoms"
"""The name of the measures of the rows beside the frequent values, and of their test: `keel.stats.drift.off_atoms`."""
BEYOND = "beyond_range"
"""The name of the measures of the values beyond the grid's range, and of their test: `keel.stats.drift.beyond`."""
COMMON_SHARE = 0.02
"""From one row in fifty on, rows that the grid has no cell for are no news to a reference that has them."""
RATES = ("missing", "new_categories", "out_of_range", "infinite", "invalid")


@dataclass(frozen=True)
class Rate:
    """How often an event occurs in the reference and in the window, with the p-value of the change.

    Missing, infinite and invalid values are tested on both sides, the others for an increase.
    """

    reference: float
    current: float
    events: int
    n_reference: int
    n: int
    p_value: float
    is_common: bool = False
    """Whether rows that the grid has no cell for are common in the reference. Then they are a share like any other, and
    a change of it is material by its PSI."""

    @property
    def increase(self) -> float:
        """The current rate minus the reference rate."""
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
class ColumnMeasures:
    """The measures of one column of a window."""

    name: str
    role: str
    reference: ColumnCounts
    current: ColumnCounts
    rates: dict[str, Rate] = field(default_factory=dict)
    """By name, those of `RATES` with an event in the reference or in the window."""
    measures: dict[str, Values] = field(default_factory=dict)
    """By name, as in the report; empty where the reference or the window has no values."""
    p_value: float | None = None
    """Of the distribution (KS or χ²); None where it was not tested."""
    excess: float = 0.0
    """PSI above what chance gives."""
    impact: float | None = None
    """Change of the mean loss that the column's drift explains; None without losses on the grid."""

    @property
    def kind(self) -> str:
        """``numeric`` or ``categorical``."""
        return self.current.kind

    @property
    def missing_rate(self) -> float:
        """The share of rows without a value, rows without the column included; 0 for no rows."""
        return (self.current.missing + self.current.absent) / max(self.current.n, 1)

    @property
    def tests(self) -> dict[str, float]:
        """The p-values of the column's tests, by name."""
        tests = {name: rate.p_value for name, rate in self.rates.items()}
        if self.p_value is not None:
            tests[DISTRIBUTION] = self.p_value
        for name in (OFF_ATOMS, BEYOND):
            if (p_value := self.measures.get(name, {}).get("p_value")) is not None:
                tests[name] = p_value
        return tests


def measure_columns(grid: ReferenceGrid, counts: Counts, config: DriftConfig) -> list[ColumnMeasures]:
    """Measure every column of a window, in the grid's order."""
    resamples = int(min(MAX_RESAMPLES, max(MIN_RESAMPLES, 4 * len(grid.columns) / config.alpha)))
    return [_measure_column(grid, counts, name, config.seed, resamples) for name in grid.layout.names]


def measure_column_rates(grid: ReferenceGrid, counts: Counts) -> list[ColumnMeasures]:
    """Measure only the rates of every column, in the grid's order."""
    return [
        ColumnMeasures(name, _role(grid, name), ref, cur, _rates(grid, name, ref, cur))
        for name in grid.layout.names
        for ref, cur in [(grid.reference_columns[name], counts.column(name))]
    ]


def _rates(grid: ReferenceGrid, name: str, reference: ColumnCounts, current: ColumnCounts) -> dict[str, Rate]:
    return measure_rates(grid.column(name), reference, current, chose_cells=name not in grid.replaced)


def _role(grid: ReferenceGrid, name: str) -> str:
    return "feature" if grid.layout.index[name] < grid.n_features else "output"


def _measure_column(grid: ReferenceGrid, counts: Counts, name: str, seed: int, resamples: int) -> ColumnMeasures:
    reference, current = grid.reference_columns[name], counts.column(name)
    column = grid.column(name)
    losses = grid.losses_of(name)
    cost = None
    if losses is not None and current.n and reference.n:
        cost = impact(reference.all_cells(), current.all_cells(), losses)
    rates = _rates(grid, name, reference, current)
    role = _role(grid, name)
    if not (reference.n_counted and current.n_counted):
        return ColumnMeasures(name, role, reference, current, rates, impact=cost)
    comparison = compare_column(grid, counts, name, seed=seed, resamples=resamples)
    measures = measure_column(comparison)
    if beside := measure_off_atoms(comparison):
        measures[OFF_ATOMS] = beside
    if name in grid.replaced and (beyond := _measure_beyond(column, reference, current)):
        measures[BEYOND] = beyond
    p_value, excess = measures[TESTS[column.kind]]["p_value"], measures["psi"]["excess"]
    return ColumnMeasures(name, role, reference, current, rates, measures, p_value, excess or 0.0, cost)


def compare_column(
    grid: ReferenceGrid, counts: Counts, name: str, *, seed: int = 0, resamples: int = MIN_RESAMPLES
) -> ColumnComparison:
    """Return what the measures of a column are computed from. Both sides have a value."""
    reference, current, column = grid.reference_columns[name], counts.column(name), grid.column(name)
    return ColumnComparison(
        kind=column.kind,
        reference=reference.cells,
        current=current.cells,
        n_reference=reference.n_counted,
        n_current=current.n_counted,
        knots=column.knots,
        scale=column.scale,
        overshoot=_overshoot(reference, current),
        decile_starts=grid.decile_starts.get(name),
        # What was not counted to choose the vocabulary has no bias towards it.
        cut=0 if name in grid.replaced else column.cut,
        # A seed per column, so that a column's result does not depend on the other columns.
        seed=[seed, zlib.crc32(name.encode())],
        resamples=resamples,
    )


def _overshoot(reference: ColumnCounts, current: ColumnCounts) -> float:
    """Return the mean distance beyond the range, in scales; of a reference that lies there too, the difference."""
    if not (reference.below or reference.above):
        return (current.below + current.above) * OVERSHOOT_UNIT / current.n_counted
    then, now = _sides(reference, 0.0, 0.0, 1.0), _sides(current, 0.0, 0.0, 1.0)
    return sum(abs(a.mean - b.mean) for a, b in zip(then, now, strict=True))


def _measure_beyond(column: ColumnGrid, reference: ColumnCounts, current: ColumnCounts) -> Values:
    """Return the move of the values beyond the range; empty where the reference has none there, or no unit."""
    if column.kind != "numeric" or not column.scale or not int(reference.cells[0] + reference.cells[-1]):
        return {}
    ends = float(column.knots[0]), float(column.knots[-1]), column.scale
    return measure_beyond(_sides(reference, *ends), _sides(current, *ends))


def _sides(counts: ColumnCounts, low: float, high: float, scale: float) -> tuple[Beyond, Beyond]:
    """Return a column's values below and above its grid's range, each with at least one value in all."""
    least, most = counts.minimum or 0.0, counts.maximum or 0.0

    def side(rows: int, total: int, first: float, last: float) -> Beyond:
        reach = [min(max(0.0, distance / scale), OVERSHOOT_LIMIT) for distance in (first, last)]
        near = reach[0] if rows == counts.n_counted else 0.0
        return Beyond(counts.n_counted, rows, total * OVERSHOOT_UNIT, near, reach[1])

    return (
        side(int(counts.cells[0]), counts.below, low - most, low - least),
        side(int(counts.cells[-1]), counts.above, least - high, most - high),
    )


def measure_excess(grid: ReferenceGrid, counts: Counts, name: str) -> float | None:
    """Return a column's PSI above chance, without any test; None where the reference or the window has no value."""
    if not (grid.reference_columns[name].n_counted and counts.column(name).n_counted):
        return None
    excess = MEASURES[grid.column(name).kind]["psi"](compare_column(grid, counts, name))["excess"]
    return None if excess is None else float(excess)


def measure_rates(
    column: ColumnGrid, reference: ColumnCounts, current: ColumnCounts, *, chose_cells: bool = True
) -> dict[str, Rate]:
    """Return the rates of a column by name, those with an event in the reference or in the window.

    A test without any event cannot reject. Leaving it out keeps the family of tests small and does not change its level
    (Tarone 1990).

    chose_cells: whether the grid's vocabulary and range are those of this reference, which therefore has no new
    category and no value out of range by choice. Another reference has them like any window.
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
            p_value = rate_change_p_value(events_reference, n_reference, events, n)
            rates[name] = Rate(events_reference / n_reference, events / n, events, n_reference, n, p_value)
    if r.n_counted and c.n_counted:
        if not chose_cells:
            rates |= _rates_beyond_cells(r, c)
        elif c.kind == "categorical" and c.other:
            rates["new_categories"] = _new_categories(column, r.n_counted, c)
        elif c.kind == "numeric" and (beyond := int(c.cells[0] + c.cells[-1])):
            p_value = beyond_range_p_value(r.n_counted, beyond, c.n_counted)
            rates["out_of_range"] = Rate(0.0, beyond / c.n_counted, beyond, r.n_counted, c.n_counted, p_value)
    return {name: rates[name] for name in RATES if name in rates}


def _rates_beyond_cells(reference: ColumnCounts, current: ColumnCounts) -> dict[str, Rate]:
    """Return the rate of rows that the grid has no cell for, against a reference that has such rows too."""
    name, before, now = "new_categories", reference.other, current.other
    if current.kind == "numeric":
        name = "out_of_range"
        before, now = (int(side.cells[0] + side.cells[-1]) for side in (reference, current))
    if not now:
        return {}
    n_reference, n = reference.n_counted, current.n_counted
    p_value = rate_increase_p_value(before, n_reference, now, n)
    share = before / n_reference
    return {name: Rate(share, now / n, now, n_reference, n, p_value, is_common=share >= COMMON_SHARE)}


def _new_categories(column: ColumnGrid, n_reference: int, current: ColumnCounts) -> Rate:
    """Compare the rate of new categories with that of the reference itself, its leave-one-out rate.

    That rate varies more than a binomial one. The reference therefore counts for as many rows as give a binomial rate
    the same variance.
    """
    effect = max(1.0, column.novel_variance / max(column.novel, 1))
    p_value = rate_increase_p_value(
        round(column.novel / effect), max(1, round(n_reference / effect)), current.other, current.n_counted
    )
    expected = column.novel / n_reference
    return Rate(expected, current.other / current.n_counted, current.other, n_reference, current.n_counted, p_value)
