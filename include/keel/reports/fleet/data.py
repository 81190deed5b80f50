"""Collect how every model of an installation is, for the overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.errors import KeelError
from keel.reports.fleet.facts import ModelFacts, read
from keel.reports.fleet.states import State, present_check, state_of

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.workspace import Workspace


@dataclass(frozen=True)
class ModelRow:
    """One model of the overview."""

    model: str
    state: State
    facts: ModelFacts | None = None
    """None where the model cannot be read."""
    error: str = ""
    """Why it cannot."""


@dataclass(frozen=True)
class Fleet:
    """All models, the worst first."""

    rows: tuple[ModelRow, ...]
    now: datetime
    """When they were read."""
    error: str = ""
    """Why nothing could be read; empty where something was."""


def collect(
    ws: Workspace, configs: Mapping[str, ModelConfig], now: datetime, *, invalid: Iterable[KeelError] = ()
) -> Fleet:
    """Return how each model is, the worst first. The number of queries does not depend on the number of models.

    invalid: errors of configurations that are not valid; each becomes a row.

    Raises
    ------
    StoreUnavailable
        The store cannot be read for any model; `unavailable` makes the page that says so.

    """
    rows = [ModelRow(model_of(error), State.UNREADABLE, error=_fault(error)) for error in invalid]
    for name, found in read(ws, configs).items():
        if isinstance(found, KeelError):
            rows.append(ModelRow(name, State.UNREADABLE, error=str(found)))
        else:
            rows.append(ModelRow(name, state_of(found, now), found))
    return Fleet(tuple(sorted(rows, key=_order)), now)


def unavailable(error: str, now: datetime) -> Fleet:
    """Return what is known of all models while the store does not answer: nothing but ``error``, which says so."""
    return Fleet((), now, error=error)


def model_of(error: KeelError) -> str:
    """Return the model that an error of a configuration is about, from its file's folder; else where the error is."""
    place = str(error).partition(": ")[0].replace("\\", "/").split("/")
    return place[-2] if len(place) > 1 and place[-1] == "model.yaml" else place[0]


def _fault(error: KeelError) -> str:
    r"""Return the first fault of a configuration without the folder that the file lies in, and how many more.

    >>> _fault(KeelError("/srv/models/churn/model.yaml: target: required key is missing\n/srv/…: owner: unknown key"))
    'model.yaml: target: required key is missing. And 1 more.'
    """
    first, *more = str(error).splitlines() or [""]
    place, colon, said = first.partition(": ")
    place = place.replace("\\", "/").rpartition("/")[2]
    return f"{place}{colon}{said.rstrip('.')}." + (f" And {len(more)} more." if more else "")


def _order(row: ModelRow) -> tuple[int, float, str]:
    """Return the place of a row: by state, in a state by what its columns' drift and its harm amount to, by name."""
    return (row.state.rank, -_weight(row), row.model)


def _weight(row: ModelRow) -> float:
    check = present_check(row.facts) if row.facts else None
    if check is None:
        return 0.0
    if row.state is State.WORSE and check.performance is not None:
        increase, limit = check.performance.increase, check.performance.max_degradation
        return increase / limit if increase and limit else 0.0
    return check.drift.share_drifted if row.state is State.DRIFT and check.drift is not None else 0.0
