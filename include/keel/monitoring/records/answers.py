"""Answers to questions that store nothing (`keel.loop.asked`)."""

from __future__ import annotations

from keel.monitoring.records.base import Record, WindowField
from keel.monitoring.records.checks import StoredDriftReport, StoredLabelsReport, StoredPerformanceReport


class DriftAnswer(Record):
    """The drift of a window, or of rows that came with the question, from what a version was trained on."""

    model: str
    version: int
    window: WindowField | None = None
    """None for rows that came with the question."""
    rows: int
    """Rows that were compared."""
    status: str
    """``ok``, ``warn``, ``drift``, or ``insufficient`` below ``drift.min_rows``."""
    sentence: str
    drifted: tuple[str, ...] = ()
    """Features that have drifted, the largest impact first."""
    drifted_outputs: tuple[str, ...] = ()
    """Of the score and the prediction."""
    ignored: tuple[str, ...] = ()
    """Columns of the rows that the version does not have."""
    not_given: tuple[str, ...] = ()
    """Outputs that the rows do not have, and that are therefore not compared."""
    report: StoredDriftReport


class PerformanceAnswer(Record):
    """The performance of a version in a window, beside its holdout's."""

    model: str
    version: int
    window: WindowField
    """The window that was asked about. Its labels are those of ``report.window``, which is the label delay earlier."""
    status: str
    """``ok``, ``degraded``, ``undefined``, ``insufficient`` below ``performance.min_rows``, or ``no_labels``."""
    sentence: str
    report: StoredPerformanceReport
    labels: StoredLabelsReport
    """Whether the labels themselves can be trusted."""
