"""Routing: which version answers which row of a request, and which only scores it as a shadow."""

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
    """The routing of one request's rows.

    champion, challenger: positions of the rows that each answers, ascending; together all rows. arms, allocations: of
    each row, in an A/B test; otherwise None. shadow: whether the challenger also scores all rows without answering.
    """

    champion: NDArray[np.intp]
    challenger: NDArray[np.intp]
    experiment: str | None = None
    arms: list[str | None] | None = None
    allocations: list[float | None] | None = None
    shadow: bool = False


def route(rows: Rows, plan: Plan | None) -> Route:
    """Return the routing of rows under a plan; without a plan the champion answers all.

    A row without an entity counts as an entity named by its id: the same row sent again gets the same arm.
    """
    all_rows, no_rows = np.arange(len(rows)), np.arange(0)
    if plan is None:
        return Route(all_rows, no_rows)
    if plan.mode == "shadow":
        return Route(all_rows, no_rows, plan.experiment_id, shadow=True)
    entities = rows.ids
    if rows.entities is not None:
        entities = [entity or identity for entity, identity in zip(rows.entities, rows.ids, strict=True)]
    challenged, probabilities = assign_many(plan, entities, np.array(rows.times, dtype="datetime64[us]"))
    return Route(
        np.flatnonzero(~challenged),
        np.flatnonzero(challenged),
        plan.experiment_id,
        [CHALLENGER if challenger else CHAMPION for challenger in challenged.tolist()],
        probabilities.tolist(),
    )
