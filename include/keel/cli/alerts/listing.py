"""``keel alerts list`` and ``show``: which alerts there are, and the life of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, one_line, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from keel.alerts.records import Alert
    from keel.workspace import Workspace

HEAD = ("alert", "model", "severity", "state", "since", "what", "")
SENT = ("delivery", "written", "channel", "to", "state", "tries", "answer")
SHORT = 8
"""Characters of an id in a table. A command takes any number that names one alert."""
NO_MODEL = "all models"
OptionalModel = Annotated[str | None, typer.Argument(help="A configured model. Default: every model.")]
AlertArgument = Annotated[str, typer.Argument(help="The id of an alert, or its first characters.", metavar="ALERT")]


def list_(
    model: OptionalModel = None,
    everything: Annotated[bool, typer.Option("--all", help="Also list what is over, and what has not fired.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the alerts that are open, the worst first. The exit code is 0 whether there are any or not."""
    from keel.alerts.records import Alert, State
    from keel.config import get_model
    from keel.workspace import Workspace

    name = get_model(model).model if model else None
    with Workspace.open() as ws:
        rows = ws.store.alerts.list(name, is_open=None if everything else True)
        known = silenced_now(ws, [Alert.from_dict(row) for row in rows])
        waiting = ws.store.outbox.undelivered()
    kept = [each for each in known if everything or each.state is not State.PENDING]
    shown = sorted(kept, key=_order, reverse=True)
    if as_json:
        print_json([each.to_dict() for each in shown])
        return
    if shown:
        print_table(HEAD, [cells(each, known) for each in shown])
    else:
        typer.echo("there are no alerts" if everything else "no alert is open")
    if waiting:
        later = ", ".join(f"{count} by {channel}" for channel, count in waiting.items())
        typer.echo(f"\nmessages not delivered yet: {later}; to send them now: keel alerts send")


def show(alert: AlertArgument, as_json: JsonOption = False) -> None:
    """Show an alert: what it is about, its life, and which messages told of it to whom."""
    from keel.workspace import Workspace

    with Workspace.open() as ws:
        found = find_alert(ws, alert)
        events = ws.store.alerts.events(found.alert_id)
        known = open_alerts(ws, found.model)
        subjects = {each: subject_of(ws, each) for each in messages_about(found, events)}
        sent = ws.store.outbox.deliveries(message_ids=list(subjects))
        found = silenced_now(ws, [found])[0]
    if as_json:
        print_json({**found.to_dict(), "events": events, "deliveries": sent})
        return
    for line in described(found, known):
        typer.echo(line)
    if events:
        typer.echo("")
        names = subjects | {each.fingerprint: about(each) for each in known}
        rows = [_event(each, names) for each in events]
        print_table(("at", "event", "by", ""), rows)
    if sent:
        typer.echo("")
        print_table(SENT, [_delivery(each) for each in sent])


def find_alert(ws: Workspace, beginning: str) -> Alert:
    """Return the alert whose id begins so.

    Raises
    ------
    UnknownAlert
        None has such an id, or several have; the message lists those that are open.

    """
    from keel.alerts.records import Alert
    from keel.errors import UnknownAlert

    found = [Alert.from_dict(row) for row in ws.store.alerts.find(beginning)] if beginning.strip() else []
    if len(found) == 1:
        return found[0]
    candidates = found or open_alerts(ws, None)
    listed = "; ".join(f"{each.alert_id} ({each.model or NO_MODEL}: {about(each)})" for each in candidates[:10])
    what = "several alerts have ids that begin" if found else "no alert has an id that begins"
    raise UnknownAlert(f"{what} with {beginning!r}; {'they are' if found else 'open are'}: {listed or 'none'}")


def open_alerts(ws: Workspace, model: str | None) -> list[Alert]:
    """Return the open alerts of a model; None: of every model."""
    from keel.alerts.records import Alert

    return [Alert.from_dict(row) for row in ws.store.alerts.list(model, is_open=True)]


def messages_about(alert: Alert, events: Iterable[dict[str, Any]]) -> list[str]:
    """Return the ids of the messages that told of an alert."""
    told = [each["detail"] for each in events if each["event"] == "told" and each["detail"]]
    return list(dict.fromkeys([*([alert.message_id] if alert.message_id else []), *told]))


def subject_of(ws: Workspace, message_id: str) -> str:
    """Return the subject of a message."""
    return str((ws.store.outbox.message(message_id) or {}).get("subject", message_id))


def silenced_now(ws: Workspace, alerts: Sequence[Alert]) -> list[Alert]:
    """Return alerts with the silence that covers each: since its last check a person may have made or ended one."""
    from keel.alerts.silences import silenced, silences
    from keel.window import now_utc

    now = now_utc()
    return silenced(alerts, silences(ws.store, None, now), now)


def about(alert: Alert) -> str:
    """Return what an alert is about, such as ``data drift: temp``."""
    kind = alert.kind.replace("_", " ")
    return one_line(f"{kind}: {alert.subject}" if alert.subject else kind)


def state(alert: Alert, known: Sequence[Alert]) -> str:
    """Return where an alert is in its life, and what keeps people from being told of it."""
    from keel.alerts.records import State
    from keel.reports.numbers import duration

    if alert.state is State.RESOLVED:
        lasted = (alert.resolved_at or alert.last_seen) - alert.first_seen
        return f"over after {duration(lasted)}" if lasted else "over"
    words = f"acknowledged by {alert.acknowledged_by}" if alert.state is State.ACKNOWLEDGED else str(alert.state)
    if alert.state is State.FIRING and alert.told_at is not None and alert.message_id is None:
        words += ", in the next digest"
    if alert.inhibited_by:
        cause = next((about(each) for each in known if each.fingerprint == alert.inhibited_by), "another alert")
        words += f", explained by {cause}"
    if alert.silenced_by:
        words += f", silenced ({alert.silenced_by[:SHORT]})"
    return one_line(words)


def cells(alert: Alert, known: Sequence[Alert]) -> tuple[str, ...]:
    """Return an alert's cells, in the order of ``HEAD``."""
    return (
        alert.alert_id[:SHORT],
        alert.model or NO_MODEL,
        str(alert.severity),
        state(alert, known),
        shown_time(alert.first_seen),
        about(alert),
        one_line(alert.sentence),
    )


def described(alert: Alert, known: Sequence[Alert]) -> list[str]:
    """Return an alert as lines."""
    facts = {
        "alert": alert.alert_id,
        "model": alert.model or NO_MODEL,
        "severity": alert.severity,
        "state": state(alert, known),
        "first seen": shown_time(alert.first_seen),
        "last seen": shown_time(alert.last_seen),
        "over since": shown_time(alert.resolved_at) if alert.resolved_at else None,
        "because": alert.resolution,
    }
    width = max(map(len, facts))
    lines = [f"{about(alert)}. {one_line(alert.sentence)}", ""]
    lines += [f"{name.ljust(width)}  {one_line(str(value))}" for name, value in facts.items() if value]
    evidence = [f"  {name}: {one_line(str(value))}" for name, value in alert.evidence.items() if value is not None]
    return [*lines, *(["", "evidence", *evidence] if evidence else [])]


def shown_time(moment: datetime) -> str:
    """Return a time in UTC to the minute."""
    return f"{moment:%Y-%m-%d %H:%M}"


def _event(row: dict[str, Any], names: dict[str, str]) -> tuple[str, ...]:
    """Return an event's cells. names: what ids and fingerprints stand for."""
    detail = names.get(row["detail"], row["detail"])
    return (shown_time(row["at"]), row["event"], one_line(row["actor"]), one_line(detail))


def _delivery(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["delivery_id"],
        shown_time(row["created_at"]),
        row["channel"],
        one_line(row["recipient"]),
        row["state"],
        str(row["tries"]),
        one_line(row["answer"] or ""),
    )


def _order(alert: Alert) -> tuple[int, int, float]:
    """The greatest first: what fires, then what is over, then what has not fired."""
    from keel.alerts.records import State

    last = (State.RESOLVED, State.PENDING)
    place = last.index(alert.state) + 1 if alert.state in last else 0
    return (-place, alert.severity.level, alert.rank)
