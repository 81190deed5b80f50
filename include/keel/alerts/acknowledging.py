"""What ends an open alert beside its source, or takes it over: a person, and the removal of its model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.alerts import routing
from keel.alerts.door import observe
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.records import (
    ALL_MODELS,
    Alert,
    AlertEvent,
    AlertLine,
    Change,
    Examined,
    Message,
    Observation,
    State,
    message_identity,
)
from keel.config import read_models
from keel.errors import UnknownAlert
from keel.monitoring.storage import derived_id
from keel.store import alerts

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.alerts.routing import Posted
    from keel.config import ModelConfig
    from keel.store import Store
    from keel.workspace import Workspace

SOURCE = "request"
MAX_LISTED = 10
"""Alerts that an error lists."""
REMOVED = "the model was removed"
"""Why an alert is over whose model has no configuration any more."""
REMOVED_AFTER = timedelta(days=8)
"""From when something was last observed of a model. One that is still checked, every week at least, has its
configuration somewhere else: in a folder that whoever asks does not name."""


def acknowledge(ws: Workspace, alert_id: str, *, actor: str, reason: str = "", now: datetime) -> Alert:
    """Note that a person has taken an alert over, and return it. Nobody is reminded of it until it gets worse.

    alert_id: the id or the first characters of it.
    actor: who takes it over.

    In the same transaction the incident of every channel that has one is acknowledged, through the outbox. An alert
    that is acknowledged already stays as it is.

    Raises
    ------
    UnknownAlert
        No alert that fires has an id that begins so, or several have; the message lists those that fire.

    """
    with ws.store.begin() as connection:
        alerts.lock(connection)
        alert = _find(connection, alert_id)
        if alert.state is State.ACKNOWLEDGED:
            return alert
        taken = alert.model_copy(update={"state": State.ACKNOWLEDGED, "acknowledged_by": actor})
        event = AlertEvent(alert_id=alert.alert_id, at=now, event="acknowledged", actor=actor, detail=reason)
        alerts.put_alerts(connection, [taken.to_dict()], now=now)
        alerts.add_events(connection, [event.to_dict()])
        _acknowledge_incidents(connection, taken, event)
    return taken


def resolve(
    ws: Workspace, config: ModelConfig, fingerprint: str, *, reason: str, actor: str, now: datetime
) -> Posted | None:
    """End the open alert of a fingerprint at once, as a person decided; None where none is open.

    reason: completes "… is over: ", such as "ada accepted the drift of temp".

    It goes through the door: who was told of the alert is told that it is over. What a check found ends, in the data's
    own time, with the last window that showed it.
    """
    with ws.store.connect() as connection:
        found = [Alert.from_dict(row) for row in alerts.open_alerts(connection, config.model)]
    alert = next((each for each in found if each.fingerprint == fingerprint), None)
    if alert is None:
        return None
    observation = Observation(
        observation_id=f"{SOURCE}-{derived_id('resolve', alert.alert_id)}",
        model=config.model,
        # Of its own: the times of data and of the clock do not follow each other, and a later request is not late.
        source=f"{SOURCE} {alert.alert_id}",
        at=alert.last_seen if alert.kind.is_statistical else now,
        examined=(Examined(kind=alert.kind, subject=alert.subject, is_over=True),),
        resolution=reason,
        actor=actor,
    )
    return observe(ws, config, observation, lambda notice: compose_alerts(config, notice, now=now), now=now)


def end_removed(store: Store, *, but: str, now: datetime) -> set[str]:
    """End the alerts of models whose configuration is gone, and return these models. Nobody is told.

    but: a model that is there.

    While a configuration is not valid, or there is none at all, no model counts as removed: it may be that one. Nor
    does one of which something was observed within `REMOVED_AFTER`.
    """
    configs, invalid = read_models()
    if invalid or not configs:
        return set()
    observed = store.alerts.observed_since(now - REMOVED_AFTER)
    removed = store.alerts.models() - configs.keys() - observed - {ALL_MODELS, but}
    with store.begin() as connection:
        alerts.lock(connection)
        rows = [Alert.from_dict(row) for row in alerts.open_alerts(connection, None) if row["model"] in removed]
        over = {"state": State.RESOLVED, "resolution": REMOVED}
        ended = [
            each.model_copy(update={**over, "resolved_at": max(now, each.last_seen)})
            for each in rows
            if each.state is not State.PENDING
        ]
        events = [AlertEvent(alert_id=each.alert_id, at=now, event="resolved", detail=REMOVED) for each in ended]
        alerts.delete_alerts(connection, [each.alert_id for each in rows if each.state is State.PENDING])
        alerts.put_alerts(connection, [each.to_dict() for each in ended], now=now)
        alerts.add_events(connection, [each.to_dict() for each in events])
        alerts.close_entries(connection, [each.alert_id for each in ended], "")
    return removed


def _find(connection: sa.Connection, beginning: str) -> Alert:
    """Return the one alert that fires, or is acknowledged, whose id begins so."""
    rows = [Alert.from_dict(row) for row in alerts.open_alerts(connection, None)]
    fired = [each for each in rows if each.state is not State.PENDING]
    found = [each for each in fired if beginning and each.alert_id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    what = "several alerts that fire have ids that begin" if found else "no alert that fires has an id that begins"
    listed = "; ".join(f"{each.alert_id} ({_name(each)})" for each in (found or fired)[:MAX_LISTED])
    raise UnknownAlert(f"{what} with {beginning!r}; there are: {listed or 'none'}")


def _name(alert: Alert) -> str:
    return " ".join(part for part in (alert.model, alert.kind.replace("_", " "), alert.subject) if part)


def _acknowledge_incidents(connection: sa.Connection, alert: Alert, event: AlertEvent) -> None:
    """Write the message that acknowledges the incidents of an alert, to those who were sent the alert itself."""
    references = tuple(alerts.told_in(connection, [alert.alert_id]))
    sent = routing.sent_before(connection, [alert])[alert.fingerprint]
    to = {who: (alert.fingerprint,) for who in sorted(sent) if who[0] in routing.INCIDENT_CHANNELS}
    if to:
        routing.put(connection, _message(alert, event, references), to, now=event.at)


def _message(alert: Alert, event: AlertEvent, references: tuple[str, ...]) -> Message:
    happened = f"{event.actor} has acknowledged: {alert.sentence}"
    values: Mapping[str, Any] = {name: getattr(alert, name) for name in ("fingerprint", "kind", "subject", "severity")}
    line = AlertLine(**values, change=Change.ACKNOWLEDGED, sentence=happened, first_seen=alert.first_seen)
    return Message(
        message_id=message_identity("acknowledged", alert.alert_id, event.at.isoformat()),
        model=alert.model,
        topic="event",
        severity=alert.severity,
        subject=f"{alert.model or 'Keel'}: acknowledged by {event.actor}",
        at=event.at,
        happened=happened,
        hurts=(event.detail,) if event.detail else (),
        alerts=(line,),
        references=references,
    )
