"""Quarantine the broken hours of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel import deployments
from keel.errors import SchemaError
from keel.ledger import entries as ledger
from keel.monitoring.decision import LABELS
from keel.monitoring.label_check import quarantine_decided_labels
from keel.monitoring.records import DecisionRecord, Outcome
from keel.monitoring.window_counts import broken_windows
from keel.window import now_utc

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.workspace import Workspace


def quarantine(
    ws: Workspace,
    config: ModelConfig,
    decision: DecisionRecord,
    *,
    actor: str,
    run_id: str,
    now: datetime | None = None,
) -> Outcome:
    """Quarantine the broken hours of the decision's window, and write that to the ledger.

    No training and no later check uses them until a person releases them. Hours that a person released before are not
    quarantined again.

    now: the time of the quarantine. Default: the clock.
    """
    now = now or now_utc()
    window, model = decision.window, config.model
    if decision.version is None:
        raise SchemaError(f"{model}: a decision to quarantine names the version whose predictions are broken")
    if decision.about == (LABELS,):
        return quarantine_decided_labels(ws, config, decision, actor=actor, run_id=run_id, now=now)
    broken = broken_windows(ws, config, decision.version, window)
    if not broken:
        sentence = f"No predictions of {model} were quarantined: a person released the broken hours before."
        return Outcome.of("released", decision, sentence)
    for part in broken:
        ws.store.quarantine(model, part.start, part.end, decision.sentence, now, decided_until=window.end)
    between = f"from {broken[0].start:%Y-%m-%d %H:%M} to {broken[-1].end:%Y-%m-%d %H:%M} UTC"
    spans = "" if len(broken) == 1 else f", in {len(broken)} spans"
    outcome = Outcome.of(
        "quarantined", decision, f"Quarantined predictions of {model} {between}{spans}.", quarantined=broken
    )
    evidence = {
        "decision_id": decision.decision_id,
        "sentence": outcome.sentence,
        "quarantined": [part.to_dict() for part in broken],
    }
    deployments.append_once(
        ws.store,
        model,
        actor=actor,
        action=ledger.Action.QUARANTINE,
        identity={"evidence": {name: evidence[name] for name in ("decision_id", "quarantined")}},
        body={"run_id": run_id, "evidence": evidence},
        now=now,
    )
    return outcome
