"""Which models there are, and how each one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from keel.config import MODEL_NAME
from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.models import Models, ModelSummary
from keel_airflow.web.security import Caller, CallerDep, readable

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.errors import KeelError

router = APIRouter(route_class=BoundedRoute, tags=["models"])


@router.get("/", responses=problems.documented())
def list_models(caller: CallerDep) -> Models:
    """List the models that you may read, the worst first, with the status of each."""
    from keel.reports.status import collect
    from keel.window import now_utc

    configs, invalid = readable_configurations(caller)
    now = now_utc()
    found = collect(installation.workspace(), configs, now, invalid=invalid)
    return Models(models=[ModelSummary(**each.to_dict()) for each in found], at=now)


def readable_configurations(caller: Caller) -> tuple[dict[str, ModelConfig], list[KeelError]]:
    """Return the configurations that the caller may read, and the errors of those that are not valid.

    An error that is about no single model is shown to those who may read every model.
    """
    from keel.reports.status import model_of

    configs, invalid = installation.configurations()
    about = {model_of(error): error for error in invalid}
    broken = [name for name in about if MODEL_NAME.fullmatch(name)]
    allowed = set(readable(caller, [*configs, *broken]))
    is_everything = allowed.issuperset((*configs, *broken))
    errors = [error for name, error in about.items() if name in allowed or (name not in broken and is_everything)]
    return {name: config for name, config in configs.items() if name in allowed}, list(errors)
