"""``keel quarantine``: what is set aside of a model's predictions, and giving it back."""

from __future__ import annotations

from typing import Annotated

import typer

from keel.cli.output import JsonOption, print_json

app = typer.Typer(help="What is set aside of a model's predictions, and giving it back.", no_args_is_help=True)
ModelArgument = Annotated[str, typer.Argument(help="A configured model.")]


@app.command("list")
def list_(model: ModelArgument, as_json: JsonOption = False) -> None:
    """List the stretches of time that nothing learns from and no check looks at, in order."""
    from keel.config import get_model
    from keel.deployments.data_quarantine import span
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        stretches = ws.store.quarantines(name)
    if as_json:
        print_json([plain(stretch) for stretch in stretches])
        return
    for stretch in stretches:
        typer.echo(f"{span(stretch['start'], stretch['end'])}  {stretch['reason']}")
    if not stretches:
        typer.echo(f"nothing of {name} is set aside")


@app.command()
def release(
    model: ModelArgument,
    start: Annotated[str, typer.Option(help="The stretches that begin here or later, as ISO 8601; UTC without zone.")],
    end: Annotated[str, typer.Option(help="… and end here or earlier.")],
    as_json: JsonOption = False,
) -> None:
    """Give back every stretch within START and END: it is used again, and never set aside again."""
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments.data_quarantine import release as give_back
    from keel.deployments.data_quarantine import span
    from keel.window import Window, now_utc, parse_time
    from keel.workspace import Workspace

    name = get_model(model).model
    since, until = parse_time(start), parse_time(end)
    if since is None or until is None:
        raise typer.BadParameter("--start and --end are times such as 2013-05-01T00:00:00Z")
    within = Window(since, until)
    with Workspace.open() as ws:
        released = give_back(ws.store, name, within.start, within.end, actor=getuser(), now=now_utc())
    if as_json:
        print_json([plain(stretch) for stretch in released])
        return
    for stretch in released:
        typer.echo(f"released {span(stretch['start'], stretch['end'])} of {name}")


def plain(stretch: dict[str, object]) -> dict[str, object]:
    """Return a stretch with its times as ISO texts."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in stretch.items()}
