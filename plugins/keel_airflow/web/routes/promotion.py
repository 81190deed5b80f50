"""Promote a version, and roll one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from keel_airflow.web import dag_runs, installation, problems
from keel_airflow.web.dag_runs import IdempotencyKey, Start, Wait
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.problems import Problem
from keel_airflow.web.schemas.actions import PromoteRequest, RollbackRequest
from keel_airflow.web.schemas.common import iso
from keel_airflow.web.security import CallerDep, require_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.config import ModelConfig
    from keel.deployments.history import History

router = APIRouter(route_class=BoundedRoute, tags=["deployments"])


@router.post("/promote", status_code=202, response_class=Response, responses=dag_runs.STARTED)
def promote_version(
    request: Request, caller: CallerDep, body: PromoteRequest, wait: Wait = 0, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start ``<model>.promote``: it compares a version with the one in production, asks who must approve, and promotes.

    Without a version it is the one in staging.
    """
    dag_id = f"{body.model}.promote"
    require_run(caller, dag_id)
    config = installation.model_config(body.model)
    require_challengers(config, dag_id)
    asked: dict[str, Any] = {"reason": body.reason}
    asked |= {name: value for name, value in (("force", body.force), ("experiment", body.experiment)) if value}
    if body.end is not None:
        asked["end"] = iso(body.end)
    if isinstance(body.version, int):
        asked["version"] = body.version

    def resolved() -> Mapping[str, Any]:
        if body.experiment is not None:
            require_experiment(body.model, body.experiment)
            if "version" not in body.model_fields_set:
                return {}
        return {"version": promotable_version(body.model, body.version)}

    wanted = Start(dag_id, body, asked, resolved, wait, idempotency_key)
    return dag_runs.start(request, caller, wanted, dag_runs.decision_sentence(body.model))


@router.post("/rollback", status_code=202, response_class=Response, responses=dag_runs.STARTED)
def roll_back_version(
    request: Request, caller: CallerDep, body: RollbackRequest, wait: Wait = 0, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start ``<model>.rollback``: an earlier version answers again, and the one in production is quarantined."""
    dag_id = f"{body.model}.rollback"
    require_run(caller, dag_id)
    installation.model_config(body.model)
    asked: dict[str, Any] = {"reason": body.reason}
    if isinstance(body.version, int):
        asked["version"] = body.version

    def resolved() -> Mapping[str, Any]:
        from keel import deployments
        from keel.rollout.rollbacks import rollback_target

        deployments.production_version(installation.workspace().store, body.model)
        number = None if body.version is None else named_version(body.model, body.version)
        return {"version": rollback_target(history_of(body.model), number)}

    wanted = Start(dag_id, body, asked, resolved, wait, idempotency_key)
    return dag_runs.start(request, caller, wanted, dag_runs.decision_sentence(body.model))


def require_challengers(config: ModelConfig, dag_id: str) -> None:
    """Raise a problem, 409, for a model without a section ``retrain``, which has no challengers and no such DAG."""
    if config.retrain is None:
        raise Problem(
            409,
            "Not possible in the present state",
            f"{config.model} has no DAG {dag_id}, because its model.yaml has no section retrain",
            errors=[problems.entry("model", "has no challengers", "add the section retrain to its model.yaml")],
        )


def require_experiment(model: str, experiment_id: str) -> str:
    """Return the status of an experiment; `UnknownExperiment` where the model has none of that id."""
    from keel.deployments.experiments import list_all
    from keel.errors import UnknownExperiment

    known = {each.plan.experiment_id: each for each in list_all(installation.workspace().store, model)}
    if experiment_id not in known:
        listed = ", ".join(list(known)[:20])
        raise UnknownExperiment(f"{model} has no experiment {experiment_id!r}; there are: {listed or 'none'}")
    return str(known[experiment_id].status)


def promotable_version(model: str, named: int | str) -> int:
    """Return the number of a version that may go into production.

    Raises
    ------
    UnknownVersion
        There is none of that name.
    NotPromotable
        Its status does not allow it; the message has the way out.

    """
    from keel.errors import NotPromotable
    from keel.rollout.eligibility import promotable, require_promotable

    state = history_of(model)
    if named == "staging" and state.deployment.staging is None:
        raise NotPromotable(f"{model}: no version is in staging; name one: {promotable(state)}")
    number = named_version(model, named)
    require_promotable(state, number)
    return number


def named_version(model: str, named: int | str) -> int:
    """Return the number of a version; `UnknownVersion` where no version has this number or alias."""
    from keel.deployments.from_ledger import find_version
    from keel.ledger.entries import entries

    return find_version(list(entries(installation.workspace().store, model)), model, named)


def history_of(model: str) -> History:
    """Return the state of a model's versions."""
    from keel.deployments.history import history

    return history(installation.workspace().store, model)
