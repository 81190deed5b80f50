"""The experiments of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.common import ModelPath
from keel_airflow.web.schemas.models import Experiment, Experiments
from keel_airflow.web.security import CallerDep, require_read

if TYPE_CHECKING:
    from keel.deployments.experiments import Experiment as Stored

router = APIRouter(route_class=BoundedRoute, tags=["experiments"])


@router.get("/{model}/experiments", responses=problems.documented(404, 409))
def list_experiments(caller: CallerDep, model: ModelPath) -> Experiments:
    """List the experiments of a model, newest first, with their outcomes."""
    from keel.deployments.experiments import list_all

    require_read(caller, model)
    installation.model_config(model)
    found = list_all(installation.workspace().store, model)
    return Experiments(model=model, experiments=[_answer(each) for each in found])


def _answer(each: Stored) -> Experiment:
    outcome = each.outcome or {}
    return Experiment(
        experiment_id=each.plan.experiment_id,
        status=each.status,
        champion=each.plan.champion,
        challenger=each.plan.challenger,
        started_at=each.plan.started_at,
        ended_at=each.ended_at,
        **{name: outcome.get(name) for name in ("outcome", "sentence", "report_id")},
        plan=each.plan.to_dict(),
    )
