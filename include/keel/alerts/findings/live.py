"""Findings about live alarms that no report of the window tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.findings.harm import harm_is_unknown
from keel.alerts.findings.judged import Judged
from keel.alerts.records import Examined, Finding
from keel.config import Kind, Severity
from keel.monitoring.alarm_words import evidence_in_words
from keel.monitoring.alarms import HARM_KINDS, Judgement, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from keel.monitoring.records import LiveAlarm, StoredPerformanceReport


def confirmed_columns(judgements: Sequence[Judgement]) -> frozenset[str]:
    """Return the columns of which a live alarm is confirmed."""
    return frozenset(
        each.alarm.subject for each in judgements if each.verdict is Verdict.CONFIRMED and each.alarm.kind == "shift"
    )


def urgent_columns(judgements: Sequence[Judgement], performance: StoredPerformanceReport | None) -> frozenset[str]:
    """Return those of the confirmed columns whose alarm no labels speak of, as all of them are of earlier predictions.

    That is what a live monitor is for: people hear of the change before its labels arrive.
    """
    known = performance.window.end if performance and performance.window and not harm_is_unknown(performance) else None
    return frozenset(
        each.alarm.subject
        for each in judgements
        if each.alarm.subject in confirmed_columns([each]) and (known is None or known <= each.alarm.since)
    )


def judge_alarms(judgements: Sequence[Judgement], *, told: Collection[str], harm_is_told: bool) -> Judged:
    """Judge the alarms of a check: a confirmed one that is no finding already, and a fault of the monitoring.

    A check judges an alarm once. What it says of one is therefore an error, which is told at once.

    told: columns that the drift report is a finding about. harm_is_told: whether the performance report is one.
    """

    def is_news(each: Judgement) -> bool:
        if each.verdict is not Verdict.CONFIRMED:
            return each.verdict is Verdict.FAULT
        return not harm_is_told if each.alarm.kind in HARM_KINDS else each.alarm.subject not in told

    findings = tuple(_finding(each.alarm) for each in judgements if is_news(each))
    return Judged(tuple({found.subject: found for found in findings}.values()), (Examined(kind=Kind.LIVE_ALARM),))


def _finding(alarm: LiveAlarm) -> Finding:
    words = evidence_in_words(alarm)
    return Finding(
        kind=Kind.LIVE_ALARM,
        subject=alarm.subject,
        severity=Severity.ERROR,
        sentence=alarm.sentence.rstrip("."),
        rank=float(alarm.rows_since),
        evidence={"since": alarm.since.isoformat(), **({"evidence": words} if words else {})},
    )
