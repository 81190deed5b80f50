"""The checks of a window: data quality, drift, performance and labels. Each stores its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from keel.loop.consecutive import compare_with_previous
from keel.monitoring import storage
from keel.monitoring.accepted import accepted_sentence, with_accepted, with_accepted_columns
from keel.monitoring.alarm_records import read_alarms, rests_on_quarantined
from keel.monitoring.alarms import HARM_KINDS, rests_on
from keel.monitoring.drift import detect, explained_change
from keel.monitoring.label_check import label_report
from keel.monitoring.performance import LabelArrival, detect_degradation, measure_long_run
from keel.monitoring.performance_history import all_sums
from keel.monitoring.quality import QualityStatus, check_quality
from keel.monitoring.records import (
    CountedWindow,
    DriftReportRecord,
    LiveAlarm,
    ReportRecord,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.monitoring.window_counts import WindowCounts, broken_windows, name_unseen, window_counts
from keel.stats.metrics.losses import Estimate, have_same_loss, scored
from keel.store.quarantines import DATA

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.window import Window
    from keel.workspace import Workspace


def check_data_quality(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
    """Check whether the window's data has the form that the version was trained on, from its counts.

    Its rows are read only where unseen categories have to be named. A column whose drift was accepted is compared with
    the accepted window.
    """
    grid, counts = _grid_and_counts(ws, config, counted)
    grid, _ = with_accepted(ws, counted.model, counted.version, grid, counted.window)

    def unseen(columns: Sequence[str]) -> dict[str, dict[str, int]]:
        window = counted.window
        return name_unseen(ws, config, counted.version, grid, window, columns, decided_before=window.end)

    report = check_quality(grid, counts.normal.counts, config=config.drift, name_unseen=unseen)
    if report.status is QualityStatus.EMPTY and counts.released.hours:  # a person released all there is
        report = replace(report, status=QualityStatus.OK)
    is_broken = report.status is QualityStatus.BROKEN
    stored = StoredQualityReport.from_dict(
        {
            **report.to_dict(),
            "quarantined": counts.quarantined.size,
            "released": counts.released.size,
            "spans": broken_windows(ws, config, counted.version, counted.window) if is_broken else (),
        }
    )
    if stored.findings:
        sentence = stored.findings[0].sentence
    else:
        sentence = "The data is as expected." if counts.usable.n else report.sentence
    return _store_report(ws, "quality", counted, stored, f"{sentence}{counts.exclusion}")


def check_data_drift(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> DriftReportRecord:
    """Check whether features, score and prediction have moved, both significantly and materially.

    The reference is the version's own, or the window that a person accepted for the column. Where ``drift.against`` has
    ``previous``, a second report compares the window with the one before it. No decision rests on that.
    """
    own, counts = _grid_and_counts(ws, config, counted)
    stored = measure_drift(ws, config, counted, own, counts)
    if "previous" in config.drift.against:
        compared = compare_with_previous(ws, config, counted.version, own, counted.window, counts)
        _store_report(ws, compared.CHECK, counted, compared, compared.sentence)
    drifted = stored.names("drift")
    outputs = stored.names("drift", role="output")
    also = f" Of the outputs: {', '.join(outputs)}." if outputs else ""
    sentence = f"{stored.count}.{also}{accepted_sentence(stored)}{counts.exclusion}"
    reference = _store_report(ws, "drift", counted, stored, sentence)
    return DriftReportRecord.from_dict(
        {**reference.to_dict(), "share_drifted": stored.share_drifted, "drifted": drifted}
    )


def measure_drift(
    ws: Workspace, config: ModelConfig, counted: CountedWindow, own: ReferenceGrid, counts: WindowCounts
) -> StoredDriftReport:
    """Compare a window's counts with the reference of a version, and store nothing. own: the version's grid."""
    grid, accepted = with_accepted(ws, counted.model, counted.version, own, counted.window)
    report = detect(grid, counts.usable, config.drift)
    body = with_accepted_columns(report.to_dict(), accepted)
    return StoredDriftReport.from_dict({**body, "quarantined": counts.quarantined.size})


def check_performance(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
    """Check whether the version does harm, on the labels of a window that is ``target.label_delay`` earlier.

    The labels themselves are checked first (`check_labels`). A live alarm about the mean loss shows harm beside them,
    unless it rests on labels or data that are broken.
    """
    labels = check_labels(ws, config, counted)
    grid, counts = _grid_and_counts(ws, config, counted, counted.window.earlier(config.target.label_delay))
    stored = measure_performance(ws, config, counted, labels, grid, counts)
    return _store_report(ws, "performance", counted, stored, performance_sentence(stored, counts))


def performance_sentence(report: StoredPerformanceReport, counts: WindowCounts) -> str:
    """Return in a sentence what was measured, and what was left out."""
    return f"{report.metric} on {report.n} labels: {report.status}.{counts.exclusion}"


def measure_performance(
    ws: Workspace,
    config: ModelConfig,
    counted: CountedWindow,
    labels: StoredLabelsReport,
    grid: ReferenceGrid,
    counts: WindowCounts,
    *,
    keep: bool = True,
) -> StoredPerformanceReport:
    """Compare the version on the labels of a window with its holdout, and store no report.

    counts: of the window whose labels are read, which is ``target.label_delay`` earlier. keep: whether the hourly sums
    of labels that have arrived since are stored.
    """
    version = counted.version
    window = counted.window.earlier(config.target.label_delay)
    predictions = ws.predictions(config)
    rows = predictions.labelled(
        window.start, window.end, version=version, decided_before=counted.window.end, features=False
    )
    reference = ws.registry.reference(config.model, version)
    metrics = {name: Estimate(**values) for name, values in reference["metrics"].items()}
    sums = all_sums(ws, config, version, until=window.end, decided_before=counted.window.end, keep=keep)
    metric = config.performance.metric
    alarms, explained = _harm_alarms(ws, config, counted, labels)
    report = detect_degradation(
        scored(rows),
        metrics,
        reference["loss"] if have_same_loss(reference["metric"], metric) else None,
        config.performance,
        explained=explained_change(grid, counts.usable) if counts.usable.n else None,
        arrival=LabelArrival(*predictions.label_counts(window.start, window.end, version)),
        long_run=measure_long_run(metric, *sums, metrics.get(metric), config.performance),
        alarms=alarms,
    )
    return StoredPerformanceReport.from_dict(
        {
            **report.to_dict(),
            "explained_alarms": [alarm.alarm_id for alarm in explained],
            "window": window,
            "quarantined": counts.quarantined.size,
        }
    )


def _harm_alarms(
    ws: Workspace, config: ModelConfig, counted: CountedWindow, labels: StoredLabelsReport
) -> tuple[list[LiveAlarm], list[LiveAlarm]]:
    """Return the live alarms that show harm of the version, and those about its loss that broken rows explain.

    That with most evidence over its bound comes first. Where labels are broken, one that does not rest on them is
    neither: nothing is concluded from such a window.
    """
    found = [
        alarm for alarm in read_alarms(ws, counted) if alarm.kind in HARM_KINDS and alarm.version == counted.version
    ]
    found.sort(key=lambda alarm: (alarm.bound or 0.0) - (alarm.evidence or 0.0))
    until = counted.window.end
    explained = [
        alarm
        for alarm in found
        if any(rests_on(alarm, span.start, span.end) for span in labels.spans)
        or rests_on_quarantined(ws, config, alarm, decided_before=until)
    ]
    shown = [] if labels.status == "broken" else [alarm for alarm in found if alarm not in explained]
    return shown, explained


def check_labels(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> StoredLabelsReport:
    """Check the labels of the window that `check_performance` uses: values, spread, coverage and delay."""
    window = counted.window.earlier(config.target.label_delay)
    stored = label_report(ws, config, counted.version, window, decided_before=counted.window.end)
    found = stored.findings[0].sentence if stored.findings else f"{stored.n:,} labels without a fault."
    _store_report(ws, "labels", counted, stored, found)
    return stored


def _grid_and_counts(
    ws: Workspace, config: ModelConfig, counted: CountedWindow, window: Window | None = None
) -> tuple[ReferenceGrid, WindowCounts]:
    """Return the version's reference grid and the window's counts on it, without quarantined hours."""
    grid = ws.registry.grid(config.model, counted.version)
    # a window of its own is one whose labels are read
    counts = window_counts(
        ws,
        config,
        counted.version,
        grid,
        window or counted.window,
        decided_before=counted.window.end,
        about=DATA if window is None else None,
    )
    return grid, counts


def _store_report(
    ws: Workspace, kind: str, counted: CountedWindow, report: storage.StoredReport, sentence: str
) -> ReportRecord:
    return storage.store_report(ws, kind, counted.model, counted.version, counted.window, report, sentence=sentence)
