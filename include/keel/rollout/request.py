"""Asking for a version to go into production."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.deployments.history import history
from keel.errors import NotApproved, NotPromotable
from keel.monitoring.decision import Action, Decision
from keel.monitoring.records import Plain, request_id, store_decision
from keel.rollout.approval import NOBODY
from keel.rollout.eligibility import promotable, require_promotable
from keel.rollout.experiment_evidence import proven_by
from keel.training.training import Split
from keel.window import Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


def request_promotion(
    ws: Workspace, config: ModelConfig, *, version: int | None, reason: str, force: bool, end: datetime, actor: str,
    run_id: str, experiment: str | None = None,
) -> Plain:  # fmt: skip
    """Record that somebody asks for a version, None for the staged one, to go into production.

    end: until when the fresh holdout reaches, before the label delay. force: promote whatever the comparison says.
    experiment: the one that has shown the version to be better, on which the promotion is to rest instead; the version
    is then its challenger where none is named.

    Raises
    ------
    ExperimentRefused, UnknownExperiment
        That experiment has not ended so, or there is none.
    NotPromotable
        The version is unknown, in production, or was rejected, quarantined, archived or deleted.
    NotApproved
        A person must force, and nobody has.

    """
    identity = request_id(config.model, "promotion", run_id)
    if asked_before := ws.store.decisions.get(identity):  # the task runs again
        kept: Plain = asked_before["body"]
        return kept
    state = history(ws.store, config.model)
    champion = state.deployment.production
    challenger = state.deployment.staging if version is None else version
    if experiment:
        shown = proven_by(ws, config, experiment)
        challenger = shown["challenger"] if version is None else version
    if challenger is None:
        raise NotPromotable(f"{config.model}: no version is staged; name one: {promotable(state)}")
    require_promotable(state, challenger)
    if force and actor in NOBODY:
        raise NotApproved(f"{config.model}: force: only a person may force a promotion, and nobody started this run")
    split = Split.ending(ceil_hour(end), config)
    holdout = Window(floor_hour(split.cut), ceil_hour(split.end)).to_dict()
    sentence = f"{'Forced' if force else 'Asked for'} version {challenger}: {reason}"
    asked = {"model": config.model, "version": champion, "window": holdout}
    return store_decision(
        ws, identity, asked, Decision(Action.PROMOTE, sentence), run_id,
        challenger=challenger, champion=champion, holdout=holdout, until=ceil_hour(end).isoformat(), reason=reason,
        forced_by=actor if force else None, requested_by=actor, mlflow_run_id=state.pins[challenger].run_id,
        experiment=experiment,
    )  # fmt: skip
