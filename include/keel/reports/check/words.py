"""The sentence at the head of a check's page: what is wrong, whether it hurts, what Keel did."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from keel.monitoring.alarm_words import name_of
from keel.monitoring.alarms import HARM_KINDS, Verdict, labels_are_earlier
from keel.monitoring.performance_words import capitalised
from keel.monitoring.records import Action
from keel.reports import numbers
from keel.reports.page import Tag, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.monitoring.records import LiveAlarm, StoredDriftReport, StoredQualityReport
    from keel.reports.check.data import CheckData

TOP_NAMES = 3
"""Columns that a headline names."""


class Trouble(StrEnum):
    """What a check found, the first that applies: broken data hides drift, and harm matters more than its causes."""

    NOT_STORED = "not stored"
    BROKEN_DATA = "broken data"
    BROKEN_LABELS = "broken labels"
    NO_ROWS = "no rows"
    HARM = "harm"
    DRIFT = "drift"
    UNDEFINED = "undefined"
    FAULTS = "faults"
    OUTPUTS = "outputs"
    MISSING_LABELS = "missing labels"
    LABELS = "labels"
    ALARM = "alarm"
    """A live alarm is confirmed, though the window as a whole has not drifted."""
    MONITORING = "monitoring"
    """A live alarm about the monitoring itself."""
    WARN = "warn"
    INSUFFICIENT = "insufficient"
    NONE = "none"


def trouble(data: CheckData) -> Trouble:
    """Return the worst that the reports of a check say."""
    quality, drift, performance, labels = data.quality, data.drift, data.performance, data.labels
    status = performance.status if performance else ""
    found = {
        Trouble.NOT_STORED: quality is None and drift is None and performance is None,
        Trouble.BROKEN_DATA: quality is not None and quality.status == "broken",
        Trouble.BROKEN_LABELS: labels is not None and labels.status == "broken",
        Trouble.NO_ROWS: quality is not None and quality.status == "empty",
        Trouble.HARM: status == "degraded",
        Trouble.DRIFT: drift is not None and drift.status == "drift",
        Trouble.UNDEFINED: status == "undefined",
        Trouble.FAULTS: quality is not None and quality.status == "warn",
        Trouble.OUTPUTS: drift is not None and bool(drift.names("drift", role="output")),
        Trouble.MISSING_LABELS: performance is not None and performance.labels_missing,
        Trouble.LABELS: labels is not None and (labels.status == "warn" or labels.quarantined.hours > 0),
        Trouble.ALARM: bool(_confirmed(data)),
        Trouble.MONITORING: any(each.verdict is Verdict.FAULT for each in data.alarms),
        Trouble.WARN: drift is not None and drift.status == "warn",
        Trouble.INSUFFICIENT: drift is not None and drift.status == "insufficient",
    }
    return next((kind for kind, is_so in found.items() if is_so), Trouble.NONE)


def _confirmed(data: CheckData) -> list[LiveAlarm]:
    """Return the confirmed alarms about columns."""
    return [
        each.alarm for each in data.alarms if each.verdict is Verdict.CONFIRMED and each.alarm.kind not in HARM_KINDS
    ]


def headline(data: CheckData) -> str:
    """Return one sentence that a product owner understands."""
    kind = trouble(data)
    if kind is Trouble.NO_ROWS:
        return _no_rows(data)
    return f"{capitalised(_what(kind, data))}{_hurts(kind, data)}{_done(data)}."


def _what(kind: Trouble, data: CheckData) -> str:
    """Return a clause about what was found."""
    drift = data.drift
    if kind is Trouble.BROKEN_DATA:
        return f"the data is broken{_in_brackets(_faulty(data.quality))}"
    if kind is Trouble.DRIFT and drift is not None:
        return _drifted(drift)
    if kind is Trouble.FAULTS:
        return f"some values are faulty{_in_brackets(_faulty(data.quality))}"
    if kind is Trouble.OUTPUTS and drift is not None:
        return f"what the model answers has changed{_in_brackets(drift.names('drift', role='output'))}"
    if kind is Trouble.LABELS and data.labels is not None:
        return _about_labels(data)
    if kind is Trouble.ALARM:
        return f"a live alarm is confirmed{_in_brackets([name_of(alarm) for alarm in _confirmed(data)])}"
    if kind is Trouble.WARN and drift is not None:
        return f"a little has changed{_in_brackets(drift.names('drift', 'warn') + drift.names('warn', role='output'))}"
    return {
        Trouble.NOT_STORED: "no report of this window is stored",
        Trouble.BROKEN_LABELS: "the labels fail their check, so nothing was concluded from them",
        Trouble.HARM: "predictions are worse than on the holdout",
        Trouble.UNDEFINED: "whether predictions are good cannot be measured",
        Trouble.MISSING_LABELS: "labels are missing, so harm would not be seen",
        Trouble.MONITORING: "the live monitoring has a fault",
        Trouble.INSUFFICIENT: "too few predictions arrived to tell whether something has changed",
    }.get(kind, "nothing has changed" if drift is not None else "no fault was found")


def _drifted(drift: StoredDriftReport) -> str:
    names = drift.names("drift")
    if not names:
        return "the change of the inputs costs more than is allowed"
    n_features = sum(column.role == "feature" for column in drift.features.values())
    verb = "has" if len(names) == 1 else "have"
    return f"{len(names)} of {numbers.count(n_features, 'input')} {verb} changed{_in_brackets(names)}"


def _about_labels(data: CheckData) -> str:
    labels = data.labels
    assert labels is not None
    if labels.quarantined.hours:
        return f"the labels of {numbers.count(labels.quarantined.hours, 'hour')} are quarantined"
    kinds = {finding.kind for finding in labels.findings}
    return "labels arrive late" if kinds == {"late"} else "the labels have changed"


def _faulty(quality: StoredQualityReport | None) -> list[str]:
    return list(dict.fromkeys(finding.column for finding in quality.findings)) if quality else []


def _in_brackets(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = len(names) - TOP_NAMES
    return f" ({', '.join(names[:TOP_NAMES])}{f' and {more} more' if more > 0 else ''})"


def _hurts(kind: Trouble, data: CheckData) -> str:
    """Return a clause about whether it hurts, where the first clause does not say so."""
    performance = data.performance
    if performance is None or kind not in _ABOUT_THE_DATA:
        return ""
    join = ", and " if kind in (Trouble.NONE, Trouble.INSUFFICIENT) else ", but "
    if performance.status == "ok" and labels_are_earlier(data.alarms, performance):
        return ", and there are no labels yet to show whether it hurts"
    if performance.status == "ok":
        return f"{join}predictions are not shown to be worse"
    if performance.labels_missing:
        return ", and the labels that would show harm are missing"
    return ", and there are too few labels to show whether it hurts"


_ABOUT_THE_DATA = frozenset(
    {
        Trouble.DRIFT,
        Trouble.FAULTS,
        Trouble.OUTPUTS,
        Trouble.LABELS,
        Trouble.ALARM,
        Trouble.WARN,
        Trouble.INSUFFICIENT,
        Trouble.NONE,
    }
)


def _no_rows(data: CheckData) -> str:
    quality = data.quality
    if quality is not None and quality.quarantined.rows:
        rows = numbers.count(quality.quarantined.rows, "prediction")
        return f"Nothing was checked, because all {rows} of the window are quarantined."
    if data.decision is not None and data.decision.action is Action.ALL_CLEAR:
        return "Nothing was checked yet, because the version has only just gone into production."
    return "No predictions arrived, so nothing was checked."


DONE = {
    "promoted": ", and a retrained version is better: version {version} was promoted",
    "staged": ", and a retrained version is better: version {version} waits for approval",
    "declined": ", and the retrained version was declined: version {version} stays in production",
    "quarantined": ": Keel quarantined it, and no version learns from it",
    "labels_quarantined": ": Keel quarantined them, and nothing rests on them",
    "released": ": a person has released it from quarantine",
}
"""What Keel did, by outcome, after the clauses about what it found."""


def _done(data: CheckData) -> str:
    decision, outcome = data.decision, data.outcome
    if decision is None:
        return ""
    kind = outcome.outcome if outcome else ""
    if outcome is not None and kind in DONE:
        return DONE[kind].format(version=outcome.version or data.version)
    if outcome is not None and kind == "kept_champion":
        shown = "is not better" if outcome.verdict == "fail" else "was not shown to be better"
        return f", and a retrained version {shown}: version {outcome.version or data.version} stays"
    if decision.action is Action.RETRAIN:
        return f", and a new version {'is being' if data.acted else 'would be'} trained"
    if decision.action is Action.QUARANTINE:
        they = "they are" if trouble(data) is Trouble.BROKEN_LABELS else "it is"
        return f", and {they} being quarantined" if data.acted else f", and {they.split()[0]} would be quarantined"
    return ", and no new version was trained" if trouble(data) is Trouble.HARM else ""


TAGS = {
    "promoted": Tag("retrained and promoted", Tone.GOOD),
    "staged": Tag("waits for approval", Tone.WARN),
    "declined": Tag("promotion declined", Tone.WARN),
    "kept_champion": Tag("retrained, champion kept", Tone.WARN),
    "quarantined": Tag("data quarantined", Tone.BAD),
    "labels_quarantined": Tag("labels quarantined", Tone.BAD),
    "released": Tag("broken, but released", Tone.WARN),
    Action.ALL_CLEAR: Tag("all clear", Tone.GOOD),
    Action.RAISE_ALERT: Tag("needs attention", Tone.WARN),
    Action.RETRAIN: Tag("is being retrained", Tone.WARN),
    Action.QUARANTINE: Tag("data is broken", Tone.BAD),
}
"""The status of a check, by its outcome or its decision's action."""


def status_tag(data: CheckData) -> Tag:
    """Return the check's status in a word or two."""
    if data.outcome is not None and data.outcome.outcome in TAGS:
        return TAGS[data.outcome.outcome]
    if data.decision is not None:
        return TAGS.get(data.decision.action, Tag(str(data.decision.action).replace("_", " ")))
    if trouble(data) is Trouble.NOT_STORED:
        return Tag("not checked")
    fine = trouble(data) in (Trouble.NONE, Trouble.WARN, Trouble.INSUFFICIENT)
    return Tag("all clear", Tone.GOOD) if fine else Tag("needs attention", Tone.WARN)
