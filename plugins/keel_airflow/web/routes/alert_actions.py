"""Acknowledge an alert, silence alerts for a time, and end a silence. It is done at once, in the caller's name."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path

from keel_airflow.web import installation, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.problems import Problem
from keel_airflow.web.schemas.actions import AcknowledgeRequest, NoBody, SilenceRequest
from keel_airflow.web.schemas.alerts import Alert, Silence
from keel_airflow.web.schemas.common import ModelName, StoredId
from keel_airflow.web.security import CallerDep, require_run

router = APIRouter(route_class=BoundedRoute, tags=["alerts"])

NO_NOTE, NOTHING = AcknowledgeRequest(), NoBody()
"""Of a request without a body."""


@router.post("/{model}/alerts/{alert_id}/acknowledge", responses=problems.documented(403, 404, 409))
def acknowledge_alert(
    caller: CallerDep,
    model: Annotated[ModelName, Path()],
    alert_id: Annotated[StoredId, Path()],
    body: AcknowledgeRequest = NO_NOTE,
) -> Alert:
    """Note that the caller looks after an alert. Nobody is reminded of it until it gets worse."""
    from keel.alerts.acknowledging import acknowledge
    from keel.alerts.records import State
    from keel.window import now_utc

    _require(caller, model)
    ws = installation.workspace()
    stored = ws.store.alerts.get(alert_id)
    if stored is None or stored["model"] != model or stored["state"] == State.PENDING:
        raise _unknown("alert", alert_id, f"GET /models/{model}/alerts lists the alerts of the model")
    if stored["state"] == State.RESOLVED:
        raise Problem(409, "Not possible in the present state", f"the alert {alert_id} is over")
    taken = acknowledge(ws, alert_id, actor=caller.name, reason=body.reason, now=now_utc())
    return Alert.model_validate(taken, from_attributes=True)


@router.post("/{model}/silences", status_code=201, responses=problems.documented(403, 404, 409))
def silence_alerts(caller: CallerDep, model: Annotated[ModelName, Path()], body: SilenceRequest) -> Silence:
    """Tell nobody of some alerts of a model for a time. They live on; the silence is a row of the ledger."""
    from keel.alerts.silences import silence
    from keel.window import now_utc

    _require(caller, model)
    now = now_utc()
    made = silence(
        installation.workspace(),
        model,
        kind=_kind(body.kind),
        subject=body.subject,
        start=body.start,
        until=body.until or (body.start or now) + _length(body.duration),
        reason=body.reason,
        actor=caller.name,
        now=now,
    )
    return Silence.model_validate(made, from_attributes=True)


@router.post("/{model}/silences/{silence_id}/end", responses=problems.documented(403, 404, 409))
def end_silence(
    caller: CallerDep,
    model: Annotated[ModelName, Path()],
    silence_id: Annotated[StoredId, Path()],
    body: NoBody = NOTHING,
) -> Silence:
    """End a silence before its time. What still fires is told by the next check."""
    from keel.alerts import silences as silencing
    from keel.window import now_utc

    _require(caller, model)
    ws, now = installation.workspace(), now_utc()
    known = {each.silence_id: each for each in silencing.silences(ws.store, model, now)}
    if silence_id not in known:
        raise _unknown("silence", silence_id, f"GET /models/{model}/alerts lists the silences of the model")
    if known[silence_id].model != model:
        raise Problem(
            409,
            "Not possible in the present state",
            f"the silence {silence_id} covers every model: keel alerts unsilence {silence_id} ends it",
        )
    ended = silencing.end_silence(ws, silence_id, actor=caller.name, now=now)
    return Silence.model_validate(ended, from_attributes=True)


def _require(caller: Any, model: str) -> None:
    require_run(caller, f"{model}.drift_check")
    installation.model_config(model)


def _kind(name: str | None) -> Any:
    from keel.config import Kind
    from keel.errors import suggestion

    if name is None:
        return None
    try:
        return Kind(name)
    except ValueError:
        known = list(map(str, Kind))
        remedy = f"give one of {', '.join(known)}"
        wrong = problems.entry("kind", f"{name!r} is no kind of alert{suggestion(name, known)}", remedy)
        raise Problem(422, problems.INVALID_TITLE, "not valid: kind", errors=[wrong]) from None


def _length(duration: str | None) -> timedelta:
    from keel.config.loading import parse_duration

    length = parse_duration(duration)
    assert isinstance(length, timedelta), "checked by the schema"
    return length


def _unknown(what: str, identity: str, remedy: str) -> Problem:
    wrong = problems.entry(f"{what}_id", f"no such {what}", remedy)
    return Problem(404, "Not found", f"no {what} {identity!r} is known", errors=[wrong])
