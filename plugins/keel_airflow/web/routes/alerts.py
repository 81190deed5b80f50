"""The alerts of a model, and the silences that cover them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.alerts import Alert, Alerts, Silence
from keel_airflow.web.schemas.common import ModelPath
from keel_airflow.web.security import CallerDep, require_read

router = APIRouter(route_class=BoundedRoute, tags=["alerts"])

MOST = 500
"""Alerts of one answer."""


@router.get("/{model}/alerts", responses=problems.documented(404, 409))
def list_alerts(
    caller: CallerDep,
    model: ModelPath,
    state: Annotated[
        Literal["open", "all"], Query(description="open: those that have fired and are not over; all: every one")
    ] = "open",
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> Alerts:
    """List the alerts of a model, the one that was first seen last first, and the silences that last or are planned."""
    from keel.alerts.records import Alert as Stored
    from keel.alerts.records import State
    from keel.alerts.silences import silenced, silences
    from keel.window import now_utc

    require_read(caller, model)
    installation.model_config(model)
    store, now = installation.workspace().store, now_utc()
    rows = store.alerts.list(model, is_open=True if state == "open" else None, limit=None if state == "open" else limit)
    known = silences(store, model, now)
    found = silenced((Stored.from_dict(row) for row in rows), known, now)
    if state == "open":
        found = [each for each in found if each.state is not State.PENDING]
    return Alerts(
        model=model,
        alerts=[Alert.model_validate(each, from_attributes=True) for each in found[:limit]],
        silences=[Silence.model_validate(each, from_attributes=True) for each in known],
    )
