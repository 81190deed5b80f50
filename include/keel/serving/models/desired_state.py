"""The desired state: which versions and experiments the store says should be served."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, select

from keel.deployments.experiments import RUNNING
from keel.evaluation.experiment.plan import Plan
from keel.store.database.tables import deployments, experiments

if TYPE_CHECKING:
    from keel.store import Store


@dataclass(frozen=True)
class DesiredState:
    """What the store says of one model. plan: of the running experiment."""

    production: int | None = None
    previous: int | None = None
    generation: int = 0
    plan: Plan | None = None
    problem: str | None = None
    """Why a running experiment has no effect; None if it has, or if none runs."""

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions to keep in memory, the most important first; a version may be listed twice."""
        challenger = self.plan.challenger if self.plan else None
        return tuple(number for number in (self.production, challenger, self.previous) if number is not None)


def read_desired_state(store: Store, models: Iterable[str]) -> dict[str, DesiredState]:
    """Return the desired state of each model, in one query; raises StoreUnavailable."""
    names = list(models)
    running = and_(experiments.c.model == deployments.c.model, experiments.c.status == RUNNING)
    columns = (deployments.c[name] for name in ("model", "production", "previous", "generation"))
    query = select(*columns, experiments.c.plan).select_from(deployments.outerjoin(experiments, running))
    with store.connect() as connection:
        rows = connection.execute(query.where(deployments.c.model.in_(names))).all()
    found = {row.model: _desired(row.production, row.previous, row.generation, row.plan) for row in rows}
    return {name: found.get(name, DesiredState()) for name in names}


def _desired(production: int | None, previous: int | None, generation: int, plan: str | None) -> DesiredState:
    if plan is None:
        return DesiredState(production, previous, generation)
    try:
        running = Plan.from_dict(json.loads(plan))
    except Exception as error:  # written by a newer Keel, or damaged; the production version still answers
        problem = f"the plan of the running experiment cannot be read: {type(error).__name__}: {error}"
        return DesiredState(production, previous, generation, problem=problem)
    return DesiredState(production, previous, generation, running)
