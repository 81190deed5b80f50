"""Turning a challenger down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import PROMOTABLE, Status, history
from keel.errors import StaleGeneration
from keel.evaluation.holdout.comparison import Verdict
from keel.ledger import entries as ledger
from keel.monitoring.records import Plain, outcome_of
from keel.rollout.eligibility import kept
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def keep_champion(
    ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any], *, actor: str, run_id: str
) -> Plain:
    """Turn the challenger down, and record why. One about whom nothing could be concluded stays a candidate."""
    body = kept(ws, config, comparison)
    challenger, champion = body["challenger"], body["champion"]
    becomes = (Status.REJECTED, body["reason"]) if body["verdict"] == Verdict.FAIL else None
    row = {"run_id": run_id, "evidence": body}
    reject(
        ws, config, challenger, becomes, actor=actor, action=ledger.Action.KEEP_CHAMPION,
        identity={"evidence": body}, body=row,
    )  # fmt: skip
    sentence = f"Kept champion {champion}: {body['sentence']}"
    return outcome_of("kept_champion", body, sentence, version=champion)


def reject(
    ws: Workspace,
    config: ModelConfig,
    challenger: int,
    becomes: tuple[Status, str] | None,
    *,
    actor: str,
    action: ledger.Action,
    identity: Mapping[str, Any],
    body: Mapping[str, Any],
) -> None:
    """Record a rejection, by which the challenger leaves staging and gets another status.

    becomes: the status and its reason; None keeps status and alias. A version that is not promotable any more, such as
    one in production, keeps both too.
    identity: what tells this rejection from others (`keel.deployments.recorded`); the same one again adds no row.
    """
    while True:
        state = history(ws.store, config.model)
        present = state.status(challenger)
        if (
            becomes is None or present not in PROMOTABLE or present is becomes[0]
            or deployments.recorded(ws.store, config.model, action, identity)
        ):  # fmt: skip
            deployments.append_once(
                ws.store, config.model, actor=actor, action=action, identity=identity, body=body, now=now_utc()
            )
            deployments.sync_aliases(ws.store, ws.registry, config.model)
            return
        current = state.deployment
        staging = None if current.staging == challenger else current.staging
        try:
            # A change, also to the same deployment: not at the same time as a promotion of that very version.
            deployments.change(
                ws.store, ws.registry, current, replace(current, staging=staging), actor=actor, action=action,
                body=body, now=now_utc(), statuses={challenger: becomes},
            )  # fmt: skip
            return
        except StaleGeneration as error:
            log.info("%s", error)
