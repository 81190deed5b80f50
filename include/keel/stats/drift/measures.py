"""The registry of drift measures: which of them a report has for a numeric column, and which for a categorical one.

To add a measure:

1. Write it as a function of two count vectors in a file of its own in this package. Its docstring has the formula, the
   source and an example that runs.
2. Write a function here that applies it to a `ColumnComparison` and returns plain numbers by name; None where the
   measure has no value.
3. Add that function under the measure's name to `MEASURES`, for one kind of column or for both.
4. Test a golden value and the agreement with an independent implementation in ``tests/unit/stats/drift``.

The report then has it at ``features.<column>.measures.<name>``. The other measures stay as they are, and so do the
tests of significance, which are those of `TESTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from keel.stats.drift.cells import merge_cells, pool_small
from keel.stats.drift.chi_square import chi_square
from keel.stats.drift.jensen_shannon import jensen_shannon
from keel.stats.drift.ks import is_small, ks_monte_carlo, ks_p_value, ks_statistic
from keel.stats.drift.off_atoms import bins_for, off_atoms
from keel.stats.drift.psi import decile_starts, psi, psi_excess
from keel.stats.drift.wasserstein import wasserstein

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.stats.drift.cells import Floats, Integers


@dataclass(frozen=True, eq=False)
class ColumnComparison:
    """One column's counts in the reference and in a window, each with at least one row.

    Parameters
    ----------
    kind
        ``"numeric"`` or ``"categorical"``.
    reference, current
        Shape (cells,), int64. Numeric: cells ``(-inf, k0), {k0}, (k0, k1), …``. Categorical: the last cell is `other`.
    n_reference, n_current
        Rows on the cells.
    knots, scale, overshoot, decile_starts
        Numeric only: see `keel.stats.drift.wasserstein.wasserstein` and `keel.stats.drift.psi.decile_starts`.
    cut
        Categorical only: see `keel.stats.drift.cells.pool_small`.
    seed, resamples
        For p-values by simulation.

    """

    kind: str
    reference: Integers
    current: Integers
    n_reference: int
    n_current: int
    knots: Floats = field(default_factory=lambda: np.empty(0))
    scale: float = 0.0
    overshoot: float = 0.0
    decile_starts: Integers | None = None
    cut: int = 0
    seed: int | Sequence[int] = 0
    resamples: int = 999

    @cached_property
    def deciles(self) -> tuple[Integers, Integers]:
        """Both sides on the reference's deciles."""
        assert self.decile_starts is not None, "only a numeric column has deciles"
        return merge_cells(self.reference, self.decile_starts), merge_cells(self.current, self.decile_starts)

    @cached_property
    def pooled(self) -> tuple[Integers, Integers, int]:
        """Both sides with the small categories in one cell, and how many cells that pools."""
        return pool_small(self.reference, self.current, cut=self.cut)

    def rng(self) -> np.random.Generator:
        """Return a new generator: every simulation of a column starts from the same seed."""
        return np.random.default_rng(self.seed)


Values = dict[str, float | int | None]
Measure = Callable[[ColumnComparison], Values]


def measure_ks(column: ColumnComparison) -> Values:
    """Return the KS statistic and its p-value, simulated for small and discrete windows."""
    return _ks(column, column.reference, column.current)


def _ks(column: ColumnComparison, r: Integers, c: Integers) -> Values:
    statistic = ks_statistic(r, c)
    p_value = ks_p_value(statistic, int(r.sum()), int(c.sum()))
    # The asymptotic value is an upper bound: where it is below any simulated one, it stands.
    if p_value * (column.resamples + 1) > 1 and is_small(r, c):
        p_value = ks_monte_carlo(r, c, rng=column.rng(), resamples=column.resamples)
    return {"statistic": statistic, "p_value": p_value}


def measure_chi_square(column: ColumnComparison) -> Values:
    """Return the χ² statistic, its p-value, the cells it uses, and how many categories are pooled."""
    statistic, p_value, cells = chi_square(
        column.reference, column.current, rng=column.rng(), resamples=column.resamples, cut=column.cut
    )
    return {"statistic": statistic, "p_value": p_value, "cells": cells, "pooled": column.pooled[2]}


def measure_decile_psi(column: ColumnComparison) -> Values:
    """Return the PSI of the reference's deciles, and by how much it exceeds its expectation without a change."""
    return _psi(*column.deciles)


def measure_category_psi(column: ColumnComparison) -> Values:
    """Return the PSI of the categories, small ones pooled, and by how much it exceeds its expectation."""
    return _psi(*column.pooled[:2])


def _psi(reference: Integers, current: Integers) -> Values:
    value = psi(reference, current)
    return {"value": value, "excess": psi_excess(value, reference, current)}


def measure_decile_distance(column: ColumnComparison) -> Values:
    """Return the Jensen–Shannon distance on the reference's deciles."""
    return {"value": jensen_shannon(*column.deciles)}


def measure_category_distance(column: ColumnComparison) -> Values:
    """Return the Jensen–Shannon distance of all categories."""
    return {"value": jensen_shannon(column.reference, column.current)}


def measure_wasserstein(column: ColumnComparison) -> Values:
    """Return the Wasserstein distance in units of the reference's spread; None for a constant reference."""
    distance = wasserstein(
        column.reference, column.current, column.knots, scale=column.scale, overshoot=column.overshoot
    )
    return {"value": distance}


def measure_off_atoms(column: ColumnComparison) -> Values:
    """Return KS, its p-value and the PSI of the rows off the frequent values; empty where it is not asked.

    It is no entry of `MEASURES`, because its p-value is a test of its own: see `keel.stats.drift.off_atoms`.
    """
    found = off_atoms(column.reference, column.current) if column.kind == "numeric" else None
    if found is None:
        return {}
    r, c = found
    n_reference, n = int(r.sum()), int(c.sum())
    starts = decile_starts(r, bins=bins_for(n_reference, n))
    index = _psi(merge_cells(r, starts), merge_cells(c, starts))
    return {
        "share_reference": n_reference / column.n_reference,
        "share": n / column.n_current,
        **_ks(column, r, c),
        "psi": index["value"],
        "excess": index["excess"],
    }


MEASURES: dict[str, dict[str, Measure]] = {
    "numeric": {
        "ks": measure_ks,
        "psi": measure_decile_psi,
        "jensen_shannon": measure_decile_distance,
        "wasserstein": measure_wasserstein,
    },
    "categorical": {
        "chi_square": measure_chi_square,
        "psi": measure_category_psi,
        "jensen_shannon": measure_category_distance,
    },
}
"""The measures of each kind of column by name, in the order of the report. ``psi`` decides whether a change is
material."""

TESTS = {"numeric": "ks", "categorical": "chi_square"}
"""The measure whose ``p_value`` tests the column's distribution. It is one a column, so that the family of tests, and
with it the false discovery rate, does not depend on how many measures there are."""


def measure_column(column: ColumnComparison) -> dict[str, Values]:
    """Apply every measure of the column's kind."""
    return {name: measure(column) for name, measure in MEASURES[column.kind].items()}
