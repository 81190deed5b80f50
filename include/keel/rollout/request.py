"""Request that a version goes into production."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.deployments.history import history
from keel.errors import NotApproved, NotPromotable
from keel.monitoring.records import PromotionRequest, Span
from keel.monitoring.storage import decide_once, request_id
from keel.rollout.eligibility import NO_PERSON, promotable, require_promotable
from keel.rollout.experiment_evidence import comparison_of_experiment
from keel.training.training import Split
from keel.window import Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


def request_promotion(
    ws: Workspace,
    config: ModelConfig,
    *,
    version: int | None,
    reason: str,
    force: bool,
    end: datetime,
    actor: str,
    run_id: str,
    experiment: str | None = None,
) -> PromotionRequest:
    """Store a request that a version goes into production. The same run again returns the same request.

    version: None for the staged one, or for the challenger of ``experiment``.
    force: promote whatever the comparison shows.
    end: when the holdout ends, before the label delay.
    experiment: the experiment that the promotion rests on instead of a holdout.

    Raises
    ------
    ExperimentRefused, UnknownExperiment
        The experiment is no evidence for its challenger, or does not exist.
    NotPromotable
        The version is unknown or in production, or was rejected, quarantined, archived or deleted.
    NotApproved
        Only a person may force a promotion.

    """

    def make() -> PromotionRequest:
        state = history(ws.store, config.model)
        challenger = _challenger(ws, config, version, state.deployment.staging, experiment)
        if challenger is None:
            raise NotPromotable(f"{config.model}: no version is staged; name one: {promotable(state)}")
        require_promotable(state, challenger)
        if force and actor in NO_PERSON:
            raise NotApproved(f"{config.model}: force: only a person may force a promotion, and no person started this")
        split = Split.ending(ceil_hour(end), config)
        holdout = Window(floor_hour(split.cut), ceil_hour(split.end))
        return PromotionRequest(
            decision_id=identity,
            model=config.model,
            version=state.deployment.production,
            window=holdout,
            sentence=f"{'Forced' if force else 'Requested'} version {challenger}: {reason}",
            challenger=challenger,
            champion=state.deployment.production,
            holdout=Span(start=holdout.start, end=holdout.end),
            until=ceil_hour(end),
            reason=reason,
            forced_by=actor if force else None,
            requested_by=actor,
            mlflow_run_id=state.pins[challenger].run_id,
            experiment=experiment,
        )

    identity = request_id(config.model, "promotion", run_id)
    return decide_once(ws, config.model, identity, PromotionRequest, make, run_id=run_id)


def _challenger(
    ws: Workspace, config: ModelConfig, version: int | None, staged: int | None, experiment: str | None
) -> int | None:
    if experiment:
        shown = comparison_of_experiment(ws, config, experiment)
        return shown.challenger if version is None else version
    return staged if version is None else version
