"""The message that asks people to agree to a promotion."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import ModelConfig


def compose_question(config: ModelConfig, *, subject: str, body: str, answer_url: str) -> dict[str, Any]:
    """Return subject, text and addressees; ``subject`` and ``body`` are what Airflow's page shows them too."""
    policy = config.promotion
    lines = [
        body.rstrip(),
        "",
        f"Answer   {answer_url}",
        f"Who      {', '.join(policy.approvers) or 'whoever Airflow permits to answer'}",
        f"Until    no answer within {policy.approval_timeout / timedelta(hours=1):g} hours is a no",
        *([f"Runbook  {config.alerts.runbook}"] if config.alerts.runbook else []),
        "",
    ]
    return {
        "subject": f"[Keel] {subject}",
        "text": "\n".join(lines),
        "email": list(config.alerts.email),
        "slack": config.alerts.slack,
    }
