"""What all messages have in common: their id, their severity, the alerts they carry, what they answer to."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.alerts.messages.words import NOTHING, ranked, severity_of, started
from keel.alerts.records import ALL_MODELS, AlertLine, Change, Message, News, Notice, Topic
from keel.config import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.config import ModelConfig
    from keel.monitoring.records import Outcome
    from keel.reports.publication import PublishedReport


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
    kind = topic or topic_of(notice)
    words = f"resolved: {subject}" if kind == "resolved" else subject
    is_idle = next(iter(parts.get("todo", ())), "").startswith(NOTHING)
    return Message(
        message_id=notice.message_id,
        model=model,
        topic=kind,
        severity=severity_of(notice.news),
        subject=f"{model}: {words}" if model else started(words, _verbatim(notice)),
        at=now,
        happened=happened,
        runbook=config.alerts.runbook if config and not is_idle else None,
        alerts=tuple(map(line, ranked(notice.news))),
        references=notice.references,
        **parts,
    )


def _verbatim(notice: Notice) -> str:
    """Return the name that a message begins with and that is to be read as it is written, such as a DAG's."""
    first = ranked(notice.news)[0].alert
    return first.subject if first.kind is Kind.PIPELINE_FAILURE else ""


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


def versions(version: int | None, outcome: Outcome | None) -> str | None:
    """Return which version is in production, and what became of the others that an outcome is about."""
    if outcome and outcome.outcome == "rolled_back":
        bad = version if outcome.rolled_back_version is None else outcome.rolled_back_version
        return f"{outcome.version} in production, {bad} was rolled back"
    if outcome is None or outcome.challenger is None:
        return f"{version} in production" if version is not None else None
    champion, challenger = outcome.champion, outcome.challenger
    if challenger == champion:
        return f"{champion} in production, no other was trained"
    if outcome.outcome == "promoted":
        return f"{challenger} in production, {'the first' if champion is None else f'before it {champion}'}"
    if outcome.outcome == "staged":
        return f"{champion} in production, {challenger} staged"
    return f"{champion} in production, challenger {challenger} rejected"


def links(
    *, run_url: str | None = None, report: PublishedReport | None = None, version_url: str | None = None
) -> dict[str, str]:
    """Return where a message leads to: the page first. A page that could not be published says why."""
    page = (report.address or report.problem) if report else None
    return known({"Report": page, "Run in Airflow": run_url, "Version in MLflow": version_url})
