"""``keel migrate``: create or update the store's tables, once before a new release starts its servers."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from keel.cli.output import JsonOption, print_json


def migrate(
    reader: Annotated[
        str | None,
        typer.Option(help="A PostgreSQL user who may then read the views of docs/metrics.md, and nothing else."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create or update the tables of the store that KEEL_STORE_URL names.

    A missing reader is created with the password in KEEL_READER_PASSWORD; that of an existing one is set to it.
    """
    from keel.store.database.migrations.reader import prepare
    from keel.workspace import Workspace

    with Workspace.open() as workspace:
        store = workspace.store.url
        if reader:
            password, page = (os.environ.get(name) or None for name in ("KEEL_READER_PASSWORD", "KEEL_PAGE_URL"))
            with workspace.store.begin() as connection:
                prepare(connection, reader, password=password, page=page)
    if as_json:
        print_json({"store": store, **({"reader": reader} if reader else {})})
        return
    typer.echo(f"{store} is up to date")
    if reader:
        typer.echo(f"{reader} may read its views")
