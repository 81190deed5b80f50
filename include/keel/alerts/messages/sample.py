"""The message that tests a channel."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import ALL_MODELS, Message, message_identity
from keel.config import Severity

if TYPE_CHECKING:
    from keel.config import ModelConfig


def compose_test(config: ModelConfig | None, *, channel: str, now: datetime) -> Message:
    """Compose a sample, which says that it is one. config: None for no single model."""
    model = config.model if config else ALL_MODELS
    return Message(
        message_id=message_identity("test", model, channel, now.isoformat()),
        model=model,
        topic="test",
        severity=Severity.INFO,
        subject=f"{model or 'Keel'}: test of {channel}",
        at=now,
        happened="This is a test. Nothing has happened.",
        runbook=config.alerts.runbook if config else None,
    )
