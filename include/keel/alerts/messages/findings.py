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
    lost = found.get("set_aside", ())
    by_hand, unstored = len(found["findings"]) > len(lost), "answers could not be stored"
    about = ["the registry was changed by hand"] * by_hand + [unstored] * bool(lost)
    return {
        "subject": f"[Keel] {config.model}: {', and '.join(about)}",
        "text": "\n".join(lines),
        "email": list(config.alerts.email),
        "slack": config.alerts.slack,
    }
