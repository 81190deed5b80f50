"""The message about what was found while looking after a model, without a decision behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import ModelConfig


def compose_findings(config: ModelConfig, found: Mapping[str, Any], *, run_url: str) -> dict[str, Any]:
    """Return subject, text and addressees, or ``{}`` when nothing was found.

    found: what `keel.rollout.reconcile` returned. A change that was cut short and is completed is nothing to tell.
    """
    if not found["findings"]:
        return {}
    lines = [
        *found["findings"],
        "",
        f"Model    {config.model} (owner: {config.owner})",
        f"History  keel ledger show {config.model}",
        f"Run      {run_url}",
        *([f"Runbook  {config.alerts.runbook}"] if config.alerts.runbook else []),
        "",
    ]
    return {
        "subject": f"[Keel] {config.model}: the registry was changed by hand",
        "text": "\n".join(lines),
        "email": list(config.alerts.email),
        "slack": config.alerts.slack,
    }
