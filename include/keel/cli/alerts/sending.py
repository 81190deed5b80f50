"""``keel alerts test``, ``send`` and ``heartbeat``: does what is to reach people reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from keel.cli.output import JsonOption, Progress, one_line, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keel.alerts.records import Delivery
    from keel.alerts.samples import Sampled
    from keel.config import Channel

NOT_SENT = 1
"""Exit code where a receiver did not accept a message."""
NOT_ALIVE = 1
"""Exit code where the heartbeat has something to report."""


def sample(
    model: Annotated[str | None, typer.Argument(help="Whose recipients. Default: those of every model.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only email, slack, teams, pagerduty or apprise.")] = None,
    to: Annotated[str | None, typer.Option(help="In place of the configured recipients; with --channel.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a sample to every recipient, and show what each receiver answered. The exit code is 1 where one refused.

    The sample passes the outbox by: it is tried once, and works without a store.
    """
    from os import environ

    from keel.alerts.samples import send_samples
    from keel.cli.alerts.senders import airflow_senders, outbox_sender
    from keel.config import get_model, read_models
    from keel.window import now_utc
    from keel.workspace import home_of

    configs = [get_model(model)] if model else list(read_models()[0].values())
    name = known_channel(channel)
    with Progress(quiet=as_json) as progress:
        progress("sending a sample to each recipient")
        fallback = outbox_sender(home_of(environ) / "outbox")
        found = send_samples(configs, airflow_senders(), fallback, channel=name, to=to, now=now_utc())
    if as_json:
        print_json([{"channel": e.channel, "recipient": e.recipient, **e.answer.to_dict()} for e in found])
    else:
        print_table(("channel", "to", "", "answer"), [_cells(each) for each in found])
    if not all(each.answer.accepted for each in found):
        raise typer.Exit(NOT_SENT)


def send(
    retry: Annotated[str | None, typer.Option(help="The id of a delivery that failed: try it again now.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the digests that are due and send what waits, as Airflow's DAG keel.alerts does every minute.

    The exit code is 1 where a message could not be sent; it is tried again later.
    """
    from keel.alerts import delivery
    from keel.alerts.digest import flush_digests
    from keel.cli.alerts.senders import airflow_senders, outbox_sender
    from keel.config import read_models
    from keel.window import now_utc
    from keel.workspace import Workspace

    configs, _ = read_models()
    now = now_utc()
    with Workspace.open() as ws, Progress(quiet=as_json) as progress:
        if retry is not None:
            delivery.retry(ws.store, retry, now=now)
        flush_digests(ws, configs.values(), now=now)
        progress("sending what is due")
        sent = delivery.send_due(ws.store, airflow_senders(), outbox_sender(ws.outbox), now=now)
        waiting = ws.store.outbox.undelivered()
    if as_json:
        print_json({"sent": [each.to_dict() for each in sent], "waiting": waiting})
    else:
        for line in _sent(sent, waiting):
            typer.echo(line)
    if any(each.state != "sent" for each in sent):
        raise typer.Exit(NOT_SENT)


def heartbeat(
    models: Annotated[list[str] | None, typer.Argument(help="Configured models. Default: every model.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether checks come in time and messages leave, without Airflow: any monitor can call it.

    The exit code is 0 where all is alive, and 1 where a check is overdue, messages wait that nothing sends, a channel
    accepts none, or a model.yaml is not valid; 3 where the store does not answer.
    """
    from keel.alerts.heartbeat import heartbeat as ask
    from keel.cli.checks.status import chosen
    from keel.window import now_utc
    from keel.workspace import Workspace

    configs, invalid = chosen(models or ())
    with Workspace.open() as ws:
        found = ask(ws, configs.values(), now=now_utc())
    found = found.model_copy(update={"problems": (*map(str, invalid), *found.problems)})
    if as_json:
        print_json({**found.to_dict(), "is_alive": found.is_alive})
    elif found.is_alive:
        typer.echo("alive: every check came in time, and nothing waits that should have been sent")
    else:
        for problem in found.problems:
            typer.echo(one_line(problem))
    if not found.is_alive:
        raise typer.Exit(NOT_ALIVE)


def known_channel(name: str | None) -> Channel | None:
    """Return the channel of a name; None for None. `ConfigError` names the nearest."""
    from keel.config import Channel
    from keel.errors import ConfigError, suggestion

    known = get_args(Channel)
    if name is None or name in known:
        return cast("Channel | None", name)
    raise ConfigError(f"--channel: {name!r} is no channel{suggestion(name, known)}; there are: {', '.join(known)}")


def _sent(sent: Iterable[Delivery], waiting: dict[str, int]) -> list[str]:
    lines = [
        f"{each.channel} to {one_line(each.recipient) or 'nobody'}: {one_line(each.answer or '')}"
        + (f"; tried again at {each.next_try_at:%Y-%m-%d %H:%M}" if each.next_try_at else "")
        for each in sent
    ]
    later: Any = ", ".join(f"{count} by {channel}" for channel, count in waiting.items())
    return [*(lines or ["nothing was due"]), *([f"later: {later}"] if later else [])]


def _cells(sampled: Sampled) -> tuple[str, ...]:
    answer = sampled.answer
    accepted = "accepted" if answer.accepted else "not accepted"
    became = "only a file" if answer.accepted and "file" in (answer.reference or {}) else accepted
    return (sampled.channel, one_line(sampled.recipient), became, one_line(answer.detail))
