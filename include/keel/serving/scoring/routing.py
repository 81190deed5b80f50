"""Which version answers which row of a request, and which only watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keel.evaluation.experiment.plan import CHALLENGER, CHAMPION, assign_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.evaluation.experiment.plan import Plan
    from keel.serving.models.input_schema import Rows


@dataclass(frozen=True)
class Route:
    """The way of one request's rows.

    champion, challenger: the numbers of the rows that each answers, ascending; together all rows. arms, allocations: of
    each row, in an A/B test; None otherwise. shadow: whether the challenger scores all rows as well, unheard.
    """

    champion: NDArray[np.intp]
    challenger: NDArray[np.intp]
    experiment: str | None = None
    arms: list[str | None] | None = None
    allocations: list[float | None] | None = None
    shadow: bool = False


def route(rows: Rows, plan: Plan | None) -> Route:
    """Return who answers the rows: without an experiment the champion.

    A row that has no entity is an entity of its own, under its id: the same row sent again gets the same arm.
    """
    everyone, nobody = np.arange(len(rows)), np.arange(0)
    if plan is None:
        return Route(everyone, nobody)
    if plan.mode == "shadow":
        return Route(everyone, nobody, plan.experiment_id, shadow=True)
    entities = rows.ids
    if rows.entities is not None:
        entities = [entity or identity for entity, identity in zip(rows.entities, rows.ids, strict=True)]
    chosen, probabilities = assign_many(plan, entities, np.array(rows.times, dtype="datetime64[us]"))
    return Route(
        np.flatnonzero(~chosen), np.flatnonzero(chosen), plan.experiment_id,
        [CHALLENGER if challenger else CHAMPION for challenger in chosen.tolist()], probabilities.tolist(),
    )  # fmt: skip
