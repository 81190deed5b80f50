"""Whether what a check found does harm, in sentences: what the labels show, and what the inputs explain of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring.alarms import labels_are_earlier
from keel.monitoring.performance_words import label_arrival, shown_by_the_window
from keel.reports import numbers
from keel.reports.check.performance import found_in_labels, of_labels
from keel.reports.check.words import Trouble, trouble
from keel.reports.metric_words import better, limit_of, metric_name, row_loss_name

if TYPE_CHECKING:
    from keel.monitoring.records import StoredDriftReport, StoredPerformanceReport
    from keel.reports.check import CheckData

NEGLIGIBLE = 1e-4
"""A cost below it is not worth its digits."""


def does_it_hurt(data: CheckData) -> list[str]:
    """Return the answer in one sentence, and the causes in further ones; empty where no check was made."""
    kind = trouble(data)
    if kind is Trouble.NOT_STORED:
        return []
    if kind is Trouble.BROKEN_DATA and data.quality is not None:
        return ["Not known: nothing is concluded from broken data.", data.quality.sentence]
    if kind is Trouble.BROKEN_LABELS and data.labels is not None:
        return ["Not known: nothing is concluded from labels that fail their check.", found_in_labels(data.labels)]
    if kind is Trouble.NO_ROWS:
        return ["Not known: nothing was checked. A fault or a drift is not seen without predictions."]
    return [*_by_labels(data), *_by_inputs(data)]


def _by_labels(data: CheckData) -> list[str]:
    performance = data.performance
    if performance is None:
        return []
    if performance.status == "degraded":
        return _harm(data, performance)
    if performance.status == "ok" and labels_are_earlier(data.alarms, performance):
        then = _no_harm(performance).partition(": ")[2]
        return [f"Not known yet: the labels are of predictions from before the change. Before it, {then}"]
    if performance.status == "ok":
        return [_no_harm(performance)]
    if performance.status == "undefined":
        return [f"Not known: {of_labels(data)}"]
    return [f"Not known: {label_arrival(performance)}."]


def _harm(data: CheckData, performance: StoredPerformanceReport) -> list[str]:
    if not shown_by_the_window(performance):
        return [f"Yes. {of_labels(data)}"]
    metric = performance.metric
    now, then = performance.current[metric].value, performance.reference[metric].value
    value, before, limit = numbers.alike(now, then, limit_of(metric, then, performance.max_degradation))
    name = metric_name(metric)
    sentence = (
        f"Yes: the {name} of version {data.version} is {value}, worse than the {before} of its holdout, on "
        f"{numbers.count(performance.n, 'label')} ({better(metric)}; the limit is {limit})."
    )
    return [sentence, *_causes(performance)]


def _causes(performance: StoredPerformanceReport) -> list[str]:
    change, explained, unexplained = performance.loss_change, performance.explained, performance.unexplained
    if change is None or explained is None or unexplained is None:
        return []
    moved = "rose" if change >= 0 else "fell"
    inputs, relation = numbers.signs(explained, unexplained)
    return [
        f"The mean loss {moved} by {numbers.number(abs(change))}: changed inputs explain {inputs}, and a changed "
        f"relation between inputs and target the other {relation}."
    ]


def _no_harm(performance: StoredPerformanceReport) -> str:
    metric, increase = performance.metric, performance.increase
    now, then = performance.current[metric].value, performance.reference.get(metric)
    value, before = numbers.alike(now, then.value if then else None)
    labels = numbers.count(performance.n, "label")
    name = metric_name(metric)
    if increase is None or performance.max_degradation is None:
        return f"The labels show no harm: the {name} is {value}, on {labels}."
    if increase > performance.max_degradation:
        return f"Not shown: the {name} is {value} and the holdout has {before}, but on {labels} that may be chance."
    if increase > 0:
        limit = numbers.number(performance.max_degradation)
        return f"No: the {name} is {value}, the holdout has {before}, and {limit} worse is tolerated ({labels})."
    return f"No: the {name} is {value}, no worse than the {before} of the holdout, on {labels}."


def _by_inputs(data: CheckData) -> list[str]:
    """Return what the change of the inputs costs by the losses on the holdout, where labels do not say more."""
    drift, performance = data.drift, data.performance
    if drift is None or drift.impact_total is None or (performance is not None and performance.status == "degraded"):
        return []
    if not drift.names("drift", "warn") and drift.impact_limit is None:
        return []
    loss = row_loss_name(performance.metric if performance else data.config.performance.metric)
    return [_cost(drift, loss)]


def _cost(drift: StoredDriftReport, loss: str) -> str:
    total = drift.impact_total or 0.0
    if abs(total) < NEGLIGIBLE:
        return f"By the losses on the holdout, the changed inputs cost hardly anything in the {loss}."
    limit = f"; {numbers.number(drift.impact_limit)} is allowed" if drift.impact_limit is not None else ""
    if total < 0:
        return (
            f"By the losses on the holdout, the changed inputs make predictions easier: {numbers.signed(total)} in the "
            f"{loss}."
        )
    return f"By the losses on the holdout, the changed inputs cost {numbers.signed(total)} in the {loss}{limit}."
