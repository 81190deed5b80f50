"""Start and stop an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from keel_airflow.web import dag_runs, installation
from keel_airflow.web.dag_runs import IdempotencyKey, Start, Wait
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.routes.promotion import promotable_version, require_challengers, require_experiment
from keel_airflow.web.schemas.actions import ExperimentRequest, StopRequest
from keel_airflow.web.schemas.common import ModelName, StoredId, iso
from keel_airflow.web.security import CallerDep, require_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.config import ModelConfig
    from keel.rollout.experiment.parameters import ExperimentParameters

router = APIRouter(route_class=BoundedRoute, tags=["experiments"])

RUNNING = "running"
NO_REASON = StopRequest()
"""Of a request without a body."""


@router.post("/{model}/experiments", status_code=202, response_class=Response, responses=dag_runs.STARTED)
def start_experiment(
    request: Request,
    caller: CallerDep,
    model: Annotated[ModelName, Path()],
    body: ExperimentRequest,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Start ``<model>.experiment``: a challenger answers a share of the entities, or only scores along."""
    dag_id, config = _dag_of(caller, model)
    values = body.model_dump(exclude={"challenger", "start_at"}, exclude_none=True)
    asked: dict[str, Any] = {"action": "start", **values}
    if isinstance(body.challenger, int):
        asked["challenger"] = body.challenger
    if body.start_at is not None:
        asked["start_at"] = iso(body.start_at)

    def resolved() -> Mapping[str, Any]:
        from keel import deployments
        from keel.deployments.experiments import running
        from keel.errors import ExperimentRefused

        store = installation.workspace().store
        deployments.production_version(store, model)
        if plan := running(store, model):
            raise ExperimentRefused(f"{model}: {plan.experiment_id} is running: stop it first, or wait for its end")
        challenger = promotable_version(model, body.challenger)
        _require_plan(config, body, challenger)
        return {"challenger": challenger}

    wanted = Start(dag_id, body, asked, resolved, wait, idempotency_key)
    return dag_runs.start(request, caller, wanted, dag_runs.decision_sentence(model))


@router.post(
    "/{model}/experiments/{experiment_id}/stop", status_code=202, response_class=Response, responses=dag_runs.STARTED
)
def stop_experiment(
    request: Request,
    caller: CallerDep,
    model: Annotated[ModelName, Path()],
    experiment_id: Annotated[StoredId, Path()],
    body: StopRequest = NO_REASON,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Start ``<model>.experiment`` to stop the running experiment without a verdict."""
    dag_id, _ = _dag_of(caller, model)

    def running() -> Mapping[str, Any]:
        from keel.errors import ExperimentRefused

        if require_experiment(model, experiment_id) != RUNNING:
            raise ExperimentRefused(f"{model}: {experiment_id} has ended already")
        return {}

    # another one may have begun when the run starts
    asked = {"action": "stop", "experiment": experiment_id, "reason": body.reason}
    wanted = Start(dag_id, body, asked, running, wait, idempotency_key)
    return dag_runs.start(request, caller, wanted, dag_runs.decision_sentence(model))


def _require_plan(config: ModelConfig, body: ExperimentRequest, challenger: int) -> None:
    """Raise what the run would fail with: the plan could not end in a verdict, or requires less than the policy."""
    from keel import rollout
    from keel.rollout.experiment.start import planned
    from keel.window import now_utc

    parameters: ExperimentParameters = {
        "challenger": challenger,
        "mode": body.mode,
        "stages": rollout.stages_of(mode=body.mode, allocation=body.allocation, ramp=body.ramp),
        "metric": body.metric,
        "margin": body.margin,
        "alpha": body.alpha,
        "max_outcomes": body.max_outcomes,
        "min_duration": rollout.duration_of("min_duration", body.min_duration),
        "max_duration": rollout.duration_of("max_duration", body.max_duration),
    }
    planned(installation.workspace(), config, parameters, experiment_id="experiment", now=body.start_at or now_utc())


def _dag_of(caller: Any, model: str) -> tuple[str, ModelConfig]:
    dag_id = f"{model}.experiment"
    require_run(caller, dag_id)
    config = installation.model_config(model)
    require_challengers(config, dag_id)
    return dag_id, config
