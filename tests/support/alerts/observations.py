"""Observations of sources, and plain messages about them, for the tests of the door and of what comes behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from keel.alerts.messages.plain import plain
from keel.alerts.records import Examined, Finding, Message, Notice, Observation
from keel.config import Kind, ModelConfig, Severity
from tests.support.toy import toy_config

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


def alerting(model: str = "toy", **alerts: Any) -> ModelConfig:
    """Return a model that tells one person by mail, of warnings weekly."""
    return toy_config(model=model, alerts={"email": ["ann@example.com"], **alerts})


def finding(kind: Kind = Kind.PERFORMANCE, subject: str = "", severity: Severity = Severity.ERROR) -> Finding:
    name = f"{kind.replace('_', ' ')} of {subject or 'the model'}"
    return Finding(kind=kind, subject=subject, severity=severity, sentence=f"{name} is not what it was")


def drift(column: str = "x") -> Finding:
    return finding(Kind.DATA_DRIFT, column, Severity.WARNING)


def seen(
    *findings: Finding, at: datetime = MONDAY, model: str = "toy", source: str = "check", name: str = ""
) -> Observation:
    """Return what a check saw that was able to judge performance, drift and whether there are predictions."""
    kinds = (Kind.PERFORMANCE, Kind.DATA_DRIFT, Kind.NO_PREDICTIONS)
    return Observation(
        observation_id=name or f"{source}-{model}-{at.isoformat()}",
        model=model,
        source=source,
        at=at,
        findings=findings,
        examined=tuple(Examined(kind=kind) for kind in kinds),
    )


def told_plainly(notice: Notice) -> Message:
    model = notice.news[0].alert.model
    return plain(alerting(model) if model else None, notice, now=MONDAY)
