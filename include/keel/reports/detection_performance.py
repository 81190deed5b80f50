"""The part of a comparison's page about performance: both sides with intervals, its causes, its course, the labels."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

from keel.monitoring.performance import PerformanceStatus
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.charts.specs import Interval, Intervals, Level, Point, Trend
from keel.reports.metric_words import Z_95, better, causes_chart, limit_of, metric_name
from keel.reports.page import Fact, Figure, Paragraph, Section, Table, Tone

if TYPE_CHECKING:
    from keel.monitoring.frames.comparison import FrameComparison, Side
    from keel.monitoring.performance import PerformanceReport
    from keel.reports.page import Block
    from keel.stats.metrics.losses import Estimate

_TONES = {PerformanceStatus.DEGRADED: Tone.BAD, PerformanceStatus.OK: Tone.GOOD}


def performance_fact(frames: FrameComparison | None) -> Fact | None:
    """Return the performance now with its interval, beside the reference's; None where it is not known."""
    if frames is None or frames.performance is None:
        return None
    measured = frames.performance
    now, then = measured.current.get(measured.metric), measured.reference.get(measured.metric)
    if now is None or not now.defined:
        return Fact("No measure", (metric_name(measured.metric), _too_few(measured)))
    value, before = numbers.alike(now.value, then.value if then is not None else None)
    lines = (
        f"{metric_name(measured.metric)}, {better(measured.metric)}",
        f"95% {numbers.interval(*bounds(now))}",
        f"{frames.reference.label} {before}",
    )
    return Fact(value, lines, _TONES.get(measured.status, Tone.NEUTRAL))


def bounds(estimate: Estimate) -> tuple[float | None, float | None]:
    """Return the 95% interval of an estimate, by the normal quantile; None where it is not defined."""
    if not estimate.defined:
        return None, None
    half = Z_95 * estimate.standard_error
    return estimate.value - half, estimate.value + half


def _too_few(measured: PerformanceReport) -> str:
    return f"{numbers.count(measured.n, 'row')} with a label and a score"


def performance_section(frames: FrameComparison | None) -> tuple[Section, ...]:
    """Return the section about performance and labels; nothing where no target is named."""
    if frames is None or frames.roles.target is None:
        return ()
    blocks: list[Block] = []
    if frames.performance is not None:
        blocks += [Paragraph(_sentence(frames.performance, frames.drift.alpha)), *_both(frames, frames.performance)]
        blocks += _causes(frames.performance)
        blocks += _trend(frames, frames.performance)
    blocks += _labels(frames)
    title = "The target" if frames.performance is None else "Does it hurt?"
    return (Section(title, tuple(blocks)),) if blocks else ()


def _sentence(measured: PerformanceReport, alpha: float) -> str:
    name = capitalised(metric_name(measured.metric))
    if measured.status in (PerformanceStatus.NO_LABELS, PerformanceStatus.INSUFFICIENT):
        return f"{name} is not compared: {_too_few(measured)} are too few."
    if measured.increase is None or measured.standard_error is None:
        return f"{name} is not defined on one of the two sides."
    change = f"{numbers.number(abs(measured.increase))} {'worse' if measured.increase > 0 else 'better'}"
    low = numbers.signed(measured.increase - NormalDist().inv_cdf(1 - alpha) * measured.standard_error)
    sure = numbers.share(1 - alpha)
    if measured.status is PerformanceStatus.DEGRADED:
        tolerated = numbers.number(measured.max_degradation)
        return f"{name} is {change}, more than the tolerated {tolerated}; with {sure} confidence at least {low}."
    if measured.increase <= 0:
        why = ""
    elif measured.increase <= (measured.max_degradation or 0.0):
        why = ", which is tolerated"
    else:
        why = f", which chance may explain: with {sure} confidence the change is only known to be above {low}"
    return f"{name} is {change}{why}. Harm is not shown."


def _both(frames: FrameComparison, measured: PerformanceReport) -> list[Block]:
    metric = measured.metric
    now, then = measured.current.get(metric), measured.reference.get(metric)
    if now is None or then is None or not (now.defined and then.defined):
        return []
    rows = tuple(
        Interval(side.label, estimate.value, *bounds(estimate), detail=numbers.count(estimate.n, "row"))
        for side, estimate in ((frames.reference, then), (frames.current, now))
    )
    limit = limit_of(metric, then.value, measured.max_degradation)
    chart = Intervals(metric_name(metric), rows, line=limit, line_label="limit")
    others = [
        f"{metric_name(name)} {' and '.join(numbers.alike(measured.reference[name].value, estimate.value))}"
        for name, estimate in measured.current.items()
        if name != metric and name in measured.reference and estimate.defined
    ]
    beside = f" Beside it: {'; '.join(others)}." if others else ""
    sentence = (
        f"{capitalised(metric_name(metric))} of both sides with 95% intervals; {better(metric)}. The limit is "
        f"{numbers.number(measured.max_degradation)} worse than {frames.reference.label}.{_dependence(frames)}{beside}"
    )
    return [Figure(chart, sentence)]


ROW_MEANS = frozenset({"brier", "log_loss", "mae"})
"""Metrics that are the mean of the rows' losses, none of which is negative."""


def performance_sentence(frames: FrameComparison) -> str:
    """Return the metric of both sides in a sentence; empty where it is not known."""
    measured = frames.performance
    if measured is None:
        return ""
    now, then = measured.current.get(measured.metric), measured.reference.get(measured.metric)
    if now is None or then is None or not (now.defined and then.defined):
        return ""
    values = numbers.alike(now.value, then.value)
    return (
        f"The {metric_name(measured.metric)} is {values[0]} in {frames.current.label} and {values[1]} in "
        f"{frames.reference.label}; {better(measured.metric)}."
    )


def _dependence(frames: FrameComparison) -> str:
    """Return which rows the intervals let depend on each other; empty without times."""
    sides = [side for side in (frames.reference, frames.current) if side.clusters]
    units = {side.clusters for side in sides}
    if units == {"row"}:
        return " The intervals take rows as independent, because the times span too few hours to allow for more."
    if len(units) == 1:
        return f" Rows of the same {_unit(sides[0])} may depend on each other; the intervals allow for it."
    return "".join(
        f" Rows of {side.label} count as independent, because they span too few hours."
        if side.clusters == "row"
        else f" Rows of {side.label} of the same {_unit(side)} may depend on each other; its interval allows for it."
        for side in sides
    )


def _unit(side: Side) -> str:
    return "six hours" if side.clusters == "6 h" else side.clusters


def _causes(measured: PerformanceReport) -> list[Block]:
    change, explained, unexplained = measured.loss_change, measured.explained, measured.unexplained
    if change is None or explained is None or unexplained is None:
        return []
    then = measured.reference.get(measured.metric)
    if measured.metric in ROW_MEANS and then is not None and then.value + explained < 0:
        return [
            Paragraph(
                "What the changed inputs explain of it cannot be told: the inputs are so correlated, and so far from "
                f"the reference, that their impacts sum to {numbers.signed(explained)}, which no loss can fall by."
            )
        ]
    chart = causes_chart(change, explained, unexplained)
    sentence = (
        f"The mean loss of a row {'rose' if change > 0 else 'fell'} by {numbers.number(abs(change))}. The changed "
        f"inputs explain {numbers.signed(explained)}; the rest, {numbers.signed(unexplained)}, is due to a changed "
        "relation between inputs and target. What correlated inputs share is counted more than once. Right of the line "
        "is worse."
    )
    return [Figure(chart, sentence)]


def _trend(frames: FrameComparison, measured: PerformanceReport) -> list[Block]:
    known = [(period, period.performance) for period in frames.periods if period.performance is not None]
    known = [(period, estimate) for period, estimate in known if estimate.defined]
    if len(known) < 2:
        return []
    points = tuple(
        Point(period.start + (period.end - period.start) / 2, estimate.value, *bounds(estimate), n=estimate.n)
        for period, estimate in known
    )
    then = measured.reference.get(measured.metric)
    levels = []
    if then is not None and then.defined:
        levels.append(Level(then.value, f"{frames.reference.label} {numbers.number(then.value)}"))
        if (limit := limit_of(measured.metric, then.value, measured.max_degradation)) is not None:
            levels.append(Level(limit, f"limit {numbers.number(limit)}"))
    name = metric_name(measured.metric)
    chart = Trend(name, points, tuple(levels), label=frames.current.label)
    sentence = (
        f"{capitalised(name)} by {frames.period} in {frames.current.label}, with 95% intervals; "
        f"{better(measured.metric)}."
    )
    return [Figure(chart, sentence)]


def _labels(frames: FrameComparison) -> list[Block]:
    sides = [side for side in (frames.reference, frames.current) if side.labels is not None]
    if not sides:
        return []
    head = ("Side", "Rows", "With a label", "Mean label")
    binary = all(_is_share(side) for side in sides)
    if binary:
        head = (*head[:3], "Base rate")
    rows = []
    for side in sides:
        labels = side.labels
        assert labels is not None
        mean = numbers.share(labels.mean) if binary else numbers.number(labels.mean)
        labelled = numbers.share(labels.n / labels.rows) if labels.rows else numbers.UNKNOWN
        rows.append((side.label, numbers.count(side.n), labelled, mean))
    return [Table("The labels of both sides", head, tuple(rows), numeric=(1, 2, 3))]


def _is_share(side: Side) -> bool:
    return side.labels is not None and side.labels.binary
