"""Describe a performance report in the sentences of a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.ledger.wording import format_probability
from keel.monitoring.alarm_words import about_time, evidence_in_words

if TYPE_CHECKING:
    from keel.monitoring.records import StoredPerformanceReport

MIN_WHOLE_PERCENT = 0.01
"""A share below it is shown with a decimal, so that it does not read as 0%."""


def shown_by_the_window(performance: StoredPerformanceReport) -> bool:
    """Whether the window itself shows harm, and not all labels of the version or a live alarm alone."""
    increase, limit, long_run = performance.increase, performance.max_degradation, performance.long_run
    level = long_run.level if long_run is not None else performance.alpha
    if limit is None or level is None or (long_run is None and not performance.alarms):
        return True
    if increase is None or performance.p_value is None:
        return False
    return increase > limit and performance.p_value <= level


def shown_by_long_run(performance: StoredPerformanceReport) -> bool:
    """Whether all labels of the version show harm."""
    found, limit = performance.long_run, performance.max_degradation
    return found is not None and limit is not None and found.lower_bound > 0 and found.increase > limit


def harm_shown(performance: StoredPerformanceReport) -> str:
    """Describe the harm of a report whose status is *degraded*.

    The window shows it, else all labels of the version, else a live alarm.
    """
    if shown_by_the_window(performance):
        return harm_of_the_window(performance)
    if shown_by_long_run(performance) or not performance.alarms:
        return harm_since(performance)
    return harm_by_alarm(performance)


def harm_of_the_window(performance: StoredPerformanceReport) -> str:
    """Describe harm that the window shows."""
    metric = performance.metric
    now, then = performance.current[metric].value, performance.reference[metric].value
    return (
        f"{metric} is {now:.4f}, {performance.increase:.4f} worse than the holdout's {then:.4f} "
        f"on {performance.n:,} labels.{cause_of_change(performance)}"
    )


def harm_since(performance: StoredPerformanceReport) -> str:
    """Describe harm that only all labels of the version show."""
    found, then = performance.long_run, performance.reference[performance.metric].value
    assert found is not None
    return (
        f"Since {found.since:%Y-%m-%d} {performance.metric} is {found.value:.4f}, {found.increase:.4f} worse than the "
        f"holdout's {then:.4f} on {found.n:,} labels (limit {performance.max_degradation:g}; at least "
        f"{found.lower_bound:.4f} worse by a bound that holds at every check). No single window shows it."
    )


def harm_by_alarm(performance: StoredPerformanceReport) -> str:
    """Describe harm that only a live alarm shows."""
    alarm = performance.alarms[0]
    labels = "the labels of an audit sample" if alarm.kind == "audit" else f"{alarm.rows_since:,} labels"
    return (
        f"A live alarm shows harm: since {about_time(alarm.since)} the mean loss is above the holdout's by more than "
        f"is tolerated, on {labels} ({evidence_in_words(alarm)}). The window alone does not show it."
    )


def harm_not_shown(performance: StoredPerformanceReport) -> str:
    """Say what the labels of a window without shown harm do show: the difference, its limit, and how sure it is."""
    metric, increase, limit = performance.metric, performance.increase, performance.max_degradation
    value = performance.current[metric].value
    if increase is None or limit is None or performance.p_value is None:
        return f"Labels show no harm: {metric} is {value:.4f}, {direction(performance)}."
    numbers = (
        f"{metric} is {value:.4f}, {'worse' if increase > 0 else 'better'} by {abs(increase):.4f}, limit {limit:g}"
    )
    p_value = format_probability(performance.p_value)
    if increase <= limit:
        return f"Labels show no harm: {numbers}, on {performance.n:,} labels ({p_value})."
    return f"Labels neither show harm nor exclude it: {numbers}; not shown on {performance.n:,} labels ({p_value})."


def cause_of_change(performance: StoredPerformanceReport) -> str:
    """Split a change of the mean loss into what input drift explains and what is left."""
    change, explained = performance.loss_change, performance.explained
    if change is None or explained is None:
        return ""
    return (
        f" Loss {'rose' if change >= 0 else 'fell'} by {abs(change):.4f}: input drift explains {explained:+.4f}, "
        f"the changed relation {change - explained:+.4f}."
    )


def label_arrival(performance: StoredPerformanceReport) -> str:
    """Describe how many labels there are, where they are too few or missing."""
    if performance.labels_missing:
        matured = f"the {performance.due:,} matured predictions"
        rate = performance.label_rate
        if not rate:
            return f"no label of {matured} has arrived"
        return f"labels of only {rate:{'.0%' if rate >= MIN_WHOLE_PERCENT else '.1%'}} of {matured} have arrived"
    if performance.n:
        return f"{performance.n:,} labels are too few to detect harm"
    return "no labels have arrived yet"


def direction(performance: StoredPerformanceReport) -> str:
    """Return how the metric differs from the holdout's."""
    increase = performance.increase
    if increase is None:
        return "not comparable with the holdout"
    return f"{abs(increase):.4f} {'worse' if increase > 0 else 'better'} than on the holdout"


def capitalised(sentence: str) -> str:
    """Return a sentence with its first letter in upper case."""
    return f"{sentence[0].upper()}{sentence[1:]}"
