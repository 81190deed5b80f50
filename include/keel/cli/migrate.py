"""``keel migrate``: create or update the store's tables, once before a new release starts its servers."""

from __future__ import annotations

import typer

from keel.cli.output import JsonOption, print_json


def migrate(as_json: JsonOption = False) -> None:
    """Create or update the tables of the store that KEEL_STORE_URL names."""
    from keel.workspace import Workspace

    with Workspace.open() as workspace:
        store = workspace.store.url
    if as_json:
        print_json({"store": store})
    else:
        typer.echo(f"{store} is up to date")
