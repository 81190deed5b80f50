"""``keel quarantine``: list a model's quarantined data and release it."""

from __future__ import annotations

from typing import Annotated

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json

app = typer.Typer(help="List a model's quarantined data and release it.", no_args_is_help=True)


@app.command("list")
def list_(model: ModelArgument, as_json: JsonOption = False) -> None:
    """List the quarantined intervals in order; training and checks ignore the data, or the labels, in them."""
    from keel.config import get_model
    from keel.deployments.data_quarantine import format_interval
    from keel.store.quarantines import LABELS
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        intervals = ws.store.quarantines(name)
    if as_json:
        print_json(intervals)
        return
    for interval in intervals:
        what = "labels: " if interval["about"] == LABELS else ""
        typer.echo(f"{format_interval(interval['start'], interval['end'])}  {what}{interval['reason']}")
    if not intervals:
        typer.echo(f"{name} has no quarantined data")


@app.command()
def release(
    model: ModelArgument,
    start: Annotated[str, typer.Option(help="Start of the time range, ISO 8601; UTC without a zone.")],
    end: Annotated[str, typer.Option(help="End of the time range.")],
    as_json: JsonOption = False,
) -> None:
    """Release every quarantined interval that lies within START and END; it is used again, and not quarantined again.

    An interval that lies only partly within the range stays quarantined.
    """
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments import data_quarantine
    from keel.window import Window, now_utc, parse_time
    from keel.workspace import Workspace

    name = get_model(model).model
    since, until = parse_time(start), parse_time(end)
    if since is None or until is None:
        raise typer.BadParameter("--start and --end must be times such as 2013-05-01T00:00:00Z")
    within = Window(since, until)
    with Workspace.open() as ws:
        released = data_quarantine.release(ws.store, name, within.start, within.end, actor=getuser(), now=now_utc())
    if as_json:
        print_json(released)
        return
    for interval in released:
        typer.echo(f"released {data_quarantine.format_interval(interval['start'], interval['end'])} of {name}")
