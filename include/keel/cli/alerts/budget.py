"""``keel alerts budget``: how many messages chance alone may cause a person, and how many were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, one_line, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.alerts.budget import PersonBudget, Promise, Spent

NOT_KEPT = 1
"""Exit code where more messages are expected, when nothing is wrong, than somebody's budget."""
HEAD = ("person", "models", "checks", "budget", "expected", "sent", "of which")
LOOKS = (
    "Checks are those of the schedule in 30 days, or those that the store has recorded lately if these are more. A "
    "window that is checked again counts once."
)
UNSCHEDULED = (
    "no check.schedule, and none recorded in the last 30 days: what starts its checks is known from the first "
    "of them on"
)
NOT_PROMISED = (
    "Not in the promise is what chance does not cause: drift and harm that are there, promotions and rollbacks, broken "
    "runs, overdue checks, channels that fail."
)


def budget(
    days: Annotated[int, typer.Option(min=1, max=3660, help="How far to look back for what was sent.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Show the promise to each person: how many messages in 30 days chance alone may cause, and how many were sent.

    Whatever really happens is not in the promise: drift that is there, promotions, broken runs, overdue checks. The
    exit code is 1 where somebody's budget is too small for the live monitors, whose rate has a setting of its own.
    """
    from datetime import timedelta

    from keel.alerts.budget import promise, recorded_looks, spent
    from keel.config import read_models
    from keel.window import now_utc
    from keel.workspace import Workspace

    configs, invalid = read_models()
    now = now_utc()
    with Workspace.open() as ws:
        promised = promise(list(configs.values()), recorded_looks(ws.store, now))
        sent = spent(ws.store, list(configs.values()), since=now - timedelta(days=days), until=now)
    if as_json:
        print_json(document(promised, sent, days, [str(error) for error in invalid]))
    else:
        print_budget(promised, sent, days)
        for error in invalid:
            typer.echo(f"not counted: {error}")
    if not all(promised.is_kept(person) for person in promised.people):
        raise typer.Exit(NOT_KEPT)


def document(promised: Promise, sent: Sequence[Spent], days: int, invalid: list[str]) -> dict[str, Any]:
    """Return the promise and what was sent as JSON values."""
    from dataclasses import asdict

    people = [
        {
            **asdict(person),
            "expected": promised.expected(person),
            "is_kept": promised.is_kept(person),
            "models": [{**asdict(each), "level": promised.levels[each.model]} for each in person.models],
        }
        for person in promised.people
    ]
    return {
        "period_days": 30,
        "people": people,
        "levels": promised.levels,
        "harm_levels": promised.harm_levels,
        "long_run_levels": promised.long_run_levels,
        "sent": [asdict(each) for each in sent],
        "sent_days": days,
        "invalid": invalid,
    }


def print_budget(promised: Promise, sent: Sequence[Spent], days: int) -> None:
    """Print the promise to each person beside what was sent."""
    if not promised.people:
        typer.echo("nobody is told anything: alerts.email, alerts.slack and alerts.routes name no one")
        return
    typer.echo(f"Messages in 30 days when nothing is wrong, and messages sent in the last {days} days")
    typer.echo("")
    by_person = {(each.channel, each.recipient): each for each in sent}
    print_table(HEAD, [_cells(promised, each, by_person) for each in promised.people])
    typer.echo("")
    typer.echo("What a check finds is told when its adjusted p-value is at most")
    width = max(map(len, promised.levels))
    for model, level in promised.levels.items():
        typer.echo(f"  {model.ljust(width)}  {_plain(level)}; harm {_plain(promised.harm_levels[model])}")
    for model in dict.fromkeys(each.model for person in promised.people for each in person.models if not each.looks):
        typer.echo(f"  {model}: {UNSCHEDULED}")
    typer.echo("")
    typer.echo(LOOKS)
    typer.echo(NOT_PROMISED)
    for person in promised.people:
        if not promised.is_kept(person):
            typer.echo(_too_small(promised, person))
    known = {_key(person) for person in promised.people}
    for each in sent:
        if (each.channel, each.recipient) not in known and each.messages:
            typer.echo(f"{_person(each)} was sent {each.messages}; no route names it any more")


def _person(each: PersonBudget | Spent) -> str:
    return one_line(f"{each.recipient} ({each.channel})")


def _key(person: PersonBudget) -> tuple[str, str]:
    return person.channel, person.recipient


def _cells(promised: Promise, person: PersonBudget, sent: dict[Any, Spent]) -> tuple[str, ...]:
    spent = sent.get(_key(person))
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in spent.by_kind.items()) if spent else ""
    return (
        _person(person),
        str(len(person.models)),
        _plain(sum(each.looks for each in person.models)),
        _plain(person.budget),
        f"at most {promised.expected(person):.2g}",
        str(spent.messages if spent else 0),
        kinds,
    )


def _too_small(promised: Promise, person: PersonBudget) -> str:
    return (
        f"{_person(person)}: {promised.expected(person):.2g} messages are to be expected, and "
        f"the budget is {_plain(person.budget)}. False alarms of the live monitors take all of it, so nothing that a "
        "check finds by a test is told: lower live.alpha, route less to this person, or raise alerts.budget."
    )


def _plain(value: float) -> str:
    return f"{value:.3g}"
