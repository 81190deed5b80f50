"""The message about findings of the maintenance, which no decision stands behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.messages.layout import aligned, known, to_people_of
from keel.monitoring.records import MessagePart

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import Message, ReconcileRecord


def compose_findings(config: ModelConfig, found: ReconcileRecord, *, run_url: str) -> Message | None:
    """Compose the message about what `keel.rollout.reconcile` found; None when it found nothing.

    An interrupted change that was completed is no finding.
    """
    if not found.findings:
        return None
    facts = known(
        {
            "Model": f"{config.model} (owner: {config.owner})",
            "History": f"keel ledger show {config.model}",
            "Run": run_url,
            "Runbook": config.alerts.runbook,
        }
    )
    changed = len(found.findings) > len(found.undelivered)
    about = [
        *(["the registry was changed outside Keel"] if changed else []),
        *(["predictions could not be stored"] if found.undelivered else []),
    ]
    subject = f"{config.model}: {', and '.join(about)}"
    parts = [MessagePart(paragraphs=found.findings), MessagePart(facts=facts)]
    return to_people_of(config, subject=subject, lines=[*found.findings, "", *aligned(facts), ""], parts=parts)
