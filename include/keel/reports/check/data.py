"""Collect what the page of a check shows. Only the model has to be configured: whatever else is missing is named."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from keel.errors import KeelError, SchemaError
from keel.ledger import entries as ledger
from keel.ledger.narrative import describe
from keel.monitoring import storage
from keel.monitoring.alarm_records import judgements_of
from keel.monitoring.records import (
    ComparisonRecord,
    DecisionRecord,
    Outcome,
    StoredConsecutiveReport,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.reports.check.history import (
    ColumnHistory,
    Deployed,
    Measured,
    column_histories,
    deployments_of,
    measured_series,
    measured_window,
)
from keel.reports.publication import comparison_address, published
from keel.window import parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.ledger.entries import Entry
    from keel.monitoring.alarms import Judgement
    from keel.reports.charts.specs import Categories, Histogram
    from keel.window import Window
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

__all__ = ["KINDS", "CheckData", "CheckLinks", "LedgerRow", "collect", "decided", "stored_check"]


KINDS = (*storage.CHECKS, "labels", "consecutive")
"""The reports that a check stores."""


@dataclass(frozen=True)
class CheckLinks:
    """Where the page leads to; None for what has no address."""

    run: str | None = None
    """The run in Airflow that made the check."""
    mlflow: str | None = None
    """The published page of the check."""
    comparison: str | None = None
    """The page of the comparison that the outcome rests on."""


@dataclass(frozen=True)
class LedgerRow:
    """A row of the ledger that records what followed a check."""

    seq: int
    sentence: str
    probation_until: datetime | None = None
    """The end of the probation that the row begins."""


@dataclass(frozen=True)
class CheckData:
    """The records behind the page of a check. Every part but the first three may be missing."""

    config: ModelConfig
    version: int
    """In production when the window was checked."""
    window: Window
    quality: StoredQualityReport | None = None
    drift: StoredDriftReport | None = None
    performance: StoredPerformanceReport | None = None
    labels: StoredLabelsReport | None = None
    consecutive: StoredConsecutiveReport | None = None
    """Against the window before, where that was asked for."""
    decision: DecisionRecord | None = None
    outcome: Outcome | None = None
    alarms: tuple[Judgement, ...] = ()
    """The live alarms that were open, and what the decision made of them."""
    acted: bool = True
    """Whether what was decided is done; a check in a notebook does nothing."""
    comparison: ComparisonRecord | None = None
    ledger: tuple[LedgerRow, ...] = ()
    charts: Mapping[str, Histogram | Categories] = field(default_factory=dict)
    """Reference against window, by column."""
    without_charts: str = ""
    """Why there are none."""
    columns: Mapping[str, ColumnHistory] = field(default_factory=dict)
    """What earlier checks said of each column."""
    series: tuple[Measured, ...] = ()
    """Performance over time, by version and bucket, of labels that have matured."""
    measured: Measured | None = None
    """Of the window that the performance report is about, with an interval that allows for dependent rows."""
    without_series: str = ""
    """Why there is no performance over time."""
    deployed: tuple[Deployed, ...] = ()
    """Changes of the version in production, oldest first."""
    links: CheckLinks = CheckLinks()
    open_alerts: str = ""
    """Which alerts are open now, in one line; empty on a page that is kept, as the next check changes them."""
    release: str = ""
    """Of Keel."""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.config.model


def collect(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    window: Window,
    decision: DecisionRecord | None = None,
    outcome: Outcome | None = None,
    *,
    acted: bool = True,
    links: CheckLinks | None = None,
) -> CheckData:
    """Collect the records of a check from the store, and the distributions from the version's grid.

    decision, outcome: those of the store where None. A check in a notebook stores none, and has not ``acted``.
    links: those to the published pages where None.

    Raises
    ------
    StoreUnavailable
        The store cannot be read. What the registry does not have is named in the result.

    """
    stored = stored_check(ws, config, version, window)
    drift, performance = stored.drift, stored.performance
    if acted:
        decision, outcome = decided(ws, config.model, version, window, decision, outcome)
    rows = list(ledger.entries(ws.store, config.model))
    charts, without_charts = charts_of(ws, config, version, window, drift)
    series, without_series = _series(ws, config, window, performance)
    comparison = storage.read_comparison(ws, config.model, outcome.report_id) if outcome else None
    return replace(
        stored,
        decision=decision,
        outcome=outcome,
        alarms=_alarms(ws, decision),
        acted=acted,
        comparison=comparison,
        ledger=_rows_about(decision, rows),
        charts=charts,
        without_charts=without_charts,
        columns=column_histories(ws, config.model, window) if drift else {},
        series=series,
        measured=measured_window(ws, config, version, window, performance),
        without_series=without_series,
        deployed=deployments_of(rows),
        links=links or _links(ws, decision, comparison),
        release=installed_version("keel"),
    )


def _alarms(ws: Workspace, decision: DecisionRecord | None) -> tuple[Judgement, ...]:
    """Return the alarms of a decision; none where a report that they were judged by is gone."""
    try:
        return judgements_of(ws, decision) if decision else ()
    except SchemaError:
        return ()


def stored_check(ws: Workspace, config: ModelConfig, version: int, window: Window) -> CheckData:
    """Return the stored reports of a check, in one query, and nothing else."""
    ids = {kind: storage.report_id(kind, config.model, version, window) for kind in KINDS}
    bodies = ws.store.reports.bodies([*ids.values()])

    def body(kind: str) -> dict[str, Any] | None:
        return bodies.get(ids[kind])

    return CheckData(
        config=config,
        version=version,
        window=window,
        quality=StoredQualityReport.from_dict(found) if (found := body("quality")) else None,
        drift=StoredDriftReport.from_dict(found) if (found := body("drift")) else None,
        performance=StoredPerformanceReport.from_dict(found) if (found := body("performance")) else None,
        labels=StoredLabelsReport.from_dict(found) if (found := body("labels")) else None,
        consecutive=StoredConsecutiveReport.from_dict(found) if (found := body("consecutive")) else None,
    )


def decided(
    ws: Workspace,
    model: str,
    version: int,
    window: Window,
    decision: DecisionRecord | None = None,
    outcome: Outcome | None = None,
) -> tuple[DecisionRecord | None, Outcome | None]:
    """Return the decision on a window and its outcome, as they were given or else as they are stored."""
    if decision is not None and outcome is not None:
        return decision, outcome
    identity = decision.decision_id if decision else storage.report_id("decision", model, version, window)
    stored = ws.store.decisions.get(identity) if identity else None
    if stored is None:
        return decision, outcome
    decision = decision or DecisionRecord.from_dict(stored["body"])
    if outcome is None and stored["outcome"]:
        outcome = Outcome.from_dict(stored["outcome"])
    return decision, outcome


def _links(ws: Workspace, decision: DecisionRecord | None, comparison: ComparisonRecord | None) -> CheckLinks:
    """Return where the published pages are; MLflow is asked for that of the comparison, and need not answer."""
    page = published(ws, decision.decision_id) if decision and decision.decision_id else None
    try:
        compared = comparison_address(ws, comparison) if comparison else None
    except KeelError:
        compared = None
    return CheckLinks(mlflow=page.address if page else None, comparison=compared)


def _rows_about(decision: DecisionRecord | None, rows: Sequence[Entry]) -> tuple[LedgerRow, ...]:
    """Return the ledger rows that a decision led to."""
    if decision is None or not decision.decision_id:
        return ()
    found = [row for row in rows if decision.decision_id in _decisions_of(row)]
    return tuple(LedgerRow(row.seq, describe(row), _probation_until(row)) for row in found)


def _probation_until(row: Entry) -> datetime | None:
    probation = row.body.get("probation") or {}
    return parse_time(probation.get("until"))


def _decisions_of(row: Entry) -> set[str]:
    """Return the ids of the decisions that a row names."""
    evidence = row.body.get("evidence") or {}
    tags = evidence.get("tags") or {}
    return {str(each) for each in (evidence.get("decision_id"), tags.get("keel.decision_id")) if each}


def charts_of(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    window: Window,
    drift: StoredDriftReport | None,
    names: Sequence[str] | None = None,
) -> tuple[Mapping[str, Histogram | Categories], str]:
    """Return a chart per column, or why there are none. names: of the columns; None: the worst that a page draws."""
    if drift is None:
        return {}, ""
    from keel.monitoring.window_counts import window_counts

    try:
        grid = ws.registry.grid(config.model, version)
    except KeelError as error:
        log.warning("%s version %d: no distributions: %s", config.model, version, error)
        return {}, f"The distributions are not shown, because the version's reference is not available: {error.public}"
    if drift.grid_id and drift.grid_id != grid.grid_id:
        return (
            {},
            "The distributions are not shown, because the version has another reference than when it was checked.",
        )
    counts = window_counts(ws, config, version, grid, window, decided_before=window.end).usable
    if not counts.n:
        return {}, "The distributions are not shown, because the store has no counts of this window."
    from keel.reports.columns import ranked_names
    from keel.reports.distributions import distributions
    from keel.reports.html.columns import MAX_DRAWN

    known = {column.name for column in grid.columns}
    names = [name for name in (ranked_names(drift) if names is None else names) if name in known]
    compared = _as_compared(ws, config, version, grid, drift, window)
    return distributions(compared, counts, names=names[:MAX_DRAWN]), ""


def _as_compared(
    ws: Workspace, config: ModelConfig, version: int, grid: ReferenceGrid, drift: StoredDriftReport, checked: Window
) -> ReferenceGrid:
    """Return the grid with the references that a report was made with, whatever was accepted or withdrawn since."""
    from keel.monitoring.accepted import accepted_columns, accepted_references
    from keel.monitoring.window_counts import window_counts

    compared = {name: accepted.window for name, accepted in accepted_columns(drift).items()}
    stored = accepted_references(ws, config.model, version, grid, until=checked.end) if compared else {}
    replaced = {}
    for name, window in compared.items():
        if name in stored and stored[name].about.window == window:
            replaced[name] = stored[name].counts
        else:
            counts = window_counts(ws, config, version, grid, window, decided_before=window.end).usable
            replaced[name] = counts.column(name)
    return grid.with_references(replaced) if replaced else grid


def _series(
    ws: Workspace, config: ModelConfig, window: Window, performance: StoredPerformanceReport | None
) -> tuple[tuple[Measured, ...], str]:
    """Return performance over time until the window of the labels ends, or why there is none."""
    until = (performance.window if performance else None) or window.earlier(config.target.label_delay)
    found = measured_series(ws, config, until)
    return found, "" if found else "No labels before this window were summed."
