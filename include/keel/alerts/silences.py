"""Silences: alerts of which nobody is told until a stated time, because a person said so, with a reason.

A silence is a row of the ledger, and so is its end before that time. Alerts keep their life meanwhile. One for all
models also covers what concerns no single one. That the ledger is broken is covered only by a silence that names the
kind: it is no work that somebody has planned, and the silences themselves cannot be trusted then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from keel.alerts.inhibition import column_of, inhibitor
from keel.alerts.records import ALL_MODELS, Alert, Silence, State
from keel.config import Kind
from keel.deployments.ledger_rows import append_entry, lock_ledger
from keel.errors import BadSilence, UnknownSilence
from keel.ledger import entries as ledger
from keel.ledger.wording import format_time
from keel.monitoring.storage import derived_id
from keel.store.database.tables import ledger as ledger_table

if TYPE_CHECKING:
    from keel.store import Store
    from keel.workspace import Workspace

MAX_LISTED = 10
"""Silences that an error lists."""


def silence(
    ws: Workspace,
    model: str,
    *,
    kind: Kind | None = None,
    subject: str | None = None,
    start: datetime | None = None,
    until: datetime,
    reason: str,
    actor: str,
    now: datetime,
) -> Silence:
    """Tell nobody of a model's alerts until a time, and return the silence, which is a row of the ledger.

    model: `ALL_MODELS`: those of every model, and those of none, such as about a channel.
    kind: only this kind; None: every kind, but for a broken ledger.
    subject: only subjects that match this shell pattern, such as ``wind_*``, by case; None: every subject. A name
    matches itself, whatever is in it, and a column's matches all that is about the column.
    start: from when on; None: at once.

    The same call again, as by a task that runs again, returns the same silence and writes nothing.

    Raises
    ------
    BadSilence
        It would end before it begins, or has no reason or no actor.

    """
    if until <= now:
        raise BadSilence(f"a silence until {_time(until)} (UTC) would be over already: name a later end")
    if start is not None and until <= start:
        raise BadSilence(f"a silence until {_time(until)} would end before it begins, {_time(start)} (UTC)")
    for name, value in (("a reason", reason), ("an actor", actor)):
        if not value.strip():
            raise BadSilence(f"a silence needs {name}: others must see why they are not told, and whom to ask")
    if subject == "":
        raise BadSilence("an empty pattern matches no column: leave it out to silence every subject")
    about = model, str(kind), str(subject), str(start), until.isoformat(), actor, now.isoformat()
    identity = derived_id("silence", *about)
    made = Silence(
        silence_id=identity,
        model=model,
        kind=kind,
        subject=subject,
        start=start,
        until=until,
        actor=actor,
        reason=reason,
    )
    body = {"silence": made.to_dict(), "evidence": {"sentence": f"Silenced {describe(made)}.", "reason": reason}}
    with ws.store.begin() as connection:
        lock_ledger(connection)
        if identity not in _folded(connection):
            append_entry(connection, model, actor=actor, action=ledger.Action.SILENCE, body=body, now=now)
    return made


def end_silence(ws: Workspace, silence_id: str, *, actor: str, now: datetime) -> Silence:
    """End a silence before its time, and return it. What still fires is told by the next check.

    silence_id: the id or the first characters of it.

    Raises
    ------
    UnknownSilence
        No silence that lasts, or is planned, begins with that id, or several do; the message lists them.

    """
    with ws.store.begin() as connection:
        lock_ledger(connection)
        lasting = [each for each in _folded(connection).values() if each.until > now]
        found = [each for each in lasting if silence_id and each.silence_id.startswith(silence_id)]
        if len(found) != 1:
            listed = "; ".join(f"{each.silence_id} ({describe(each)})" for each in lasting[:MAX_LISTED])
            what = "several silences have ids that begin" if found else "no silence that lasts has an id that begins"
            raise UnknownSilence(f"{what} with {silence_id!r}; there are: {listed or 'none'}")
        [ended] = found
        body = {
            "silence_id": ended.silence_id,
            "evidence": {"sentence": f"Ended the silence of {describe(ended)}.", "reason": ended.reason},
        }
        append_entry(connection, ended.model, actor=actor, action=ledger.Action.END_SILENCE, body=body, now=now)
    return ended


def silences(source: Store | Connection, model: str | None, at: datetime) -> list[Silence]:
    """Return the silences that cover a model and are not over at a time, the one that ends first first.

    model: None: every model. Some may begin later than ``at``.
    """
    if isinstance(source, Connection):
        found = _folded(source, model)
    else:
        with source.connect() as connection:
            found = _folded(connection, model)
    return sorted((each for each in found.values() if each.until > at), key=lambda each: (each.until, each.silence_id))


def covering(alert: Alert, silences: Sequence[Silence], at: datetime) -> Silence | None:
    """Return the silence that covers an alert at a time, of several the one that lasts longest; None without one."""
    found = [each for each in silences if _lasts(each, at) and covers(each, alert)]
    return max(found, key=lambda each: each.until, default=None)


def silenced(alerts: Iterable[Alert], silences: Sequence[Silence], at: datetime) -> list[Alert]:
    """Return alerts, each with the silence that covers it at a time: a person may have made or ended one since."""
    found = ((each, covering(each, silences, at) if each.is_open else None) for each in alerts)
    return [each.model_copy(update={"silenced_by": one.silence_id if one else None}) for each, one in found]


def covered(alert: Alert, others: Iterable[Alert], silences: Sequence[Silence], at: datetime) -> Alert:
    """Return an alert with what keeps it from being told at a time. One that is over keeps what it had.

    others: the open alerts of its model, itself included or not.
    """
    if alert.state is State.PENDING or (alert.kind.lasts and not alert.is_open):
        return alert
    cause = inhibitor(alert, others) if alert.is_open else None
    silence = covering(alert, silences, at)
    return alert.model_copy(
        update={
            "inhibited_by": cause.fingerprint if cause else None,
            "silenced_by": silence.silence_id if silence else None,
        }
    )


def covers(silence: Silence, alert: Alert) -> bool:
    """Return whether a silence is about an alert, at whatever time."""
    kinds = (alert.kind,) if alert.kind is Kind.LEDGER_BROKEN else (alert.kind, None)
    return (
        silence.model in (alert.model, ALL_MODELS)
        and silence.kind in kinds
        and (silence.subject is None or _matches(silence.subject, alert.subject))
    )


def _lasts(silence: Silence, at: datetime) -> bool:
    return (silence.start is None or silence.start <= at) and at < silence.until


def _matches(pattern: str, subject: str) -> bool:
    names = subject, column_of(subject)
    return pattern in names or any(fnmatchcase(each, pattern) for each in names)


def describe(silence: Silence) -> str:
    """Return in words what is silenced, from when on, and until when."""
    what = f"alerts of {silence.kind.replace('_', ' ')}" if silence.kind else "all alerts"
    about = f" about {silence.subject}" if silence.subject is not None else ""
    start = f" from {_time(silence.start)}" if silence.start else ""
    return f"{what}{about}{start} until {_time(silence.until)} (UTC)"


def _time(moment: datetime) -> str:
    return format_time(moment.isoformat())


def _folded(connection: Connection, model: str | None = None) -> dict[str, Silence]:
    """Return the silences that nobody has ended, by id; of those that cover a model, if one is named."""
    actions = [str(ledger.Action.SILENCE), str(ledger.Action.END_SILENCE)]
    query = select(ledger_table).where(ledger_table.c.action.in_(actions)).order_by(ledger_table.c.seq)
    if model is not None:
        query = query.where(ledger_table.c.model.in_({model, ALL_MODELS}))
    found: dict[str, Silence] = {}
    for row in connection.execute(query).mappings():
        entry = ledger.parse_entry(dict(row))
        if entry.action == ledger.Action.END_SILENCE:
            found.pop(str(entry.body.get("silence_id")), None)
        elif (made := _read(entry.body)) is not None:
            found[made.silence_id] = made
    return found


def _read(body: Mapping[str, Any]) -> Silence | None:
    """Return the silence of a row; None where the row has another form, which `keel ledger verify` finds."""
    try:
        return Silence.model_validate(body["silence"])
    except (KeyError, ValueError):
        return None
