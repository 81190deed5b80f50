"""The message about a check: what it found that people do not know yet, whether it hurts, what Keel did about it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.findings.outcome import requester
from keel.alerts.messages.alerts import resolutions
from keel.alerts.messages.base import known, links, message, owner, topic_of, versions
from keel.alerts.messages.done import became, what_keel_did
from keel.alerts.messages.hurts import does_it_hurt
from keel.alerts.messages.tables import alarms, columns, comparison, faults, label_faults, metrics, over, within
from keel.alerts.messages.todo import after_check, release
from keel.alerts.messages.words import NOTHING, current, headline, some, title, worst
from keel.config import Kind
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.check import CheckData
from keel.reports.check.words import Trouble, trouble
from keel.reports.check.words import headline as of_check

if TYPE_CHECKING:
    from keel.alerts.findings.check import CheckFacts
    from keel.alerts.records import Message, Notice, Table
    from keel.config import ModelConfig
    from keel.monitoring.records import DecisionRecord, Outcome
    from keel.reports.publication import PublishedReport


def compose_check(
    config: ModelConfig,
    notice: Notice,
    facts: CheckFacts,
    *,
    decision: DecisionRecord,
    outcome: Outcome | None,
    now: datetime,
    run_url: str | None = None,
    report: PublishedReport | None = None,
    version_url: str | None = None,
) -> Message:
    """Compose the message about the news of a check, of a request to retrain, and of what followed.

    Parameters
    ----------
    config, notice, facts
        The model, what is new, and what is stored of the check.
    decision, outcome
        What was decided and what it led to; None where no task followed it.
    now
        By the clock.
    run_url, version_url
        The pages of the run in Airflow and of the version in MLflow.
    report
        The page of the check: where it is, or why it could not be published, and its picture.

    """
    data = CheckData(
        config,
        decision.version or 0,
        decision.window,
        quality=facts.quality,
        drift=facts.drift,
        performance=facts.performance,
        labels=facts.labels,
        decision=decision,
        outcome=outcome,
        alarms=tuple(facts.judgements),
    )
    is_over = topic_of(notice) == "resolved"
    subject, happened = _what_happened(data, notice, became(decision, outcome))
    return message(
        config,
        notice,
        subject=subject,
        happened=happened,
        hurts=tuple(does_it_hurt(data)),
        done=tuple([*(resolutions(notice.news) if is_over else what_keel_did(decision, outcome)), *decision.findings]),
        todo=_to_do(data, notice, facts),
        facts=_facts(data),
        evidence=_evidence(data, notice),
        links=links(run_url=run_url, report=report, version_url=version_url),
        picture=report.picture if report and not is_over else None,
        now=now,
    )


def _what_happened(data: CheckData, notice: Notice, followed: str) -> tuple[str, str]:
    """Return the subject and the first sentence. followed: what became of the decision, as a clause."""
    if followed and topic_of(notice) == "event":
        is_asked = data.decision is not None and data.decision.reason is not None
        return followed, f"{capitalised(followed)}." if is_asked else of_check(data)
    short = worst(notice.news)
    return f"{short}; {followed}" if followed else short, f"{capitalised(headline(notice.news))}."


def _evidence(data: CheckData, notice: Notice) -> tuple[Table, ...]:
    is_over = topic_of(notice) == "resolved"
    is_broken = trouble(data) in (Trouble.BROKEN_DATA, Trouble.BROKEN_LABELS)
    return within(
        [
            over(notice.news),
            faults(data.quality) if _is_about(notice, Kind.DATA_QUALITY) else None,
            label_faults(data.labels) if _is_about(notice, Kind.LABEL_QUALITY) else None,
            alarms(data.alarms) if _is_about(notice, Kind.LIVE_ALARM) else None,
            None if is_broken or is_over else columns(data.drift, notice.news, notice.open_alerts),
            comparison(data.outcome),
            None if is_broken else metrics(data.performance),
        ]
    )


def _is_about(notice: Notice, kind: Kind) -> bool:
    return any(each.alert.kind is kind for each in current(notice.news))


def _facts(data: CheckData) -> dict[str, str]:
    quality, decision = data.quality, data.decision
    rows = quality.n if quality else data.drift.n if data.drift else None
    excluded = quality.quarantined if quality else None
    return known(
        {
            "Model": owner(data.config),
            "Version": versions(data.version or None, data.outcome),
            "Window": numbers.span(data.window.start, data.window.end),
            "Data": _amount(rows, data.performance.n if data.performance else None),
            "Quarantined": f"{numbers.count(excluded.rows, 'prediction')} of {numbers.count(excluded.hours, 'hour')}"
            if excluded and excluded.hours
            else None,
            "Requested by": requester(decision) if decision else None,
        }
    )


def _amount(rows: int | None, labels: int | None) -> str | None:
    parts = [numbers.count(n, noun) for n, noun in ((rows, "prediction"), (labels, "label")) if n is not None]
    return ", ".join(parts) or None


def _to_do(data: CheckData, notice: Notice, facts: CheckFacts) -> tuple[str, ...]:
    held = release(notice.news, facts.quarantines)
    if topic_of(notice) != "resolved":
        return (*after_check(data, notice.news), *held)
    return (*held, *_still_open(notice, NOTHING if not held else "Nothing else to do"))


def _still_open(notice: Notice, nothing: str) -> list[str]:
    """Return what is left after something is over."""
    ended = {each.alert.fingerprint for each in notice.news}
    left = [each for each in notice.open_alerts if each.fingerprint not in ended and each.told_at is not None]
    if not left:
        return [f"{nothing}."]
    titles = [title(each) for each in sorted(left, key=lambda each: (-each.severity.level, -each.rank))]
    return [f"{nothing} about this. Still open: {some(titles)}."]
