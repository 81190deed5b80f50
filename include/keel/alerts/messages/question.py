"""The message that asks people to approve a promotion, and the one that says what was answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import compose_alerts

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig


def compose_approval(
    config: ModelConfig, notice: Notice, *, question: str, body: str, answer_url: str, now: datetime
) -> Message:
    """Compose the request for an approval, or, of news that is resolved, what became of it.

    question, body: what Airflow's page shows too. answer_url: where to answer.
    """
    return compose_alerts(config, notice, now=now).model_copy(
        update={"topic": "approval", "verbatim": body.rstrip(), "links": {"Answer": answer_url}}
    )
