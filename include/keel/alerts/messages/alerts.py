"""The message about alerts of whatever kind, from these alone: overdue checks, channels, live monitors, reminders."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.base import known, message, owner
from keel.alerts.messages.words import ranked, sentence_of

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig


def compose_alerts(config: ModelConfig | None, notice: Notice, *, now: datetime, run_url: str | None = None) -> Message:
    """Compose the message about news of any kind. config: None for what concerns no single model."""
    first = ranked(notice.news)[0].alert
    return message(
        config,
        notice,
        subject=sentence_of(first).rstrip("."),
        happened=sentence_of(first),
        now=now,
        facts=known({"Model": owner(config)}),
        links=known({"Run": run_url}),
    )


def compose_overdue(config: ModelConfig, notice: Notice, *, now: datetime) -> Message:
    """Compose the message about a check that has not happened in its time, or that has happened at last."""
    return compose_alerts(config, notice, now=now)
