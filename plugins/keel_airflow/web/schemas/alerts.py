"""Alerts and silences, as answers have them."""

from __future__ import annotations

from typing import Any

from keel_airflow.web.schemas.common import Answer, AnswerTime


class Alert(Answer):
    """An alert, from the first window that shows it to its end."""

    alert_id: str
    fingerprint: str
    """The same for every alert about the same trouble."""
    model: str
    kind: str
    subject: str
    """What it is about, such as a column; empty for the model as a whole."""
    severity: str
    state: str
    """pending, firing, acknowledged or resolved."""
    sentence: str
    evidence: dict[str, Any]
    first_seen: AnswerTime
    last_seen: AnswerTime
    fired_at: AnswerTime | None
    resolved_at: AnswerTime | None
    resolution: str | None
    """Why it is over."""
    acknowledged_by: str | None
    inhibited_by: str | None
    """Fingerprint of the alert that explains it."""
    silenced_by: str | None
    """Id of the silence that covers it now."""


class Silence(Answer):
    """Alerts of which nobody is told for a time."""

    silence_id: str
    model: str
    """Empty: every model."""
    kind: str | None
    """None: every kind."""
    subject: str | None
    """A shell pattern; none: every subject."""
    start: AnswerTime | None
    until: AnswerTime
    actor: str
    reason: str


class Alerts(Answer):
    """The alerts of a model, and the silences that last or are planned."""

    model: str
    alerts: list[Alert]
    silences: list[Silence]
