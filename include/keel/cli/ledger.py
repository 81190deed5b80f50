"""``keel ledger``: the history of deployments, and the proof that nobody rewrote it."""

from __future__ import annotations

from typing import Annotated

import typer

from keel.cli.output import JsonOption, print_json
from keel.errors import KeelError

app = typer.Typer(help="The history of deployments, and the proof that nobody rewrote it.", no_args_is_help=True)


class LedgerBroken(KeelError):
    """The chain of hashes does not hold."""


@app.command()
def show(model: Annotated[str, typer.Argument(help="A configured model.")], as_json: JsonOption = False) -> None:
    """Tell what happened to a model's versions, oldest first."""
    from keel.config import get_model
    from keel.lifecycle.ledger import entries
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        rows = list(entries(ws.store, name))
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    for row in rows:
        said = row.body.get("evidence", {}).get("sentence") or row.body.get("reason", "")
        typer.echo(f"{row.seq:>4}  {row.at:%Y-%m-%d %H:%M:%S}  {row.action.replace('_', ' '):<14} {row.actor}: {said}")
    if not rows:
        typer.echo(f"nothing was ever deployed for {name}")


@app.command()
def verify(as_json: JsonOption = False) -> None:
    """Recompute the chain of hashes; exit 1 and name the row where it breaks."""
    from keel.lifecycle.ledger import verify as recompute
    from keel.workspace import Workspace

    with Workspace.open() as ws:
        found = recompute(ws.store)
    if as_json:
        print_json(found.__dict__)
    if found.broken_at is not None:
        raise LedgerBroken(f"row {found.broken_at} of the ledger: {found.reason}")
    if not as_json:
        typer.echo(f"{found.entries} rows: {found.reason}")
