"""Detect whether a window has drifted from the rows that a version was trained on, from counts alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config import DriftConfig
from keel.errors import GridMismatch
from keel.monitoring.column_measures import (
    BEYOND,
    DISTRIBUTION,
    OFF_ATOMS,
    ColumnMeasures,
    measure_column_rates,
    measure_columns,
)
from keel.monitoring.column_status import ColumnResult, ColumnStatus, Severity, evaluate_column
from keel.monitoring.records import count_drifted
from keel.stats.drift.fdr import benjamini_hochberg
from keel.stats.drift.impact import impact, measure_impact, summed_impact_p_value
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid

IMPACT = "impact"
"""The name of the test of the features' summed impact, which is of the window and of no column."""


@dataclass(frozen=True)
class ColumnDrift:
    """The drift of one column. ``q_values`` are adjusted over all columns and tests of the window."""

    measured: ColumnMeasures
    result: ColumnResult
    q_values: dict[str, float]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.measured.name

    @property
    def status(self) -> ColumnStatus:
        """The column's status."""
        return self.result.status

    @property
    def severity(self) -> Severity:
        """The column's weight in the window's status."""
        return self.result.severity

    def to_dict(self) -> dict[str, Any]:
        """Return the column's part of the report as JSON values."""
        column = self.measured
        return {
            "kind": column.kind,
            "role": column.role,
            "status": self.status.value,
            "severity": self.severity.value,
            "missing_rate": column.missing_rate,
            "impact": finite_or_none(column.impact),
            "p_value": column.p_value,
            "q_value": self.q_values.get(DISTRIBUTION),
            "measures": {
                name: {k: finite_or_none(v) for k, v in {**m, **self._adjusted(name)}.items()}
                for name, m in column.measures.items()
            },
            "rates": {name: rate.to_dict(self.q_values.get(name)) for name, rate in column.rates.items()},
            "minimum": column.current.minimum,
            "maximum": column.current.maximum,
            "reasons": list(self.result.reasons),
        }

    def _adjusted(self, measure: str) -> dict[str, float | None]:
        return {"q_value": self.q_values.get(measure)} if measure in (OFF_ATOMS, BEYOND) else {}


@dataclass(frozen=True)
class DriftReport:
    """The drift of a window's features and outputs."""

    status: Severity
    """``ok``, ``warn``, ``drift``, or ``insufficient`` with fewer than ``min_rows`` rows."""
    n: int
    """Rows of the window."""
    grid_id: str
    alpha: float
    share_drifted: float
    """The share of features with severity ``drift``."""
    impact_total: float | None
    """The sum of the features' impacts, in units of the loss; positive is harm. None without losses or rows."""
    impact_q_value: float | None
    """Of the test of that sum, adjusted like all tests of the window; None where it was not tested."""
    impact_limit: float | None
    """``max_impact``, where the sum has reached it; else None."""
    columns: tuple[ColumnDrift, ...]
    """The largest impact first."""
    sentence: str
    config: DriftConfig
    """What the window was judged by."""

    def column(self, name: str) -> ColumnDrift:
        """Return one column; KeyError for a name that the grid does not have."""
        return next((c for c in self.columns if c.name == name), None) or _no_column(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, without NaN or infinities."""
        return {
            "status": self.status.value,
            "n": self.n,
            "grid_id": self.grid_id,
            "alpha": self.alpha,
            "share_drifted": self.share_drifted,
            "impact_total": finite_or_none(self.impact_total),
            "impact_q_value": self.impact_q_value,
            "impact_limit": self.impact_limit,
            "min_rows": self.config.min_rows,
            "psi_warn": self.config.psi_warn,
            "psi_alert": self.config.psi_alert,
            "drift_share": self.config.drift_share,
            "sentence": self.sentence,
            "features": {column.name: column.to_dict() for column in self.columns},
        }


def detect(
    grid: ReferenceGrid, counts: Counts, config: DriftConfig | None = None, *, min_reference: int = 0
) -> DriftReport:
    """Compare a window with the reference.

    All tests of all columns, of rates and distributions, are one family under Benjamini–Hochberg. Where nothing has
    changed, and columns are independent or positively dependent, the status is not ``ok`` with a probability of at most
    ``alpha`` for the whole model, at every window size. A drift must also be material: see
    `keel.monitoring.column_status`. Where ``max_impact`` is set, the summed impact is one more test of the family, so
    that a change which costs too much is a drift even if no column has changed by its own thresholds. No value in the
    data raises an error.

    min_reference: with fewer rows of the reference the status is ``insufficient`` too. A version is trained on many.

    Raises
    ------
    GridMismatch
        The counts are of another grid.

    """
    config = config or DriftConfig()
    if counts.grid_id != grid.grid_id:
        raise GridMismatch(f"these counts are of grid {counts.grid_id[:12]}, not of {grid.grid_id[:12]}")
    enough = counts.n >= max(config.min_rows, 1) and grid.least_reference >= min_reference
    measured = measure_columns(grid, counts, config) if enough else measure_column_rates(grid, counts)
    cost = _window_impact(grid, measured, config, counts.n)
    *q_values, impact_q = adjust([*(m.tests for m in measured), cost.tests]) if enough else [{}] * (len(measured) + 1)
    columns = [
        ColumnDrift(e, evaluate_column(e, q, config, enough=enough), q) for e, q in zip(measured, q_values, strict=True)
    ]
    columns.sort(key=_rank)
    features = [c for c in columns if c.measured.role == "feature"]
    drifted = [c for c in features if c.severity is Severity.DRIFT]
    share = len(drifted) / len(features) if features else 0.0
    q_value = impact_q.get(IMPACT)
    status, limit = Severity.INSUFFICIENT, None
    if enough:
        changed = bool({c.severity for c in columns} & {Severity.WARN, Severity.DRIFT})
        limit = _reached_limit(cost.total, changed or (q_value is not None and q_value <= config.alpha), config)
        drifts = share >= config.drift_share or limit is not None
        status = Severity.DRIFT if drifts else Severity.WARN if changed else Severity.OK
    return DriftReport(
        status=status,
        n=counts.n,
        grid_id=grid.grid_id,
        alpha=config.alpha,
        share_drifted=share,
        impact_total=cost.total,
        impact_q_value=q_value,
        impact_limit=limit,
        columns=tuple(columns),
        sentence=_sentence(
            status, counts.n, columns, count_drifted(len(drifted), len(features)), cost.total, limit, config
        ),
        config=config,
    )


@dataclass(frozen=True)
class _WindowImpact:
    """The sum of the features' impacts, and its p-value where it is tested."""

    total: float | None
    tests: dict[str, float]


def _window_impact(grid: ReferenceGrid, measured: list[ColumnMeasures], config: DriftConfig, n: int) -> _WindowImpact:
    features = [m for m in measured if m.role == "feature"]
    impacts = [m.impact for m in features if m.impact is not None]
    if not impacts:
        return _WindowImpact(None, {})
    total = math.fsum(impacts)
    if config.max_impact is None:
        return _WindowImpact(total, {})
    spreads = [
        measure_impact(m.reference.all_cells(), m.current.all_cells(), losses)
        for m in features
        if (losses := grid.losses_of(m.name)) is not None
    ]
    return _WindowImpact(total, {IMPACT: summed_impact_p_value(spreads, grid.least_reference, n)})


def _reached_limit(total: float | None, significant: bool, config: DriftConfig) -> float | None:
    """Return ``max_impact`` where the summed impact has reached it, and more than the noise of every column shows it.

    Something is shown where a column has changed, or by the test of the sum.
    """
    if config.max_impact is None or total is None or not significant:
        return None
    return config.max_impact if total >= config.max_impact else None


def adjust_p_values(measured: list[ColumnMeasures]) -> list[dict[str, float]]:
    """Adjust the p-values of all columns' tests as one family; return each column's q-values by test name."""
    return adjust([m.tests for m in measured])


def adjust(families: list[dict[str, float]]) -> list[dict[str, float]]:
    """Adjust p-values by name, in groups, as one family; return the q-values in the same form."""
    tests = [(i, name, p) for i, group in enumerate(families) for name, p in group.items()]
    q_values: list[dict[str, float]] = [{} for _ in families]
    adjusted = benjamini_hochberg(np.array([p for _, _, p in tests], dtype=np.float64))
    for (i, name, _), q in zip(tests, adjusted.tolist(), strict=True):
        q_values[i][name] = q
    return q_values


def explained_change(grid: ReferenceGrid, counts: Counts) -> float | None:
    """Return the change of the mean loss against the holdout that input drift explains, in units of the loss.

    The sum over features and cells of (q_current − p_holdout) · mean loss; positive is worse. None without losses or
    rows. The rest of an observed change is due to a changed relation between features and target.

    Raises
    ------
    GridMismatch
        The counts are of another grid.

    """
    if counts.grid_id != grid.grid_id:
        raise GridMismatch(f"these counts are of grid {counts.grid_id[:12]}, not of {grid.grid_id[:12]}")
    if grid.holdout is None or grid.mean_loss is None or counts.n == 0:
        return None
    changes = [
        impact(grid.holdout.column(name).all_cells(), counts.column(name).all_cells(), losses)
        for name in grid.features
        if (losses := grid.losses_of(name)) is not None
    ]
    return math.fsum(changes)


def _rank(column: ColumnDrift) -> tuple[float, int, float, str]:
    measured = column.measured
    return (-abs(measured.impact or 0.0), -list(Severity).index(column.severity), -measured.excess, measured.name)


def _sentence(
    status: Severity,
    n: int,
    columns: list[ColumnDrift],
    count: str,
    total: float | None,
    limit: float | None,
    config: DriftConfig,
) -> str:
    if status is Severity.INSUFFICIENT:
        few = f"{n:,} rows" if n < max(config.min_rows, 1) else "The rows of the reference"
        return f"{few} are too few; the check needs {config.min_rows:,}."
    reached = "" if limit is None else f", which reaches the limit of {limit:g}"
    cost = "" if total is None else f" Summed impact on the loss: {total:+.3g}{reached}."
    named = [f"{c.name} ({c.status.value})" for c in columns if c.severity in {Severity.DRIFT, Severity.WARN}]
    if not named:
        return f"No column differs significantly and materially from the reference in {n:,} rows.{cost}"
    return f"{count} in {n:,} rows. Changed: {', '.join(named)}.{cost}"


def _no_column(name: str) -> ColumnDrift:
    raise KeyError(name)
