"""Findings of a performance report: harm that labels show, a metric that is not defined, labels that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.findings.judged import NOTHING, Judged, each_of, together
from keel.alerts.findings.quality import LABEL_TESTS
from keel.alerts.records import Finding
from keel.config import Kind, Severity
from keel.monitoring.decision import why_undefined
from keel.monitoring.performance_words import (
    capitalised,
    cause_of_change,
    harm_shown,
    label_arrival,
    shown_by_long_run,
    shown_by_the_window,
)
from keel.stats.label_profile import LabelBaseline
from keel.stats.metrics.losses import NEEDS_BOTH_CLASSES
from keel.stats.sequential.day_clusters import anytime_quantile

if TYPE_CHECKING:
    from keel.monitoring.records import JsonObject, StoredLabelsReport, StoredPerformanceReport

JUDGED = ("ok", "degraded")
"""Statuses of a report whose labels say whether there is harm."""


def judge_performance(
    performance: StoredPerformanceReport | None,
    labels: StoredLabelsReport | None = None,
    *,
    level: float,
    long_run_level: float,
    label_level: float = 1.0,
    is_trusted: bool,
    min_rows: int,
) -> Judged:
    """Judge the performance of a window, and the arrival of its labels.

    Parameters
    ----------
    labels
        The check of the window's labels, which knows those of the version's training and holdout.
    level
        The p-value that the window's own test must reach. A live alarm has a level of its own.
    long_run_level
        The level at which all labels of the version must show harm; never above that of the report.
    label_level
        The p-value that a fault of the labels must reach.
    is_trusted
        Whether neither data nor labels of the window are broken. Else nothing is concluded from the labels.
    min_rows
        Matured predictions from which missing labels are judged.

    """
    if performance is None:
        return NOTHING
    parts = [_arrival(performance, min_rows)]
    if is_trusted:
        parts += [_harm(performance, level, long_run_level), _definition(performance, labels, label_level)]
    return together(parts)


def harm_is_unknown(performance: StoredPerformanceReport | None) -> bool:
    """Return whether no labels say what a drift does."""
    return performance is None or performance.status not in JUDGED


def _harm(performance: StoredPerformanceReport, level: float, long_run_level: float) -> Judged:
    examined = each_of(Kind.PERFORMANCE, [""])
    if performance.status == "ok":
        return Judged((), examined)
    if performance.status != "degraded" or not _is_certain(performance, level, long_run_level):
        return NOTHING
    found = Finding(
        kind=Kind.PERFORMANCE,
        severity=Severity.ERROR,
        sentence=harm_shown(performance).removesuffix(cause_of_change(performance)).rstrip("."),
        rank=performance.increase or 0.0,
        evidence=_numbers(performance),
    )
    return Judged((found,), examined)


def _is_certain(performance: StoredPerformanceReport, level: float, long_run_level: float) -> bool:
    p_value = performance.p_value
    by_window = shown_by_the_window(performance) and p_value is not None and p_value <= level
    return by_window or _is_certain_of_all(performance, long_run_level) or bool(performance.alarms)


def _is_certain_of_all(performance: StoredPerformanceReport, level: float) -> bool:
    """Return whether the bound of all labels shows harm at a smaller level, too: the same bound, of more errors."""
    found = performance.long_run
    if found is None or not shown_by_long_run(performance):
        return False
    if level >= found.level:
        return True
    if level <= 0:
        return False
    errors = anytime_quantile(found.clusters, alpha=level) - anytime_quantile(found.clusters, alpha=found.level)
    return found.lower_bound - errors * found.standard_error > 0


def _numbers(performance: StoredPerformanceReport) -> JsonObject:
    metric, long_run = performance.metric, performance.long_run
    now, then = performance.current.get(metric), performance.reference.get(metric)
    numbers: JsonObject = {
        "metric": metric,
        "value": now.value if now else None,
        "holdout": then.value if then else None,
        "increase": performance.increase,
        "limit": performance.max_degradation,
        "p_value": performance.p_value,
        "n": performance.n,
        "loss_change": performance.loss_change,
        "explained": performance.explained,
        "unexplained": performance.unexplained,
    }
    if long_run is not None and shown_by_long_run(performance):
        numbers |= {"since": long_run.since.isoformat(), "long_run_increase": long_run.increase}
        numbers |= {"long_run_lower_bound": long_run.lower_bound, "long_run_n": long_run.n}
    return {name: value for name, value in numbers.items() if value is not None}


def _definition(performance: StoredPerformanceReport, labels: StoredLabelsReport | None, level: float) -> Judged:
    """Judge whether the metric is defined: labels of one class only are more often a fault than a change.

    With few labels of a rare class they are neither, but chance, which alerts nobody and ends nothing.
    """
    examined = each_of(Kind.LABEL_QUALITY, [performance.metric])
    if performance.status in JUDGED:
        return Judged((), examined)
    if performance.status != "undefined" or _chance_of_one_class(performance, labels) * LABEL_TESTS > level:
        return NOTHING
    found = Finding(
        kind=Kind.LABEL_QUALITY,
        subject=performance.metric,
        severity=Severity.WARNING,
        sentence=why_undefined(performance),
        evidence={"n": performance.n},
    )
    return Judged((found,), examined)


def _chance_of_one_class(performance: StoredPerformanceReport, labels: StoredLabelsReport | None) -> float:
    """Return the probability that the window's labels leave the metric undefined, by the labels of the reference.

    0 where chance is not why: the metric needs no two classes, is not defined on the holdout, or nothing is known of
    the reference's labels.
    """
    metric = performance.metric
    then = performance.reference.get(metric)
    known = labels.reference if labels is not None else None
    if metric not in NEEDS_BOTH_CLASSES or then is None or not then.defined or known is None:
        return 0.0
    labelled = performance.current[metric].n
    # twice: either class can be the one of which there are fewer than two
    return min(1.0, 2 * LabelBaseline.from_dict(known).chance_of_few_others(labelled, most=1))


def _arrival(performance: StoredPerformanceReport, min_rows: int) -> Judged:
    if performance.label_rate is None or performance.due < min_rows:
        return NOTHING
    examined = each_of(Kind.LABELS_MISSING, [""])
    if not performance.labels_missing:
        return Judged((), examined)
    found = Finding(
        kind=Kind.LABELS_MISSING,
        severity=Severity.WARNING,
        sentence=capitalised(label_arrival(performance)),
        rank=1.0 - performance.label_rate,
        evidence={"label_rate": performance.label_rate, "due": performance.due},
    )
    return Judged((found,), examined)
