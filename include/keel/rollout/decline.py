"""Reject a challenger and keep the champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import PROMOTABLE, Status, history
from keel.errors import StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.records import Outcome
from keel.rollout.eligibility import stored_comparison
from keel.window import now_utc

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def keep_champion(
    ws: Workspace, config: ModelConfig, report_id: str, *, actor: str, run_id: str, now: datetime | None = None
) -> Outcome:
    """Record that a comparison keeps the champion, and why.

    A challenger that failed is rejected; after an inconclusive comparison it stays a candidate.

    now: the time of the ledger's row. Default: the clock.
    """
    comparison = stored_comparison(ws, config, report_id)
    becomes = (Status.REJECTED, comparison.reason) if comparison.verdict == "fail" else None
    evidence = comparison.to_ledger()
    reject(
        ws,
        config,
        comparison.challenger,
        becomes,
        actor=actor,
        action=ledger.Action.KEEP_CHAMPION,
        # A comparison that is repeated under the same id may find something else.
        identity={"evidence": {name: evidence[name] for name in ("report_id", "verdict", "reason", "n")}},
        body={"run_id": run_id, "evidence": evidence},
        now=now,
    )
    sentence = f"Kept champion {comparison.champion}: {comparison.sentence}"
    return Outcome.of("kept_champion", comparison, sentence, version=comparison.champion)


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
    now: datetime | None = None,
) -> None:
    """Record a rejection, by which the challenger leaves staging and gets another status.

    becomes: the status and its reason; None keeps status and alias. A version that is not promotable any more, such as
    one in production, keeps both too.
    now: the time of the ledger's row. Default: the clock.
    identity: what tells this rejection from others (`keel.deployments.recorded`); the same one again adds no row.
    """
    while True:
        state = history(ws.store, config.model)
        present = state.status(challenger)
        if (
            becomes is None
            or present not in PROMOTABLE
            or present is becomes[0]
            or deployments.recorded(ws.store, config.model, action, identity)
        ):
            deployments.append_once(
                ws.store, config.model, actor=actor, action=action, identity=identity, body=body, now=now or now_utc()
            )
            deployments.sync_aliases(ws.store, ws.registry, config.model)
            return
        current = state.deployment
        staging = None if current.staging == challenger else current.staging
        try:
            # A change, also to the same deployment, so that it excludes a promotion of this version at the same time.
            deployments.change(
                ws.store,
                ws.registry,
                current,
                replace(current, staging=staging),
                actor=actor,
                action=action,
                body=body,
                now=now or now_utc(),
                statuses={challenger: becomes},
            )
            return
        except StaleGeneration as error:
            log.info("reject again from the new generation: %s", error)
