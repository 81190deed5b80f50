"""Request a rollback, and roll production back to a version that served before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import History, Status, history
from keel.errors import NothingToRollBackTo, RegistryRefused, RegistryUnavailable, StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.records import DecisionRecord, Outcome, ProbationDecision, RollbackRequest
from keel.monitoring.storage import decide_once, request_id
from keel.rollout.eligibility import stored_decision
from keel.training.datasets import recent_rows
from keel.window import Window, ceil_hour, floor_hour, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def request_rollback(
    ws: Workspace, config: ModelConfig, *, reason: str, version: int | None, end: datetime, actor: str, run_id: str
) -> RollbackRequest:
    """Store a request to roll production back. The same run again returns the same request.

    version: one that served before; None for the previous one.

    Raises
    ------
    NothingToRollBackTo
        There is no previous version, or the requested one never served. Nothing is stored.
    NoProductionVersion
        There is nothing to roll back. Nothing is stored.

    """

    def make() -> RollbackRequest:
        production = deployments.production_version(ws.store, config.model)
        rollback_target(history(ws.store, config.model), version)
        until = ceil_hour(end)
        return RollbackRequest(
            decision_id=identity,
            model=config.model,
            version=production,
            window=Window(floor_hour(until - config.check.lookback), until),
            sentence=f"Requested a rollback of version {production}: {reason}",
            target=version,
            reason=reason,
            requested_by=actor,
        )

    identity = request_id(config.model, "rollback", run_id)
    return decide_once(ws, config.model, identity, RollbackRequest, make, run_id=run_id)


def rollback(
    ws: Workspace, config: ModelConfig, decision_id: str, *, actor: str, run_id: str, now: datetime | None = None
) -> Outcome:
    """Roll production back, and quarantine the version until a person reinstates it.

    decision_id: of `request_rollback` or `watch`. The decision's version must still be in production.
    now: the time of the ledger's row, from which the target counts as in production. Default: the clock.

    If the registry does not answer, the deployment is changed all the same, and MLflow follows when it answers.

    Raises
    ------
    NothingToRollBackTo
        There is no previous version, or the requested one never served.
    StaleGeneration
        No such decision is stored, or another version is in production.

    """
    decision = _stored(ws, config, decision_id)
    bad, reason = decision.version, decision.reason or ""
    state = history(ws.store, config.model)
    current = state.deployment
    # A run of this name may have rolled back another version before.
    act = {"run_id": run_id, "from": {"production": bad}}
    done = deployments.recorded(ws.store, config.model, ledger.Action.ROLLBACK, act)
    if done is not None and current.production != bad:
        deployments.sync_aliases(ws.store, ws.registry, config.model)
        return _outcome(decision, done.body["evidence"]["sentence"], done.body["to"]["production"], done.generation_to)
    if bad is None:
        raise NothingToRollBackTo(f"{config.model} had no version in production when the rollback was requested")
    if current.production != bad:
        raise deployments.stale_generation(current, expected=bad)
    target = rollback_target(state, decision.target)
    sentence = f"Rolled back version {bad} to version {target}: {reason}"
    _try_preflight(ws, config, target)
    changed = deployments.change(
        ws.store,
        ws.registry,
        current,
        replace(current, production=target, previous=None),
        actor=actor,
        action=ledger.Action.ROLLBACK,
        now=now or now_utc(),
        statuses=_statuses(state, bad, target, reason),
        body={
            "run_id": run_id,
            "probation": _resumed_probation(ws, config, target, decision.window.end),
            "evidence": {"sentence": sentence, "reason": reason, **_evidence(decision)},
        },
    )
    return _outcome(decision, sentence, target, changed.generation)


def _stored(ws: Workspace, config: ModelConfig, decision_id: str) -> RollbackRequest | ProbationDecision:
    decision = stored_decision(ws, config, decision_id, DecisionRecord, purpose="roll back")
    if isinstance(decision, RollbackRequest):
        return decision
    if isinstance(decision, ProbationDecision) and decision.branch == "rollback":
        return decision
    raise StaleGeneration(f"{config.model}: the decision {decision_id!r} is no decision to roll back")


def _outcome(decision: DecisionRecord, sentence: str, target: int, generation: int) -> Outcome:
    return Outcome.of(
        "rolled_back",
        decision,
        sentence,
        version=target,
        rolled_back_version=decision.version,
        generation=generation,
    )


def _evidence(decision: RollbackRequest | ProbationDecision) -> dict[str, Any]:
    """Return what the ledger stores of a decision to roll back."""
    if isinstance(decision, RollbackRequest):
        return {"decision_id": decision.decision_id, "report_id": None, "watched": None}
    return {
        "decision_id": decision.decision_id,
        "report_id": decision.report_id,
        "watched": decision.watched.to_dict(),
    }


def _statuses(state: History, bad: int, target: int, reason: str) -> dict[int, tuple[Status, str]]:
    """Return the statuses that versions get by a rollback. A deleted version stays deleted."""
    current, known = state.deployment, state.version_statuses.get(bad)
    is_gone = known is not None and known.status is Status.DELETED
    statuses = {
        bad: (Status.DELETED, known.reason) if known and is_gone else (Status.QUARANTINED, reason),
        target: (Status.PRODUCTION, f"version {bad} was rolled back"),
    }
    if current.previous not in (None, target):
        statuses[current.previous] = (Status.ARCHIVED, f"version {bad} was rolled back to version {target}")
    return statuses


def _resumed_probation(ws: Workspace, config: ModelConfig, target: int, end: datetime) -> Mapping[str, Any] | None:
    """Return the probation that the target resumes, of full length, if a later promotion interrupted it.

    None if it was completed, or if there was no version before the target to compare it with.
    """
    unfinished = None
    for row in ledger.entries(ws.store, config.model):
        begun = row.body.get("probation")
        if begun and begun["version"] == target:
            unfinished = begun
        elif row.action == ledger.Action.CONFIRM and row.body.get("evidence", {}).get("version") == target:
            unfinished = None
    if unfinished is None or unfinished["previous"] is None:
        return None
    return {**unfinished, "until": (end + config.promotion.probation).isoformat()}


def rollback_target(state: History, requested: int | None) -> int:
    """Return the version to roll back to: the requested one, which must have served before, or the previous one.

    Raises
    ------
    NothingToRollBackTo
        There is none, or it never served; the message lists those that did.

    """
    current, model = state.deployment, state.deployment.model
    served = [
        version
        for version, reached in sorted(state.version_statuses.items())
        if reached.status in (Status.PREVIOUS, Status.ARCHIVED)
    ]
    choice = f"versions to roll back to: {', '.join(map(str, served)) or 'none'}"
    if requested is not None and requested not in served:
        reached = state.version_statuses.get(requested)
        status = f"is {reached.status}" if reached else "is not known to Keel"
        raise NothingToRollBackTo(f"{model}: version {requested} {status}, so it cannot be rolled back to; {choice}")
    target = current.previous if requested is None else requested
    if target is None:
        name = (
            f"; name one: airflow dags trigger {model}.rollback --conf '{{\"version\": {served[-1]}}}'"
            if served
            else ""
        )
        raise NothingToRollBackTo(f"{model}: version {current.production} has no previous version; {choice}{name}")
    return target


def _try_preflight(ws: Workspace, config: ModelConfig, version: int) -> None:
    try:
        ws.registry.preflight(config, version, recent_rows(ws, config))
    except (RegistryUnavailable, RegistryRefused) as error:
        log.warning("rolling back to version %d without loading it first: %s", version, error)
