"""``keel alerts ack``, ``silence``, ``silences`` and ``unsilence``: who is told of what, by a person's decision."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from keel.cli.alerts.listing import NO_MODEL, SHORT, AlertArgument, OptionalModel, about, shown_time
from keel.cli.output import JsonOption, one_line, print_json, print_table

if TYPE_CHECKING:
    from datetime import datetime

    from keel.alerts.records import Silence
    from keel.config import Kind

HEAD = ("silence", "model", "kind", "subject", "from", "until", "by", "reason")
ReasonOption = Annotated[str, typer.Option(help="Why. The ledger keeps it.")]


def ack(
    alert: AlertArgument,
    reason: Annotated[str, typer.Option(help="What you do about it. Others read it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Acknowledge an alert: you look after it, so nobody is reminded. Worse, it is told again; over, that is told."""
    from getpass import getuser

    from keel.alerts.acknowledging import acknowledge
    from keel.window import now_utc
    from keel.workspace import Workspace

    with Workspace.open() as ws:
        found = acknowledge(ws, alert, actor=getuser(), reason=reason, now=now_utc())
    if as_json:
        print_json(found.to_dict())
    else:
        whose = f" of {found.model}" if found.model else ""
        typer.echo(f"acknowledged {found.alert_id[:SHORT]}: {about(found)}{whose}")


def silence(
    reason: ReasonOption,
    model: Annotated[str | None, typer.Argument(help="A configured model.")] = None,
    all_models: Annotated[
        bool, typer.Option("--all-models", help="Every model, and what concerns none, such as a channel.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(help="Only this kind, such as data_drift. Default: every kind but ledger_broken."),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Only this column or other subject; a pattern such as 'wind_*'. Default: every one."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="From when on, ISO 8601; UTC without a zone. Default: at once.")
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", help="How long, such as 12h or 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when, ISO 8601; UTC without a zone.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell nobody of some alerts for a time. They live on, and what still fires at the end is told then.

    The silence is a row of the ledger. Checks and decisions go on as before.
    """
    from getpass import getuser

    from keel.alerts import silences as silencing
    from keel.window import now_utc, parse_time
    from keel.workspace import Workspace

    name, now, start = _whose(model, all_models), now_utc(), parse_time(from_)
    end = _end(for_, until, start or now)
    with Workspace.open() as ws:
        made = silencing.silence(
            ws,
            name,
            kind=known_kind(kind),
            subject=subject,
            start=start,
            until=end,
            reason=reason,
            actor=getuser(),
            now=now,
        )
    if as_json:
        print_json(made.to_dict())
        return
    what, end_it = silencing.describe(made), f"keel alerts unsilence {made.silence_id[:SHORT]}"
    typer.echo(f"{name or NO_MODEL}: silenced {what}; to end that before: {end_it}")


def silences(model: OptionalModel = None, as_json: JsonOption = False) -> None:
    """List the silences that last or are planned, the one that ends first first."""
    from keel.alerts import silences as silencing
    from keel.config import get_model
    from keel.window import now_utc
    from keel.workspace import Workspace

    name = get_model(model).model if model else None
    with Workspace.open() as ws:
        found = silencing.silences(ws.store, name, now_utc())
    if as_json:
        print_json([each.to_dict() for each in found])
    elif found:
        print_table(HEAD, [_cells(each) for each in found])
    else:
        typer.echo("nothing is silenced")


def unsilence(
    silence: Annotated[str, typer.Argument(help="The id of a silence, or its first characters.")],
    as_json: JsonOption = False,
) -> None:
    """End a silence before its time. What still fires is told by the next check."""
    from getpass import getuser

    from keel.alerts import silences as silencing
    from keel.window import now_utc
    from keel.workspace import Workspace

    with Workspace.open() as ws:
        ended = silencing.end_silence(ws, silence, actor=getuser(), now=now_utc())
    if as_json:
        print_json(ended.to_dict())
    else:
        typer.echo(f"{ended.model or NO_MODEL}: no longer silenced: {silencing.describe(ended)}")


def known_kind(name: str | None) -> Kind | None:
    """Return the kind of a name; None for None. `ConfigError` names the nearest."""
    from keel.config import Kind
    from keel.errors import ConfigError, suggestion

    if name is None:
        return None
    try:
        return Kind(name)
    except ValueError:
        known = list(map(str, Kind))
        raise ConfigError(
            f"--kind: {name!r} is no kind of alert{suggestion(name, known)}; there are: {', '.join(known)}"
        ) from None


def _whose(model: str | None, all_models: bool) -> str:
    from keel.alerts.records import ALL_MODELS
    from keel.config import get_model
    from keel.errors import ConfigError

    if (model is None) != all_models:
        raise ConfigError("name the model, or --all-models for every one, and not both")
    return ALL_MODELS if model is None else get_model(model).model


def _end(for_: str | None, until: str | None, start: datetime) -> datetime:
    """Return when a silence ends."""
    from keel.config.loading import parse_duration
    from keel.errors import ConfigError
    from keel.window import parse_time

    if (for_ is None) == (until is None):
        raise ConfigError(
            "name the end of the silence with --for, such as --for 7d, or with --until, and not with both"
        )
    if until is not None and (end := parse_time(until)) is not None:
        return end
    try:
        length = parse_duration(for_)
        assert isinstance(length, timedelta)
        return start + length
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--for {for_}: {error}") from None


def _cells(silence: Silence) -> tuple[str, ...]:
    return (
        silence.silence_id[:SHORT],
        silence.model or NO_MODEL,
        str(silence.kind or "every kind"),
        one_line("every one" if silence.subject is None else silence.subject),
        shown_time(silence.start) if silence.start else "",
        shown_time(silence.until),
        one_line(silence.actor),
        one_line(silence.reason),
    )
