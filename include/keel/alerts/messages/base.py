"""What all messages have in common: their id, their severity, the alerts they carry, what they answer to."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from keel.alerts.messages.words import ranked, severity_of
from keel.alerts.records import ALL_MODELS, AlertLine, Change, Message, News, Notice
from keel.reports import numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.config import ModelConfig

Topic = Literal["alert", "resolved", "event", "approval", "failure", "digest", "test"]


def message(
    config: ModelConfig | None,
    notice: Notice,
    *,
    topic: Topic | None = None,
    subject: str,
    happened: str,
    now: datetime,
    **parts: Any,
) -> Message:
    """Return a message about a notice. config: None for what concerns no single model. parts: of `Message`."""
    model = config.model if config else ALL_MODELS
    return Message(
        message_id=notice.message_id,
        model=model,
        topic=topic or topic_of(notice),
        severity=severity_of(notice.news),
        subject=f"{model or 'Keel'}: {subject}",
        at=now,
        happened=happened,
        runbook=config.alerts.runbook if config else None,
        alerts=tuple(map(line, ranked(notice.news))),
        references=notice.references,
        **parts,
    )


def topic_of(notice: Notice) -> Topic:
    """Return what a message is, from the news it tells."""
    changes = {each.change for each in notice.news}
    if changes == {Change.RESOLVED}:
        return "resolved"
    return "event" if changes <= {Change.EVENT, Change.RESOLVED} else "alert"


def line(news: News) -> AlertLine:
    """Return one change of an alert, for channels that know of alerts."""
    alert = news.alert
    return AlertLine(
        fingerprint=alert.fingerprint,
        kind=alert.kind,
        subject=alert.subject,
        severity=alert.severity,
        change=news.change,
        sentence=alert.sentence,
        first_seen=alert.first_seen,
        evidence=alert.evidence,
    )


def owner(config: ModelConfig | None) -> str | None:
    """Return the model with its owner; None for no single model."""
    return f"{config.model} (owner: {config.owner})" if config else None


def known(values: Mapping[str, str | None]) -> dict[str, str]:
    """Return the facts or links that have a value.

    >>> known({"Model": "taxi", "Runbook": None})
    {'Model': 'taxi'}
    """
    return {label: value for label, value in values.items() if value}


def lasted(news: News) -> str:
    """Return how long what is over lasted; empty where it is not known."""
    return numbers.duration(news.lasted) if news.lasted is not None else ""
