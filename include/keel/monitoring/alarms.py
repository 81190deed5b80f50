"""Judge live alarms by the reports of a check.

The judgement is pure: it reads no store and no clock. The same reports give the same verdicts, in the decision, in the
message and on the page of the check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from keel.monitoring.alarm_words import about_time, name_of, names_of
from keel.monitoring.decision import Action, Decision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keel.monitoring.records import (
        LiveAlarm,
        StoredDriftReport,
        StoredPerformanceReport,
        StoredQualityReport,
    )
    from keel.window import Window

HARM_KINDS = frozenset({"harm", "audit"})
"""Alarms about the mean loss. Their evidence is a proof by itself, whatever the window shows."""


class Verdict(StrEnum):
    """What a check makes of an alarm."""

    CONFIRMED = "confirmed"
    """The window shows the change, both significant and material; or the alarm shows harm."""
    SMALL = "small"
    """The window shows a change that is too small to act on."""
    NOT_CONFIRMED = "not_confirmed"
    """The window does not show the change."""
    EXPLAINED = "explained"
    """The data or the labels that the alarm rests on are broken and quarantined."""
    RETRAINED = "retrained"
    """The check retrains for another reason, which answers the alarm too."""
    OBSOLETE = "obsolete"
    """The alarm is about a version that is not in production any more."""
    FAULT = "fault"
    """The alarm is about the monitoring itself, and people are notified of it."""
    INSUFFICIENT = "insufficient"
    """Too few rows since the change. The alarm stays open."""
    NOT_EXAMINED = "not_examined"
    """The window tells too little of the time since the change: most of it is earlier, or other data or labels of it
    are broken. The alarm stays open for another check."""

    @property
    def words(self) -> str:
        """What became of the alarm, as a table shows it."""
        return _WORDS[self]


_WORDS = {
    Verdict.CONFIRMED: "confirmed",
    Verdict.SMALL: "a change too small to act on",
    Verdict.NOT_CONFIRMED: "not confirmed",
    Verdict.EXPLAINED: "explained by the broken data",
    Verdict.RETRAINED: "answered by the retraining",
    Verdict.OBSOLETE: "of an earlier version",
    Verdict.FAULT: "a fault of the monitoring",
    Verdict.INSUFFICIENT: "open: too few predictions since",
    Verdict.NOT_EXAMINED: "open: left to another check",
}
LEFT_OPEN = frozenset({Verdict.INSUFFICIENT, Verdict.NOT_EXAMINED})
TOLERATED = frozenset({Verdict.CONFIRMED, Verdict.RETRAINED})
"""After these the mean loss that was judged is tolerated, as it was real. After others the limit stays: a loss on
broken labels that were tolerated would hide every later harm."""


@dataclass(frozen=True)
class Judgement:
    """An alarm and what a check makes of it."""

    alarm: LiveAlarm
    verdict: Verdict

    @property
    def is_judged(self) -> bool:
        """Whether the alarm is closed when the check ends."""
        return self.verdict not in LEFT_OPEN


def judge_alarms(
    alarms: Sequence[LiveAlarm],
    version: int,
    window: Window,
    *,
    quality: StoredQualityReport,
    drift: StoredDriftReport,
    performance: StoredPerformanceReport,
) -> tuple[Judgement, ...]:
    """Judge each alarm by the reports of a window of the version in production."""

    def verdict(alarm: LiveAlarm) -> Verdict:
        if alarm.kind == "fault":
            return Verdict.FAULT
        if alarm.version != version:
            return Verdict.OBSOLETE
        if alarm.kind in HARM_KINDS:
            return _verdict_of_harm(alarm, quality, performance)
        if quality.status == "broken":
            return _verdict_on_broken_data(alarm, quality)
        return _verdict_of_shift(alarm, window, drift)

    return tuple(Judgement(alarm, verdict(alarm)) for alarm in alarms)


def rests_on(alarm: LiveAlarm, start: datetime, end: datetime) -> bool:
    """Return whether some of the time between an alarm's change and its opening lies in start ≤ time < end."""
    return start <= alarm.opened_at and alarm.since < end


def _verdict_on_broken_data(alarm: LiveAlarm, quality: StoredQualityReport) -> Verdict:
    """Broken hours explain what rests on them. They say nothing of an alarm on others, for or against it."""
    is_explained = any(rests_on(alarm, span.start, span.end) for span in quality.spans)
    return Verdict.EXPLAINED if is_explained else Verdict.NOT_EXAMINED


def _verdict_of_harm(alarm: LiveAlarm, quality: StoredQualityReport, performance: StoredPerformanceReport) -> Verdict:
    if alarm.alarm_id in performance.explained_alarms:
        return Verdict.EXPLAINED
    if quality.status == "broken":
        return _verdict_on_broken_data(alarm, quality)
    known = alarm.alarm_id in {each.alarm_id for each in performance.alarms}
    if not known:  # the check of performance was made without it, or on broken labels that it does not rest on
        return Verdict.NOT_EXAMINED
    return Verdict.INSUFFICIENT if quality.status == "empty" else Verdict.CONFIRMED


def _verdict_of_shift(alarm: LiveAlarm, window: Window, drift: StoredDriftReport) -> Verdict:
    column = drift.features.get(alarm.subject)
    if column is not None and column.severity == "drift":
        return Verdict.CONFIRMED
    if not is_examined(alarm, window):
        return Verdict.NOT_EXAMINED
    if drift.status == "insufficient" or (column is not None and column.severity == "insufficient"):
        return Verdict.INSUFFICIENT
    if 2 * alarm.rows_since < drift.n:  # a window begins with a full hour, and of much traffic that is many rows
        return Verdict.NOT_EXAMINED
    return Verdict.SMALL if column is not None and column.severity == "warn" else Verdict.NOT_CONFIRMED


def is_examined(alarm: LiveAlarm, window: Window) -> bool:
    """Return whether at least half of a window's time is later than the alarm's change.

    What is from before a change hides it: what such a window does not show is no evidence against the alarm.
    """
    return window.end - alarm.since >= (window.end - window.start) / 2


def with_alarms(
    decision: Decision,
    judgements: Sequence[Judgement],
    drift: StoredDriftReport,
    performance: StoredPerformanceReport,
) -> Decision:
    """Add to a decision what it makes of the alarms. A confirmed one, and a fault, are never an all clear."""
    sentences = alarm_sentences(judgements, drift)
    if not sentences:
        return decision
    if performance.status == "ok" and labels_are_earlier(judgements, performance):
        sentences.append("The labels are those of earlier predictions: none of the time since has matured.")
    about = list(decision.about)
    for each in judgements:
        if each.verdict is Verdict.FAULT:
            about.append(f"live monitoring: {each.alarm.subject}")
        elif each.verdict is Verdict.CONFIRMED and each.alarm.kind == "shift":
            about.append(f"drift of {each.alarm.subject}")
    action = decision.action
    if action is Action.ALL_CLEAR and about:
        action = Action.RAISE_ALERT
    return Decision(action, " ".join([decision.sentence, *sentences]), tuple(dict.fromkeys(about)))


def labels_are_earlier(judgements: Sequence[Judgement], performance: StoredPerformanceReport) -> bool:
    """Return whether a live alarm is confirmed, and all labels of a report are of predictions from before its change.

    Whatever such labels show, they do not say whether the change does harm.
    """
    shifts = [
        each.alarm.since for each in judgements if each.verdict is Verdict.CONFIRMED and each.alarm.kind == "shift"
    ]
    labelled = performance.window
    return bool(shifts) and labelled is not None and labelled.end <= min(shifts)


def after_retraining(judgements: Sequence[Judgement], action: Action) -> tuple[Judgement, ...]:
    """Return judgements in which a decision to retrain answers the alarms that would stay open.

    An alarm leads to a retraining at most, so none that was known by then can lead to a second one.
    """
    if action is not Action.RETRAIN:
        return tuple(judgements)
    return tuple(each if each.is_judged else replace(each, verdict=Verdict.RETRAINED) for each in judgements)


def alarm_sentences(judgements: Sequence[Judgement], drift: StoredDriftReport) -> list[str]:
    """Return what a check makes of alarms, one sentence for all alarms with the same verdict.

    Harm is told by the decision itself.
    """
    found: dict[Verdict, list[LiveAlarm]] = {}
    for each in judgements:
        if each.verdict is not Verdict.CONFIRMED or each.alarm.kind not in HARM_KINDS:
            found.setdefault(each.verdict, []).append(each.alarm)
    return [
        sentence
        for verdict in Verdict
        if verdict in found
        for sentence in (
            [alarm.sentence for alarm in found[verdict]]
            if verdict is Verdict.FAULT
            else [_sentence(verdict, found[verdict], drift)]
        )
    ]


def _sentence(verdict: Verdict, alarms: Sequence[LiveAlarm], drift: StoredDriftReport) -> str:
    names, since = names_of(alarms), about_time(min(alarm.since for alarm in alarms))
    several = len({name_of(alarm) for alarm in alarms}) > 1
    alarm, has, stays, was, it = (
        ("Live alarms", "have", "stay", "were", "them") if several else ("Live alarm", "has", "stays", "was", "it")
    )
    needed = f", {drift.min_rows:,} are needed" if drift.min_rows is not None else ""
    return {
        Verdict.CONFIRMED: f"{alarm} confirmed: {names} {has} drifted since {since}. Check {it} at the source.",
        Verdict.SMALL: f"{alarm}: {names} {has} changed since {since}, too little to act on.",
        Verdict.NOT_CONFIRMED: f"{alarm} not confirmed: {names} {has} not drifted in {drift.n:,} predictions; the "
        f"estimated start was {since}.",
        Verdict.EXPLAINED: f"What is quarantined explains the {alarm.lower()} on {names} since {since}.",
        Verdict.RETRAINED: f"The retraining answers the {alarm.lower()} on {names} since {since} too.",
        Verdict.OBSOLETE: f"{alarm} on {names} {was} about version {alarms[0].version}, which is not in production any "
        "more.",
        Verdict.INSUFFICIENT: f"{alarm} on {names} {stays} open: {drift.n:,} predictions since {since} are too few to "
        f"judge {it}{needed}.",
        Verdict.NOT_EXAMINED: f"{alarm} on {names} {stays} open: this window tells too little of the time since "
        f"{since}, and it is left to another check.",
    }[verdict]
