"""The message that asks people to approve a promotion."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from keel.alerts.messages.layout import aligned, known, to_people_of
from keel.monitoring.records import MessagePart

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import Message


def compose_approval_request(config: ModelConfig, *, subject: str, body: str, answer_url: str) -> Message:
    """Compose the request for an approval. ``subject`` and ``body`` are what Airflow's page shows too."""
    policy = config.promotion
    hours = policy.approval_timeout / timedelta(hours=1)
    facts = known(
        {
            "Answer": answer_url,
            "Who": ", ".join(policy.approvers) or "every user whom Airflow permits to answer",
            "Until": f"without an answer within {hours:g} hours, the version is not promoted",
            "Runbook": config.alerts.runbook,
        }
    )
    parts = [MessagePart(facts=facts), MessagePart(verbatim=body.rstrip())]
    return to_people_of(config, subject=subject, lines=[body.rstrip(), "", *aligned(facts), ""], parts=parts)
