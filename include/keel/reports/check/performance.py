"""Whether it hurts: performance over time, the change of the loss by its causes, all labels of the version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.ledger.wording import format_probability
from keel.monitoring.alarms import labels_are_earlier
from keel.monitoring.performance_words import (
    capitalised,
    harm_not_shown,
    harm_shown,
    label_arrival,
)
from keel.reports import numbers
from keel.reports.charts.specs import Level, Mark, Point, Trend
from keel.reports.check.history import bucket_of
from keel.reports.check.words import Trouble, trouble
from keel.reports.metric_words import Z_95, better, causes_chart, limit_of, metric_name
from keel.reports.page import Fact, Figure, Paragraph, Section, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keel.monitoring.records import StoredLabelsReport, StoredPerformanceReport
    from keel.reports.check.data import CheckData
    from keel.reports.check.history import Measured
    from keel.reports.page import Block


MAX_OTHERS = 4
"""Versions beside the one that answered most, in a chart."""


def lead(data: CheckData) -> str:
    """Return the sentence below the headline: the fault that was found, or else what the labels show."""
    kind, quality, labels = trouble(data), data.quality, data.labels
    shown = of_labels(data)
    if kind is Trouble.BROKEN_DATA and quality is not None:
        return quality.sentence
    if kind is Trouble.BROKEN_LABELS and labels is not None:
        return found_in_labels(labels)
    if kind is Trouble.NO_ROWS:
        return data.decision.sentence if data.decision else quality.sentence if quality else ""
    if kind is Trouble.FAULTS and quality is not None:
        return f"{quality.sentence} {shown}".strip()
    if kind is Trouble.LABELS and labels is not None and labels.findings:
        return f"{found_in_labels(labels)} {shown}".strip()
    return shown


def found_in_labels(labels: StoredLabelsReport) -> str:
    """Return the worst fault of the labels, and how many more there are."""
    more = len(labels.findings) - 1
    return f"{capitalised(labels.findings[0].sentence.rstrip('.'))}.{f' And {more} more.' if more > 0 else ''}"


def of_labels(data: CheckData) -> str:
    """Return what the labels show, in the words of a decision."""
    performance = data.performance
    if performance is None:
        return ""
    if performance.status == "degraded":
        text = harm_shown(performance)
    elif performance.status == "ok":
        text = harm_not_shown(performance)
        if labels_are_earlier(data.alarms, performance):
            text += " These labels are of predictions from before the change, and none of the time since has arrived."
    elif performance.status == "undefined":
        text = f"{performance.metric} is not defined on these labels, or was not measured on the holdout."
    else:
        text = f"{label_arrival(performance)}."
    return capitalised(with_metric_names(text, performance.metric))


def with_metric_names(text: str, metric: str) -> str:
    """Return a sentence of a decision with the name of its metric in place of the key.

    >>> with_metric_names("Labels show no harm: brier is 0.15, better by 0.01.", "brier")
    'Labels show no harm: Brier score is 0.15, better by 0.01.'
    """
    return text.replace(f"{metric} is ", f"{metric_name(metric)} is ")


def metric_of(data: CheckData) -> str:
    """Return the metric that the check measured; where it measured none, the one that is configured now."""
    return data.performance.metric if data.performance else data.config.performance.metric


def fact(data: CheckData) -> Fact:
    """Return the performance with its interval beside the baseline and the limit."""
    performance = data.performance
    if performance is None:
        return Fact("Not measured", ("no report of performance is stored",))
    metric = performance.metric
    now = performance.current.get(metric)
    if now is None or now.value is None:
        undefined = performance.status == "undefined"
        why = "is not defined on these labels" if undefined else capitalised(label_arrival(performance))
        return Fact("No measure", (metric_name(metric), why))
    lower, upper = interval(data, performance)
    baseline, limit = _baseline(performance), _limit(performance)
    value, *beside = numbers.alike(now.value, baseline, limit)
    lines = [f"{metric_name(metric)}, {numbers.count(performance.n, 'label')}"]
    if lower is not None and upper is not None:
        lines.append(f"95% {numbers.interval(lower, upper)}")
    if baseline is not None:
        lines.append(f"holdout {beside[0]}" + (f", limit {beside[1]}" if limit is not None else ""))
    if what := broken(data):
        return Fact(value, (*lines, f"but the {what} broken"))
    tone = {"degraded": Tone.BAD, "ok": Tone.GOOD}.get(performance.status, Tone.NEUTRAL)
    return Fact(value, tuple(lines), tone)


def broken(data: CheckData) -> str:
    """Return what is broken, with its verb, so that no number measured on it counts; empty where nothing is."""
    return {Trouble.BROKEN_DATA: "data is", Trouble.BROKEN_LABELS: "labels are"}.get(trouble(data), "")


def interval(data: CheckData, performance: StoredPerformanceReport) -> tuple[float | None, float | None]:
    """Return the 95% interval of a window's metric: for dependent rows where their sums are known."""
    if data.measured is not None and data.measured.lower is not None:
        return data.measured.lower, data.measured.upper
    now = performance.current.get(performance.metric)
    if now is None or now.value is None or now.standard_error is None:
        return None, None
    return now.value - Z_95 * now.standard_error, now.value + Z_95 * now.standard_error


def _baseline(performance: StoredPerformanceReport) -> float | None:
    found = performance.reference.get(performance.metric)
    return found.value if found else None


def _limit(performance: StoredPerformanceReport) -> float | None:
    """Return the value of the metric from which a shown difference is harm."""
    return limit_of(performance.metric, _baseline(performance), performance.max_degradation)


def section(data: CheckData) -> Section:
    """Return the section about performance."""
    performance = data.performance
    if performance is None:
        return Section("Does it hurt?", (Paragraph("No report of performance is stored for this window."),))
    blocks: list[Block] = []
    if labelled := performance.window:
        delay = numbers.duration(data.window.end - labelled.end)
        blocks.append(
            Paragraph(
                f"The labels are of the predictions of {numbers.span(labelled.start, labelled.end)}, because a label "
                f"needs {delay} to arrive.",
                quiet=True,
            )
        )
    if what := broken(data):
        why = f"The {what} broken, so nothing was concluded from the numbers of this window."
        return Section("Does it hurt?", (Paragraph(why), *_trend(data), *blocks))
    causes = _causes(performance, data.config.target.name)
    blocks = [*_trend(data), *blocks, *_which_test(data, performance), *causes, *_long_run(performance)]
    return Section("Does it hurt?", tuple(blocks or [Paragraph(of_labels(data))]))


def _which_test(data: CheckData, performance: StoredPerformanceReport) -> list[Block]:
    """Say what the decision rests on, where the interval beside it seems to say something else."""
    lower, upper = interval(data, performance)
    limit, p_value = _limit(performance), performance.p_value
    if performance.status != "degraded" or lower is None or upper is None or limit is None:
        return []
    if not lower < limit < upper:
        return []
    between = numbers.interval(lower, upper)
    return [
        Paragraph(
            f"The check decides by these {numbers.count(performance.n, 'label')}, each counted as independent "
            f"({format_probability(p_value)}). Days differ: for other days like these, the 95% interval is "
            f"{between}, which includes the limit."
        )
    ]


def _trend(data: CheckData) -> list[Block]:
    if not data.series:
        return [Paragraph(data.without_series, quiet=True)] if data.without_series else []
    if len(data.series) < 2:
        return [
            Paragraph(
                "These are the first labels that were measured: there is no earlier time to compare with.", quiet=True
            )
        ]
    metric = metric_of(data)
    name, limit = metric_name(metric), data.config.performance.max_degradation
    if data.performance is not None and data.performance.max_degradation is not None:
        limit = data.performance.max_degradation
    series = without_short_start(data.series)
    start, end = series[0].start, series[-1].end
    most, others = most_answered(series)
    marks = tuple(
        Mark(change.time, f"version {change.version}")
        for change in data.deployed
        if change.version is not None and start <= change.time <= end
    )
    chart = Trend(
        name=name,
        points=points_of(most),
        levels=tuple(levels_of(most, metric, limit)),
        marks=marks,
        label="in production",
        others=tuple((f"version {version}", points_of(parts)) for version, parts in others.items()),
    )
    window = (data.performance.window if data.performance else None) or data.window
    bucket, _ = bucket_of(window)
    sentence = (
        f"{capitalised(name)} by {bucket} from {numbers.span(start, end)}, with 95% intervals; {better(metric)}. The "
        f"lines are each version's holdout, and the limit, which is {numbers.number(limit)} worse."
    )
    return [Figure(chart, sentence)]


def without_short_start(series: Sequence[Measured]) -> Sequence[Measured]:
    """Return measures without the first ones that are shorter than half of the longest: a day tells little of a week.

    Its wide interval would take the axis from all others.
    """
    longest = max(part.end - part.start for part in series)
    first = next(i for i, part in enumerate(series) if part.end - part.start > longest / 2)
    return series[first:]


def points_of(parts: Sequence[Measured]) -> tuple[Point, ...]:
    """Return measures as points in the middle of their time."""
    return tuple(
        Point(part.start + (part.end - part.start) / 2, part.value, part.lower, part.upper, part.n) for part in parts
    )


def most_answered(series: Sequence[Measured]) -> tuple[list[Measured], dict[int, list[Measured]]]:
    """Return of each bucket the version with most labels, and the others by version, as those of an experiment."""
    most: dict[datetime, Measured] = {}
    for part in series:
        if part.start not in most or part.n > most[part.start].n:
            most[part.start] = part
    others: dict[int, list[Measured]] = {}
    for part in series:
        if most[part.start] is not part:
            others.setdefault(part.version, []).append(part)
    shown = sorted(others, key=lambda version: -len(others[version]))[:MAX_OTHERS]
    return list(most.values()), {version: others[version] for version in sorted(shown)}


def levels_of(series: Sequence[Measured], metric: str, limit: float) -> list[Level]:
    """Return each version's baseline and limit, for as long as it answered. limit: the tolerated degradation."""
    levels = []
    for version in dict.fromkeys(part.version for part in series):
        parts = [part for part in series if part.version == version]
        baseline = next((part.holdout for part in parts if part.holdout is not None), None)
        worst = limit_of(metric, baseline, limit)
        if baseline is not None:
            levels.append(Level(baseline, f"holdout {numbers.number(baseline)}", parts[0].start, parts[-1].end))
        if worst is not None:
            levels.append(Level(worst, f"limit {numbers.number(worst)}", parts[0].start, parts[-1].end))
    return levels


def _causes(performance: StoredPerformanceReport, target: str) -> list[Block]:
    change, explained, unexplained = performance.loss_change, performance.explained, performance.unexplained
    if change is None or explained is None or unexplained is None:
        return []
    chart = causes_chart(change, explained, unexplained, against="the holdout")
    moved = "rose" if change >= 0 else "fell"
    sentence = (
        f"The mean loss {moved} by {numbers.number(abs(change))} against the holdout. The inputs' drift explains "
        f"{numbers.signed(explained)} of it, and {numbers.signed(unexplained)} comes from a changed relation between "
        f"inputs and target ({target}). Right of the line is worse."
    )
    return [Figure(chart, sentence)]


def _long_run(performance: StoredPerformanceReport) -> list[Block]:
    found = performance.long_run
    if found is None:
        return []
    worse = "worse" if found.increase > 0 else "better"
    value = numbers.number(found.value)
    text = (
        f"All {numbers.count(found.n, 'label')} of this version since {numbers.time(found.since)}: "
        f"{metric_name(performance.metric)} is {value}, {numbers.number(abs(found.increase))} {worse} than on the "
        "holdout."
    )
    if found.lower_bound > 0:
        text += f" It is at least {numbers.number(found.lower_bound)} worse, by a bound that holds at every check."
    elif found.increase > 0:
        text += " That it is worse at all is not shown, by a bound that holds at every check."
    return [Paragraph(text)]
