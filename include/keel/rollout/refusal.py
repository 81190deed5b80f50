"""Turning a challenger down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keel.lifecycle import deployments, ledger
from keel.lifecycle.comparison import Verdict
from keel.lifecycle.history import Status, history
from keel.memory import Plain, now_utc, outcome_of
from keel.rollout.evidence import PROMOTABLE, kept

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


def keep_champion(
    ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any], *, actor: str, run_id: str
) -> Plain:
    """Turn the challenger down, and record why. One about whom nothing could be concluded stays a candidate."""
    body = kept(ws, config, comparison)
    challenger, champion = body["challenger"], body["champion"]
    statuses = {}
    if body["verdict"] == Verdict.FAIL and history(ws.store, config.model).status(challenger) in PROMOTABLE:
        statuses[challenger] = (Status.REJECTED, body["reason"])
    row = {"run_id": run_id, "evidence": body}
    turn_down(ws, config, challenger, statuses, actor=actor, action=ledger.Action.KEEP_CHAMPION, body=row)
    sentence = f"Kept champion {champion}: {body['sentence']}"
    return outcome_of("kept_champion", body, sentence, version=champion)


def turn_down(
    ws: Workspace, config: ModelConfig, challenger: int, statuses: Mapping[int, tuple[Status, str]], *,
    actor: str, action: ledger.Action, body: Mapping[str, Any],
) -> None:  # fmt: skip
    """Record a no with what becomes of the challenger, which loses its place in staging unless it keeps its station.

    The same no again adds nothing.
    """
    current = deployments.read(ws.store, config.model)
    if statuses and current.staging == challenger:
        deployments.change(
            ws.store, ws.registry, current, replace(current, staging=None), actor=actor, action=action, body=body,
            now=now_utc(), statuses=statuses,
        )  # fmt: skip
        return
    deployments.note_once(
        ws.store, config.model, actor=actor, action=action, body=body, now=now_utc(), statuses=statuses
    )
    deployments.project(ws.store, ws.registry, config.model)
