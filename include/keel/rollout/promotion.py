"""Offering a challenger, and putting it into production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import History, Status, history
from keel.errors import StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.records import Plain, outcome_of
from keel.rollout.approval import approval_of
from keel.rollout.eligibility import require_promotable, shown
from keel.training.datasets import recent_rows
from keel.window import ceil_hour, now_utc

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace


def stage(ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any], *, actor: str, run_id: str) -> Plain:
    """Offer the challenger: it becomes the staging version, and waits for a person."""
    body = shown(ws, config, comparison)
    challenger = body["challenger"]
    state = history(ws.store, config.model)
    current = state.deployment
    sentence = f"Offered version {challenger}, which waits for approval: {body['sentence']}"
    if current.staging != challenger:
        require_promotable(state, challenger)
        statuses = {challenger: (Status.STAGING, "offered for production")}
        if current.staging is not None:
            statuses[current.staging] = (Status.CANDIDATE, f"version {challenger} was offered instead")
        current = deployments.change(
            ws.store, ws.registry, current, replace(current, staging=challenger), actor=actor,
            action=ledger.Action.STAGE, body={"run_id": run_id, "evidence": {**body, "sentence": sentence}},
            now=now_utc(), statuses=statuses,
        )  # fmt: skip
    return outcome_of("offered", body, sentence, version=challenger, generation=current.generation)


def promote(ws: Workspace, config: ModelConfig, comparison: Mapping[str, Any], *, actor: str, run_id: str) -> Plain:
    """Put the challenger into production, if it was shown, agreed to, and is what was registered.

    The champion must still be the one it was compared with. A task that runs again completes what it had begun.

    Raises
    ------
    NotShownBetter
        The comparison that was kept is no evidence for the challenger.
    NotApproved
        The policy asks for a person, and the ledger knows of none who agreed to this very comparison.
    NotPromotable
        The version was rejected, quarantined or archived meanwhile, or does not fit the features.
    ArtifactChanged
        What lies in the registry is not what was registered.
    StaleGeneration
        Another version than the champion of the comparison is in production.

    """
    body = shown(ws, config, comparison)
    challenger, champion = body["challenger"], body["champion"]
    state = history(ws.store, config.model)
    current = state.deployment
    sentence = f"Promoted version {challenger}: {body['sentence']}"
    if current.production == challenger:  # a retried task: the change is made, only its projection may be missing
        deployments.sync_aliases(ws.store, ws.registry, config.model)
        return outcome_of("promoted", body, sentence, version=challenger, generation=current.generation)
    if current.production != champion:
        if champion is None:
            raise StaleGeneration(
                f"{config.model}: version {current.production} went into production meanwhile, and version "
                f"{challenger} was not compared with it: airflow dags trigger {config.model}.promote --conf "
                f"'{{\"version\": {challenger}}}'"
            )
        raise deployments.stale_generation(current, expected=champion)
    require_promotable(state, challenger)
    approval = None
    if config.promotion.approval != "auto":
        approval = approval_of(ws, config, body, current.generation)
    rows = recent_rows(ws, config)
    ws.registry.preflight(config, challenger, rows)
    since = _begins(body, rows)
    row = {
        "run_id": run_id, "evidence": {**body, "sentence": sentence}, "approval": approval,
        "probation": {
            "version": challenger, "previous": champion, "since": since.isoformat(),
            "until": (since + config.promotion.probation).isoformat(),
        },
    }  # fmt: skip
    staging = None if current.staging == challenger else current.staging
    changed = deployments.change(
        ws.store, ws.registry, current,
        replace(current, production=challenger, previous=champion, staging=staging),
        actor=actor, action=ledger.Action.PROMOTE, body=row, now=now_utc(),
        statuses=_succession(state, challenger, "promoted"),
    )  # fmt: skip
    return outcome_of("promoted", body, sentence, version=challenger, generation=changed.generation)


def _begins(body: Mapping[str, Any], rows: pa.Table) -> datetime:
    """Return when a probation begins, in the data's time: when the version can have answered for the first time.

    That is not when the comparison ended, if people took days to agree. A row from the future moves it no further than
    to the present.
    """
    until = datetime.fromisoformat(body["until"])
    return max(until, min(ceil_hour(rows["time"][-1].as_py()), now_utc())) if rows.num_rows else until


def _succession(state: History, challenger: int, reason: str) -> dict[int, tuple[Status, str]]:
    """Return what becomes of the versions that are deployed when another goes into production."""
    current = state.deployment
    becomes: dict[int, tuple[Status, str]] = {}
    if current.previous is not None:
        becomes[current.previous] = (Status.ARCHIVED, f"version {challenger} was promoted")
    if current.production is not None:
        becomes[current.production] = (Status.PREVIOUS, f"version {challenger} was promoted")
    return {**becomes, challenger: (Status.PRODUCTION, reason)}
