"""Taking a version back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import History, Status, history
from keel.errors import NothingToRollBackTo, RegistryUnavailable, StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.decision import Action, Decision
from keel.monitoring.records import Plain, outcome_of, request_id, store_decision
from keel.training.datasets import recent_rows
from keel.window import Window, ceil_hour, floor_hour, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def request_rollback(
    ws: Workspace, config: ModelConfig, *, reason: str, version: int | None, end: datetime, actor: str, run_id: str
) -> Plain:
    """Record that production is to be taken back, to the previous version or to one that served before."""
    production = deployments.read(ws.store, config.model).production
    until = ceil_hour(end)
    window = Window(floor_hour(until - config.check.lookback), until).to_dict()
    identity = request_id(config.model, "rollback", run_id)
    if asked_before := ws.store.decisions.get(identity):  # the task runs again
        kept: Plain = asked_before["body"]
        return kept
    sentence = f"Asked to take back version {production}: {reason}"
    return store_decision(
        ws, identity, {"model": config.model, "version": production, "window": window},
        Decision(Action.ROLLBACK, sentence), run_id, target=version, reason=reason, requested_by=actor,
    )  # fmt: skip


def rollback(ws: Workspace, config: ModelConfig, decision: Mapping[str, Any], *, actor: str, run_id: str) -> Plain:
    """Take the production version back to the one before it, and keep it from coming back until a person releases it.

    decision: of `request_rollback` or `watch`; the version it names must still be in production. A registry that does
    not answer does not hold it up: the deployment is changed, and MLflow follows as soon as it answers.

    Raises
    ------
    NothingToRollBackTo
        There is no previous version, or the one asked for never served.
    StaleGeneration
        Another version is in production than the one that was to be taken back.

    """
    decision = _kept(ws, config, decision)
    state = history(ws.store, config.model)
    current, bad = state.deployment, decision["version"]
    # A run of this name may have rolled back another version before.
    act = {"run_id": run_id, "from": {"production": bad}}
    done = deployments.recorded(ws.store, config.model, ledger.Action.ROLLBACK, act)
    if done is not None and current.production != bad:
        deployments.sync_aliases(ws.store, ws.registry, config.model)
        return outcome_of(
            "rolled_back", decision, done.body["evidence"]["sentence"], version=done.body["to"]["production"],
            taken_back=bad, generation=done.generation_to,
        )  # fmt: skip
    if bad is None:
        raise NothingToRollBackTo(f"{config.model} had no version in production when that was asked for")
    if current.production != bad:
        raise deployments.stale_generation(current, expected=bad)
    target = _target(state, decision.get("target"))
    sentence = f"Took version {bad} back to version {target}: {decision['reason']}"
    _try_preflight(ws, config, target)
    statuses = {
        bad: (Status.QUARANTINED, decision["reason"]), target: (Status.PRODUCTION, f"version {bad} was taken back"),
        **({current.previous: (Status.ARCHIVED, "passed over by a rollback")}
           if current.previous not in (None, target) else {}),
    }  # fmt: skip
    changed = deployments.change(
        ws.store, ws.registry, current, replace(current, production=target, previous=None), actor=actor,
        action=ledger.Action.ROLLBACK, now=now_utc(), statuses=statuses,
        body={
            "run_id": run_id, "probation": _resumed(ws, config, target, decision["window"]),
            "evidence": {"sentence": sentence, "reason": decision["reason"], "report_id": decision.get("report_id"),
                         "decision_id": decision["decision_id"], "watched": decision.get("watched")},
        },
    )  # fmt: skip
    return outcome_of("rolled_back", decision, sentence, version=target, taken_back=bad, generation=changed.generation)


def _kept(ws: Workspace, config: ModelConfig, decision: Mapping[str, Any]) -> Plain:
    """Return a decision that asks for a rollback as it was kept, whatever the reference to it says of it."""
    found = ws.store.decisions.get(str(decision.get("decision_id")))
    body: Plain = found["body"] if found and found["model"] == config.model else {}
    asked = body.get("action") == Action.ROLLBACK
    if not asked and not (body.get("action") == Action.WATCH and body["branch"] == "rollback"):
        raise StaleGeneration(f"{config.model}: no decision to take a version back was kept: ask for a rollback anew")
    return body


def _resumed(ws: Workspace, config: ModelConfig, target: int, window: Mapping[str, str]) -> Plain | None:
    """Return the probation that a version goes on with, for as long again, which a later promotion had cut short.

    None for one whose own has come to its end, and for one that had no version before it to be worse than.
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
    until = datetime.fromisoformat(window["end"]) + config.promotion.probation
    return {**unfinished, "until": until.isoformat()}


def _target(state: History, asked: int | None) -> int:
    current, model = state.deployment, state.deployment.model
    served = [v for v, s in sorted(state.version_statuses.items()) if s.status in (Status.PREVIOUS, Status.ARCHIVED)]
    way = f"versions that can be gone back to: {', '.join(map(str, served)) or 'none'}"
    if asked is not None and asked not in served:
        standing = state.version_statuses.get(asked)
        said = f"is {standing.status}" if standing else "is not known to Keel"
        raise NothingToRollBackTo(f"{model}: version {asked} {said}, so it cannot be gone back to; {way}")
    target = current.previous if asked is None else asked
    if target is None:
        name = (
            f"; name one: airflow dags trigger {model}.rollback --conf '{{\"version\": {served[-1]}}}'"
            if served
            else ""
        )
        raise NothingToRollBackTo(f"{model}: version {current.production} has no previous version; {way}{name}")
    return target


def _try_preflight(ws: Workspace, config: ModelConfig, version: int) -> None:
    try:
        ws.registry.preflight(config, version, recent_rows(ws, config))
    except RegistryUnavailable as error:
        log.warning("going back to version %d without loading it first: %s", version, error)
