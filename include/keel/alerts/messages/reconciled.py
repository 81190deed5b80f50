"""The message about findings of the maintenance, which no decision stands behind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import compose_alerts

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.monitoring.records import ReconcileRecord


def compose_findings(
    config: ModelConfig, notice: Notice, *, found: ReconcileRecord, now: datetime, run_url: str | None = None
) -> Message:
    """Compose the message about what `keel.rollout.reconcile` found."""
    return compose_alerts(config, notice, now=now, run_url=run_url)
