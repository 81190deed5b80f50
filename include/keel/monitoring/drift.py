"""Has the window drifted from what the model was trained on? Two count vectors in, one report out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config import DriftConfig
from keel.errors import GridMismatch
from keel.monitoring.column_measures import DISTRIBUTION, Evidence, gather_evidence, gather_rates
from keel.monitoring.column_status import Severity, Status, Verdict, judge_column
from keel.stats.drift.fdr import benjamini_hochberg
from keel.stats.drift.impact import impact
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid


@dataclass(frozen=True)
class ColumnDrift:
    """One column's evidence and verdict; q_values are adjusted over all columns and tests of the window."""

    evidence: Evidence
    verdict: Verdict
    q_values: dict[str, float]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.evidence.name

    @property
    def status(self) -> Status:
        """The column's status."""
        return self.verdict.status

    @property
    def severity(self) -> Severity:
        """How much it weighs."""
        return self.verdict.severity

    def to_dict(self) -> dict[str, Any]:
        """Return the column's part of the report, in plain JSON values."""
        e = self.evidence
        return {
            "kind": e.kind,
            "role": e.role,
            "status": self.status.value,
            "severity": self.severity.value,
            "missing_rate": e.missing_rate,
            "impact": finite_or_none(e.impact),
            "p_value": e.p_value,
            "q_value": self.q_values.get(DISTRIBUTION),
            "measures": {name: {k: finite_or_none(v) for k, v in m.items()} for name, m in e.measures.items()},
            "rates": {name: rate.to_dict(self.q_values.get(name)) for name, rate in e.rates.items()},
            "minimum": e.current.minimum,
            "maximum": e.current.maximum,
            "reasons": list(self.verdict.reasons),
        }


@dataclass(frozen=True)
class DriftReport:
    """What a window's inputs and outputs show.

    status: ``ok``, ``warn``, ``drift``, or ``insufficient`` below `min_rows`. columns: by weight of impact, the
    largest first. share_drifted: of the features, those of severity drift. impact_total: the features' summed impacts
    in units of the loss, positive is harm; None without losses or rows.
    """

    status: Severity
    n: int
    grid_id: str
    alpha: float
    share_drifted: float
    impact_total: float | None
    columns: tuple[ColumnDrift, ...]
    sentence: str

    def column(self, name: str) -> ColumnDrift:
        """Return one column; KeyError for a name the grid does not have."""
        return next((c for c in self.columns if c.name == name), None) or _no_column(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the report in plain JSON values, without NaN or infinities."""
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

    Every test of every column, rates and distributions alike, belongs to one family under Benjamini–Hochberg: with
    nothing wrong, and columns independent or positively dependent, the chance that the status is not ``ok`` is at
    most ``alpha`` for the whole model, at every window size. A drift must also be material: see
    `keel.monitoring.column_status`.
    Nothing in the data raises; GridMismatch for counts of another grid.
    """
    config = config or DriftConfig()
    if counts.grid_id != grid.grid_id:
        raise GridMismatch(f"these counts are of grid {counts.grid_id[:12]}, not of {grid.grid_id[:12]}")
    enough = counts.n >= config.min_rows and counts.n > 0
    evidence = gather_evidence(grid, counts, config) if enough else gather_rates(grid, counts)
    q_values = adjust(evidence) if enough else [{} for _ in evidence]
    columns = [
        ColumnDrift(e, judge_column(e, q, config, enough=enough), q) for e, q in zip(evidence, q_values, strict=True)
    ]
    columns.sort(key=_rank)
    features = [c for c in columns if c.evidence.role == "feature"]
    drifted = [c for c in features if c.severity is Severity.DRIFT]
    share = len(drifted) / len(features) if features else 0.0
    impacts = [c.evidence.impact for c in features if c.evidence.impact is not None]
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


def adjust(evidence: list[Evidence]) -> list[dict[str, float]]:
    """Adjust the p-values of all columns' tests as one family; per column, q-values by test name."""
    tests = [(i, name, p) for i, e in enumerate(evidence) for name, p in e.tests.items()]
    q_values: list[dict[str, float]] = [{} for _ in evidence]
    adjusted = benjamini_hochberg(np.array([p for _, _, p in tests], dtype=np.float64))
    for (i, name, _), q in zip(tests, adjusted.tolist(), strict=True):
        q_values[i][name] = q
    return q_values


def explained_change(grid: ReferenceGrid, counts: Counts) -> float | None:
    """What the inputs' drift alone would change the mean loss by against the holdout, in units of the loss.

    Σ over features and cells of (q_current − p_holdout) · mean loss; positive is worse. None without losses or rows.
    The observed change less this one is the relation to the target having changed. GridMismatch for another grid's
    counts.
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
    # Summed impact counts only when some column has changed: alone it also holds every column's sampling noise.
    if significant and config.max_impact is not None and total is not None and total >= config.max_impact:
        return Severity.DRIFT
    return Severity.WARN if significant else Severity.OK


def _rank(column: ColumnDrift) -> tuple[float, int, float, str]:
    e = column.evidence
    return (-abs(e.impact or 0.0), -list(Severity).index(column.severity), -e.excess, e.name)


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
        return f"{n} rows are too few to judge; the check needs {config.min_rows}."
    cost = "" if total is None else f" Summed impact on the loss: {total:+.3g}."
    named = [f"{c.name} ({c.status.value})" for c in columns if c.severity in {Severity.DRIFT, Severity.WARN}]
    if not named:
        return f"No column differs significantly and materially from the reference in {n} rows.{cost}"
    return f"{n_drifted} of {n_features} features have drifted in {n} rows; changed: {', '.join(named)}.{cost}"


def _no_column(name: str) -> ColumnDrift:
    raise KeyError(name)
