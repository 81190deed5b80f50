"""Performance over time: realised on labels, and expected from the inputs alone, beside each version's holdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.charts.specs import Mark, Point, Trend
from keel.reports.check import performance as of_check
from keel.reports.check.history import LENGTH, Measured, measured_of
from keel.reports.metric_words import better, metric_name, row_loss_name
from keel.reports.model.view import CheckedPerformance
from keel.reports.page import Figure, Paragraph, Section
from keel.window import DAY, Window, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.performance_history import Bucket
    from keel.monitoring.records import StoredPerformanceReport
    from keel.reports.model.view import ModelView
    from keel.reports.page import Block
    from keel.workspace import Workspace

POINTS = 3 * LENGTH
"""Points of performance that are drawn at most, of each version."""
SEVERAL = 5
FEW_LABELS = 0.5
"""Share of the usual number of labels below which the first and last of `SEVERAL` buckets are not drawn."""
Reports = Sequence[tuple[int, Window, "StoredPerformanceReport"]]


def bucket_of(length: float) -> Bucket:
    """Return the bucket in which so many days are drawn."""
    return "day" if length <= POINTS else "week" if length <= 7 * POINTS else "month"


def realised(
    ws: Workspace,
    config: ModelConfig,
    since: datetime,
    until: datetime,
    reports: Mapping[int, StoredPerformanceReport],
) -> tuple[Measured, ...]:
    """Return performance by version and bucket, as far as it is summed. reports: the newest by version."""
    from keel.monitoring.performance_history import stored_series

    bucket = bucket_of((until - since) / DAY)
    found = stored_series(ws, config, floor_hour(since), until, bucket=bucket)
    measured = (measured_of(part) for part in found if part["metric"] in part["metrics"])
    return tuple(
        replace(each, holdout=_holdout(reports.get(each.version)))
        for each in _whole([part for part in measured if part.n])
    )


def _whole(parts: Sequence[Measured]) -> Sequence[Measured]:
    """Return measures without the first and last buckets that are cut: their few labels would take the whole axis."""
    starts = sorted({part.start for part in parts})
    sizes = {start: sum(part.n for part in parts if part.start == start) for start in starts}
    if len(starts) < SEVERAL:
        return parts
    usual = FEW_LABELS * median(sizes.values())
    cut = {start for start in (starts[0], starts[-1]) if sizes[start] < usual}
    return [part for part in parts if part.start not in cut]


def _holdout(report: StoredPerformanceReport | None) -> float | None:
    found = report.reference.get(report.metric) if report else None
    return found.value if found else None


def checked_performances(reports: Reports) -> tuple[CheckedPerformance, ...]:
    """Return what the checks found, the oldest first."""
    found = []
    for version, window, report in reports:
        holdout = _holdout(report)
        is_loss = row_loss_name(report.metric) == metric_name(report.metric)
        known = is_loss and holdout is not None and report.explained is not None
        expected = holdout + report.explained if known else None  # type: ignore[operator]
        found.append(CheckedPerformance(report.window or window, version, expected))
    return tuple(found)


def section(view: ModelView) -> Section:
    """Return the section about performance over time."""
    return Section("Performance", tuple(_blocks(view)))


def _blocks(view: ModelView) -> list[Block]:
    if not view.realised:
        delay = numbers.duration(view.config.target.label_delay)
        return [
            Paragraph(
                f"No labels of live predictions are summed yet. A label counts {delay} after its prediction, and a "
                "check sums what has arrived.",
                quiet=True,
            )
        ]
    metric = view.config.performance.metric
    name, limit = metric_name(metric), view.config.performance.max_degradation
    start, end = view.realised[0].start, view.realised[-1].end
    most, others = of_check.most_answered(view.realised)
    expected = tuple(Point(_middle(each.window), each.expected) for each in view.checked if each.expected is not None)
    series = [(f"version {version}", of_check.points_of(parts)) for version, parts in others.items()]
    if expected:
        series = [("expected from the inputs", expected), *series[: of_check.MAX_OTHERS - 1]]
    marks = tuple(
        Mark(change.time, f"version {change.version}")
        for change in view.deployed
        if change.version is not None and start <= change.time <= end
    )
    chart = Trend(
        name,
        of_check.points_of(most),
        levels=tuple(of_check.levels_of(most, metric, limit)),
        marks=marks,
        unit=name,
        label="realised",
        others=tuple(series),
    )
    bucket = bucket_of((end - start) / DAY)
    sentence = (
        f"{capitalised(name)} by {bucket}, {numbers.span(start, end)}, with its 95% interval; {better(metric)}. The "
        f"dashed levels are each version's holdout, and the limit, which is {numbers.number(limit)} worse."
    )
    if others:
        sentence += f" A {bucket} is drawn of the version that answered most in it; others have lines of their own."
    if expected:
        sentence += (
            " Expected is what the holdout's losses say of each check's inputs. Where realised is worse than expected, "
            "the relation to the target has changed."
        )
    return [Figure(chart, sentence)]


def _middle(window: Window) -> datetime:
    return window.start + (window.end - window.start) / 2
