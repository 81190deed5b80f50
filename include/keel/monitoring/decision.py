"""Decide what the three reports of a window lead to: one action, and the sentence that explains it.

The decision is pure: it reads no store and no clock. Its order matters. Broken data comes first, because nothing
measured on it can be trusted. Labels come before drift, because labels show harm itself and drift is only a possible
cause of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from keel.monitoring.performance_words import (
    capitalised,
    harm_not_shown,
    harm_shown,
    label_arrival,
)
from keel.monitoring.records import (
    Action,
    StoredDriftReport,
    StoredEstimate,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.stats.metrics.losses import needed_for
from keel.values.texts import NAME, shown
from keel.window import ceil_hour

__all__ = ["Action", "Decision", "Policy", "decide_action"]

TOP_FEATURES = 3
"""Columns that a sentence names; further ones are counted."""
MISSING_LABELS = "missing labels"
LABELS = "labels"
"""The cause of an alert about the labels themselves."""

Severity = Literal["ok", "insufficient", "warn", "drift"]
Role = Literal["feature", "output"]
LabelRule = Callable[[StoredQualityReport, StoredDriftReport, StoredPerformanceReport, "Policy"], "Decision"]


@dataclass(frozen=True)
class Decision:
    """An action and its reasons."""

    action: Action
    sentence: str
    about: tuple[str, ...] = ()
    """The causes, without numbers."""


@dataclass(frozen=True)
class Policy:
    """What the model's configuration and history allow."""

    can_retrain: bool
    cooldown: timedelta
    window_end: datetime
    last_retrain: datetime | None
    """The end of the window of the last decision to retrain that was carried out, in the data's own time."""
    production_since: datetime | None = None
    """When the version went into production, in the data's own time; needed for a window without rows only."""
    retrained_until: datetime | None = None
    """The end of the window of a decision to retrain that was about the same change, where a live alarm led to that
    decision or leads to this one; None if there was none."""


def decide_action(
    quality: StoredQualityReport,
    drift: StoredDriftReport,
    performance: StoredPerformanceReport,
    policy: Policy,
    labels: StoredLabelsReport | None = None,
) -> Decision:
    """Decide what a window's reports lead to. Every status has a branch.

    labels: None for a report of an earlier release, which did not check them.
    """
    if quality.status == "broken":
        return _quarantine(quality)
    if labels is not None and labels.status == "broken":
        return _quarantine_labels(labels)
    decision = _decide_on_data(quality, drift, performance, policy)
    return decision if labels is None else _with_labels(decision, labels, performance)


def _decide_on_data(
    quality: StoredQualityReport, drift: StoredDriftReport, performance: StoredPerformanceReport, policy: Policy
) -> Decision:
    """Decide without regard to the labels themselves."""
    if quality.status == "empty":
        return _decide_on_no_rows(quality, policy)
    by_labels: dict[str, LabelRule] = {
        "degraded": _decide_on_harm,
        "ok": _decide_without_harm,
        "undefined": _decide_on_undefined_metric,
        "insufficient": _decide_without_labels,
        "no_labels": _decide_without_labels,
    }
    return by_labels[performance.status](quality, drift, performance, policy)


def _quarantine(quality: StoredQualityReport) -> Decision:
    sentence = f"The data is broken: {_findings(quality)}. Quarantining it, so that no version learns from it."
    return Decision(Action.QUARANTINE, sentence, _columns(quality))


def _quarantine_labels(labels: StoredLabelsReport) -> Decision:
    broken = [finding.sentence for finding in labels.findings if finding.status == "broken"]
    sentence = (
        f"Labels fail their check: {_first(broken)}. Nothing was concluded from them. Quarantining "
        "them: no training, comparison, probation or experiment rests on them until a person releases them."
    )
    return Decision(Action.QUARANTINE, sentence, (LABELS,))


def _with_labels(decision: Decision, labels: StoredLabelsReport, performance: StoredPerformanceReport) -> Decision:
    """Add what is wrong with the labels. Without enough sound labels nothing is retrained."""
    reasons = []
    if labels.quarantined.hours:
        reasons.append(
            f"Labels of {labels.quarantined.hours} h are quarantined ({labels.quarantined.rows:,} labels) until a "
            "person releases them"
        )
    warned = [finding for finding in labels.findings if labels.status == "warn"]
    if changed := [finding.sentence for finding in warned if finding.kind != "late"]:
        reasons.append(f"The labels have changed: {_first(changed)}")
    late = [finding.sentence for finding in warned if finding.kind == "late"]
    if late and not performance.labels_missing:  # missing labels are told already
        reasons.append(capitalised(_first(late)))
    if not reasons:
        return decision
    action, why = decision.action, decision.sentence
    if action is Action.RETRAIN and labels.quarantined.hours and performance.status in ("no_labels", "insufficient"):
        action, why = Action.RAISE_ALERT, why.removesuffix(" Retraining.")
        reasons.append("No retraining on the labels that are left")
    if action is Action.ALL_CLEAR:
        action = Action.RAISE_ALERT
    return Decision(action, f"{why} {'. '.join(reasons)}.", (*decision.about, LABELS))


def _first(sentences: Sequence[str]) -> str:
    """Return the first sentences, and the number of the others."""
    more = len(sentences) - TOP_FEATURES
    return "; ".join(sentences[:TOP_FEATURES]) + (f"; and {more} more" if more > 0 else "")


def _decide_on_no_rows(quality: StoredQualityReport, policy: Policy) -> Decision:
    if rows := quality.quarantined.rows:
        sentence = f"Nothing was checked: all {rows:,} predictions of the window are in quarantined hours."
        return Decision(Action.RAISE_ALERT, sentence, ("all quarantined",))
    since = policy.production_since
    # Windows end on full hours, so one may end up to an hour after the promotion.
    if since is not None and ceil_hour(since) >= policy.window_end:
        sentence = f"Nothing was checked: the version is in production since {since:%Y-%m-%d %H:%M} UTC, and no full "
        return Decision(Action.ALL_CLEAR, f"{sentence}hour of the window is later.")
    sentence = "Nothing was checked: no prediction of the production version arrived in the window."
    return Decision(Action.RAISE_ALERT, sentence, ("no predictions",))


def _decide_on_harm(
    quality: StoredQualityReport, drift: StoredDriftReport, performance: StoredPerformanceReport, policy: Policy
) -> Decision:
    harm = harm_shown(performance)
    if performance.labels_missing:
        return _retrain_or_alert(f"{harm} {capitalised(label_arrival(performance))}.", policy, ("harm", MISSING_LABELS))
    return _retrain_or_alert(harm, policy, ("harm",))


def _decide_without_harm(
    quality: StoredQualityReport, drift: StoredDriftReport, performance: StoredPerformanceReport, policy: Policy
) -> Decision:
    labels = harm_not_shown(performance)
    missing = (MISSING_LABELS,) if performance.labels_missing else ()
    if missing:
        labels = f"{labels} But {label_arrival(performance)}."
    if drift.status == "drift":
        sentence = f"{_drifted(drift)}. {labels} Check the inputs; retraining is not needed."
        return Decision(Action.RAISE_ALERT, sentence, (*_moved(drift), *missing))
    if faults := _faults_without_drift(quality, drift, labels):
        return Decision(faults.action, faults.sentence, (*faults.about, *missing))
    if missing:
        return Decision(Action.RAISE_ALERT, f"{labels} {_about_inputs(drift)}", missing)
    return Decision(Action.ALL_CLEAR, f"{labels} {_about_inputs(drift)}")


def _faults_without_drift(quality: StoredQualityReport, drift: StoredDriftReport, labels: str) -> Decision | None:
    """Alert people to faults of the data and to drift of the outputs, where the window as a whole has not drifted."""
    outputs = _names(drift, "drift", role="output")
    if not outputs and quality.status != "warn":
        return None
    sentences = [
        *([f"{_findings(quality)}."] if quality.status == "warn" else []),
        *([f"The model's outputs have drifted ({outputs})."] if outputs else []),
        labels,
        *(["Check the model's inputs."] if outputs else []),
    ]
    about = (*(_columns(quality) if quality.status == "warn" else ()), *_moved(drift))
    return Decision(Action.RAISE_ALERT, " ".join(sentences), about)


def _decide_on_undefined_metric(
    quality: StoredQualityReport, drift: StoredDriftReport, performance: StoredPerformanceReport, policy: Policy
) -> Decision:
    """Labels of one class only are more often a fault than a change, so not even drift leads to a retrain."""
    why = why_undefined(performance)
    about: tuple[str, ...] = ("undefined metric",)
    if performance.labels_missing:
        why, about = f"{why} {capitalised(label_arrival(performance))}.", (*about, MISSING_LABELS)
    if drift.status == "drift":
        check = "inputs" if _is_unmeasured(performance) else "labels"
        sentence = f"{_drifted(drift)}. {why} Check the {check} before retraining."
        return Decision(Action.RAISE_ALERT, sentence, (*about, *_moved(drift)))
    if faults := _faults_without_drift(quality, drift, why):
        return Decision(faults.action, faults.sentence, (*about, *faults.about))
    return Decision(Action.RAISE_ALERT, f"{why} {_about_inputs(drift)}", about)


def _is_unmeasured(performance: StoredPerformanceReport) -> bool:
    """Return whether the version was not measured by the metric, as after a change of the configuration."""
    return not performance.reference[performance.metric].n


def why_undefined(performance: StoredPerformanceReport) -> str:
    """Say why harm was not evaluated, of a report whose status is *undefined*, and what to do about it."""
    metric = performance.metric
    if _is_unmeasured(performance):
        measured = ", ".join(sorted(name for name, found in performance.reference.items() if found.n))
        return (
            f"Harm was not evaluated: this version was not measured by {metric} on its holdout, but by {measured}. "
            f"Set performance.metric back, or train a version, which is then measured by {metric}."
        )
    sides: tuple[tuple[str, StoredEstimate], ...] = (
        ("window", performance.current[metric]),
        ("holdout", performance.reference[metric]),
    )
    where = " and on ".join(f"the {side}'s {found.n:,} labels" for side, found in sides if not found.defined)
    return f"Harm was not evaluated: {metric} is not defined on {where} (it needs {needed_for(metric)})."


def _decide_without_labels(
    quality: StoredQualityReport, drift: StoredDriftReport, performance: StoredPerformanceReport, policy: Policy
) -> Decision:
    labels = f"{capitalised(label_arrival(performance))}."
    missing = (MISSING_LABELS,) if performance.labels_missing else ()
    if drift.status == "drift":
        return _retrain_or_alert(f"{_drifted(drift)}. {labels}", policy, (*_moved(drift), *missing))
    if faults := _faults_without_drift(quality, drift, labels):
        return Decision(faults.action, faults.sentence, (*faults.about, *missing))
    if missing:
        sentence = f"{labels} Without labels harm is not detected. {_about_inputs(drift)}"
        return Decision(Action.RAISE_ALERT, sentence, missing)
    return Decision(Action.ALL_CLEAR, f"{labels} {_about_inputs(drift)}")


def _retrain_or_alert(why: str, policy: Policy, about: tuple[str, ...]) -> Decision:
    if not policy.can_retrain:
        return Decision(Action.RAISE_ALERT, f"{why} No retraining: the model has none configured.", about)
    if policy.retrained_until is not None:
        sentence = (
            f"{why} No second retraining for the same change: the check up to {policy.retrained_until:%Y-%m-%d %H:%M} "
            "UTC led to one."
        )
        return Decision(Action.RAISE_ALERT, sentence, about)
    if policy.last_retrain is not None:
        ready = policy.last_retrain + policy.cooldown
        if policy.last_retrain <= policy.window_end < ready:
            sentence = f"{why} No retraining before {ready:%Y-%m-%d %H:%M} UTC: the last retrain is cooling down."
            return Decision(Action.RAISE_ALERT, sentence, about)
    return Decision(Action.RETRAIN, f"{why} Retraining.", about)


def _about_inputs(drift: StoredDriftReport) -> str:
    """Describe what moved in a window that has not drifted as a whole, in sentences."""
    sentences = {
        "ok": "No input has drifted.",
        "warn": _warnings(drift),
        "insufficient": f"Inputs were not checked: {drift.n:,} rows are too few.",
    }
    return sentences[drift.status]


def _warnings(drift: StoredDriftReport) -> str:
    described = (
        ("Too few inputs have drifted to act on", _names(drift, "drift")),
        ("Inputs moved a little", _names(drift, "warn")),
        ("The model's outputs have moved", _names(drift, "drift", "warn", role="output")),
    )
    return " ".join(f"{words} ({names})." for words, names in described if names)


def _drifted(drift: StoredDriftReport) -> str:
    names, outputs = _names(drift, "drift"), _names(drift, "drift", role="output")
    features = f"{drift.count} ({names})" if names else drift.count
    if outputs:
        features = f"{features}, and so have the model's outputs ({outputs})"
    if drift.impact_limit is None or drift.impact_total is None:
        return features
    return f"{features}; the inputs' change costs {drift.impact_total:.4f} of the loss, limit {drift.impact_limit:g}"


def _names(drift: StoredDriftReport, *severities: Severity, role: Role = "feature") -> str:
    found = [shown(name, NAME) for name in drift.names(*severities, role=role)]
    more = len(found) - TOP_FEATURES
    return ", ".join(found[:TOP_FEATURES]) + (f" and {more} more" if more > 0 else "")


def _moved(drift: StoredDriftReport) -> tuple[str, ...]:
    """Return the drift of each feature and output as a cause; features count only where the window has drifted."""
    features = drift.names("drift") if drift.status == "drift" else []
    names = (*sorted(features), *sorted(drift.names("drift", role="output")))
    return (*(f"drift of {name}" for name in names), *(("impact",) if drift.impact_limit is not None else ()))


def _columns(quality: StoredQualityReport) -> tuple[str, ...]:
    return tuple(sorted({f"quality of {finding.column}" for finding in quality.findings}))


def _findings(quality: StoredQualityReport) -> str:
    sentences = [f"{finding.column}: {finding.sentence.rstrip('.')}" for finding in quality.findings]
    more = len(sentences) - TOP_FEATURES
    return "; ".join(sentences[:TOP_FEATURES]) + (f"; and {more} more" if more > 0 else "")
