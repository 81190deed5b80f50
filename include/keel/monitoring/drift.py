"""Detect whether a window has drifted from the rows that a version was trained on, from counts alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config import DriftConfig
from keel.errors import GridMismatch
from keel.monitoring.column_measures import DISTRIBUTION, ColumnMeasures, measure_column_rates, measure_columns
from keel.monitoring.column_status import ColumnResult, ColumnStatus, Severity, evaluate_column
from keel.monitoring.records import count_drifted
from keel.stats.drift.fdr import benjamini_hochberg
from keel.stats.drift.impact import impact
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid


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
            "measures": {name: {k: finite_or_none(v) for k, v in m.items()} for name, m in column.measures.items()},
            "rates": {name: rate.to_dict(self.q_values.get(name)) for name, rate in column.rates.items()},
            "minimum": column.current.minimum,
            "maximum": column.current.maximum,
            "reasons": list(self.result.reasons),
        }


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
    columns: tuple[ColumnDrift, ...]
    """The largest impact first."""
    sentence: str

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
            "sentence": self.sentence,
            "features": {column.name: column.to_dict() for column in self.columns},
        }


def detect(grid: ReferenceGrid, counts: Counts, config: DriftConfig | None = None) -> DriftReport:
    """Compare a window with the reference.

    All tests of all columns, of rates and distributions, are one family under Benjamini–Hochberg. Where nothing has
    changed, and columns are independent or positively dependent, the status is not ``ok`` with a probability of at most
    ``alpha`` for the whole model, at every window size. A drift must also be material: see
    `keel.monitoring.column_status`. No value in the data raises an error.

    Raises
    ------
    GridMismatch
        The counts are of another grid.

    """
    config = config or DriftConfig()
    if counts.grid_id != grid.grid_id:
        raise GridMismatch(f"these counts are of grid {counts.grid_id[:12]}, not of {grid.grid_id[:12]}")
    enough = counts.n >= config.min_rows and counts.n > 0
    measured = measure_columns(grid, counts, config) if enough else measure_column_rates(grid, counts)
    q_values = adjust_p_values(measured) if enough else [{} for _ in measured]
    columns = [
        ColumnDrift(e, evaluate_column(e, q, config, enough=enough), q) for e, q in zip(measured, q_values, strict=True)
    ]
    columns.sort(key=_rank)
    features = [c for c in columns if c.measured.role == "feature"]
    drifted = [c for c in features if c.severity is Severity.DRIFT]
    share = len(drifted) / len(features) if features else 0.0
    impacts = [c.measured.impact for c in features if c.measured.impact is not None]
    total = math.fsum(impacts) if impacts else None
    status = _window_status(columns, share, total, config) if enough else Severity.INSUFFICIENT
    return DriftReport(
        status=status,
        n=counts.n,
        grid_id=grid.grid_id,
        alpha=config.alpha,
        share_drifted=share,
        impact_total=total,
        columns=tuple(columns),
        sentence=_sentence(status, counts.n, columns, len(features), len(drifted), total, config),
    )


def adjust_p_values(measured: list[ColumnMeasures]) -> list[dict[str, float]]:
    """Adjust the p-values of all columns' tests as one family; return each column's q-values by test name."""
    tests = [(i, name, p) for i, e in enumerate(measured) for name, p in e.tests.items()]
    q_values: list[dict[str, float]] = [{} for _ in measured]
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


def _window_status(columns: list[ColumnDrift], share: float, total: float | None, config: DriftConfig) -> Severity:
    if share >= config.drift_share:
        return Severity.DRIFT
    worst = {c.severity for c in columns}
    significant = bool(worst & {Severity.WARN, Severity.DRIFT})
    # The sum of impacts includes the sampling noise of every column, so it counts only where a column has changed.
    if significant and config.max_impact is not None and total is not None and total >= config.max_impact:
        return Severity.DRIFT
    return Severity.WARN if significant else Severity.OK


def _rank(column: ColumnDrift) -> tuple[float, int, float, str]:
    measured = column.measured
    return (-abs(measured.impact or 0.0), -list(Severity).index(column.severity), -measured.excess, measured.name)


def _sentence(
    status: Severity,
    n: int,
    columns: list[ColumnDrift],
    n_features: int,
    n_drifted: int,
    total: float | None,
    config: DriftConfig,
) -> str:
    if status is Severity.INSUFFICIENT:
        return f"{n} rows are too few; the check needs {config.min_rows}."
    cost = "" if total is None else f" Summed impact on the loss: {total:+.3g}."
    named = [f"{c.name} ({c.status.value})" for c in columns if c.severity in {Severity.DRIFT, Severity.WARN}]
    if not named:
        return f"No column differs significantly and materially from the reference in {n} rows.{cost}"
    return f"{count_drifted(n_drifted, n_features)} in {n} rows. Changed: {', '.join(named)}.{cost}"


def _no_column(name: str) -> ColumnDrift:
    raise KeyError(name)
