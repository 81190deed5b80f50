"""``keel ledger``: show, verify, export and sign the history of deployments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json
from keel.errors import ConfigError, LedgerBroken, without_credentials

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from keel.ledger.entries import Entry
    from keel.ledger.verification import Verification

app = typer.Typer(help="Show, verify, export and sign the history of deployments.", no_args_is_help=True)

STYLES = {
    "promote": "bold green",
    "confirm": "green",
    "rollback": "bold red",
    "out_of_band": "bold red",
    "keep_champion": "bold yellow",
    "decline": "bold yellow",
    "quarantine": "bold red",
    "experiment_start": "bold cyan",
    "experiment_end": "bold cyan",
}
"""Style of a row's first sentence on a terminal, by the row's action."""
READABLE = 100
"""Longest line, in characters, that is comfortable to read."""

PlaceOption = Annotated[
    str | None,
    typer.Option("--checkpoints", envvar="KEEL_CHECKPOINTS", help="Folder or fsspec URL of the checkpoints."),
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option("--public-key", envvar="KEEL_VERIFY_KEY", help="File of the trusted public keys."),
]


@app.command()
def show(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show the history of a model's versions by day, newest last, and what concerns all models."""
    from keel.alerts.records import ALL_MODELS
    from keel.config import get_model
    from keel.ledger.entries import entries
    from keel.ledger.narrative import describe
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        found = [*entries(ws.store, name), *entries(ws.store, ALL_MODELS)]
    rows = sorted(found, key=lambda row: row.seq)
    if as_json:
        print_json([{**row.to_dict(), "sentence": describe(row)} for row in rows])
    elif rows:
        print_history(rows)
    else:
        typer.echo(f"{name} has no ledger rows")


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Option("--file", help="File of keel ledger export, in place of the store.")
    ] = None,
    place: PlaceOption = None,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the chain of hashes and the signed checkpoints; exit 1 and name the row where the chain breaks."""
    keys = _keys(place, public_key)
    if file is not None:
        from keel.ledger.verification import read_rows

        found, disagreements = _verified(read_rows(file), place, keys), []
    else:
        from keel.deployments.consistency import find_disagreements
        from keel.workspace import Workspace

        with Workspace.open() as ws:
            found = _verified(ws.store, place, keys)
            disagreements = find_disagreements(ws.store) if found.broken_at is None else []
    holds = found.broken_at is None and not disagreements
    if as_json:
        print_json({**asdict(found), "disagreements": disagreements, "holds": holds})
        raise typer.Exit(0 if holds else LedgerBroken.exit_code)
    if found.broken_at is not None:
        raise LedgerBroken(f"row {found.broken_at} of the ledger: {found.reason}")
    if disagreements:
        raise LedgerBroken("; ".join(disagreements))
    typer.echo(f"{found.entries} rows: {found.reason}")
    typer.echo(_coverage(found, place))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write, one row a line.")], as_json: JsonOption = False
) -> None:
    """Write every row exactly as it is hashed, for verification without this database."""
    from keel.ledger.entries import stored_rows
    from keel.ledger.verification import write_rows
    from keel.workspace import Workspace

    with Workspace.open() as ws:
        rows = stored_rows(ws.store)
    write_rows(file, rows)
    head = rows[-1]["hash"] if rows else None
    if as_json:
        print_json({"file": str(file), "entries": len(rows), "head": head})
    else:
        typer.echo(f"wrote {len(rows)} rows to {file}; to verify them anywhere: keel ledger verify --file {file}")


@app.command()
def checkpoint(
    place: PlaceOption = None,
    key: Annotated[
        Path | None, typer.Option("--key", envvar="KEEL_SIGNING_KEY", help="File of the private key.")
    ] = None,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the ledger and its checkpoints, then sign its current state; without new rows nothing is written."""
    from keel.ledger.checkpoints import write
    from keel.ledger.signing_keys import private_key, public_keys
    from keel.window import now_utc
    from keel.workspace import Workspace

    if place is None or key is None:
        raise ConfigError(
            "name the place with --checkpoints or KEEL_CHECKPOINTS, and the private key with --key or KEEL_SIGNING_KEY"
        )
    signing, trusted = private_key(key), public_keys(public_key) if public_key else []
    with Workspace.open() as ws:
        written = write(ws.store, place, signing, now_utc(), trusted=trusted)
    if as_json:
        print_json(written.to_dict() if written else None)
    elif written:
        typer.echo(
            f"{without_credentials(place)}: {written.name} covers {written.size} rows, signed by key {written.key_id}"
        )
    else:
        typer.echo("the ledger has no new rows; no checkpoint was written")


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="File of the private key; the public key gets the suffix .pub.")],
    as_json: JsonOption = False,
) -> None:
    """Create the key pair that signs and verifies checkpoints."""
    from keel.ledger.signing_keys import keygen as make

    made = {"key_id": make(file), "private_key": str(file), "public_key": f"{file}.pub"}
    if as_json:
        print_json(made)
        return
    typer.echo(f"created key {made['key_id']}")
    typer.echo(f"{file} signs checkpoints; keep it secret, where they are written (KEEL_SIGNING_KEY)")
    typer.echo(f"{file}.pub verifies checkpoints; give it to everyone who verifies (KEEL_VERIFY_KEY)")


@app.command()
def rebuild(
    model: Annotated[str | None, typer.Argument(help="A configured model. Default: every model.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the ledger, then rebuild the tables of deployments and experiments from it, such as after their loss."""
    from keel import deployments
    from keel.config import get_model
    from keel.deployments import experiments
    from keel.ledger import entries as ledger
    from keel.workspace import Workspace

    name = get_model(model).model if model else None
    with Workspace.open() as ws:
        found = ledger.verify(ws.store)
        if found.broken_at is not None:
            raise LedgerBroken(f"nothing was rebuilt: row {found.broken_at} of the ledger: {found.reason}")
        wrong, tried = deployments.rebuild(ws.store, name), experiments.rebuild(ws.store, name)
        ws.store.restore_views()  # PostgreSQL drops those of a table with it
    if as_json:
        print_json([*(asdict(deployment) for deployment in wrong), *({"model": m, "experiments": True} for m in tried)])
        return
    for each in wrong:
        placed = ", ".join(f"{alias} {version or 'none'}" for alias, version in each.aliases.items())
        typer.echo(f"{each.model}: {placed} (generation {each.generation})")
    for each_model in tried:
        typer.echo(f"{each_model}: experiments rebuilt")
    if not (wrong or tried):
        typer.echo("deployments and experiments already agree with the ledger")


def _keys(place: str | None, public_key: Path | None) -> list[Ed25519PublicKey]:
    """Return the public keys that verify the checkpoints; none without a place."""
    if place is None and public_key is None:
        return []
    if place is None:
        raise ConfigError("a public key needs checkpoints: name their place with --checkpoints or KEEL_CHECKPOINTS")
    if public_key is None:
        raise ConfigError("checkpoints need a public key: name its file with --public-key or KEEL_VERIFY_KEY")
    from keel.ledger.signing_keys import public_keys

    return public_keys(public_key)


def _verified(source: Any, place: str | None, keys: list[Ed25519PublicKey]) -> Verification:
    from keel.ledger import checkpoints as checkpoint

    return checkpoint.verified(source) if place is None else checkpoint.check(source, place, keys)


def _coverage(found: Verification, place: str | None) -> str:
    if place is None:
        return "no checkpoint was verified; without one, rows cut off at the end or a rewritten chain go undetected"
    new = found.entries - found.covered
    signed = "1 checkpoint is" if found.checkpoints == 1 else f"{found.checkpoints} checkpoints are"
    return f"{signed} valid; the last covers {found.covered} rows, {new} came after it"


def print_history(rows: Iterable[Entry]) -> None:
    """Print the rows under their days: wrapped and coloured on a terminal, one line a row elsewhere."""
    from itertools import groupby

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from keel.ledger.narrative import describe

    console = Console(highlight=False)
    for day, of_day in groupby(rows, key=lambda row: row.at.date()):
        title = f"{day:%A}, {day.day} {day:%B %Y} (UTC)"
        if not console.is_terminal:
            typer.echo(title)
            for row in of_day:
                typer.echo(f"  {row.at:%H:%M}  row {row.seq}: {describe(row)}")
            continue
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(max_width=READABLE)
        for row in of_day:
            head, stop, rest = describe(row).partition(". ")
            text = Text.assemble((head + stop, STYLES.get(row.action, "bold")), rest)
            table.add_row(f"  {row.at:%H:%M}  row {row.seq}", text)
        console.print(Text(title, style="bold underline"), table, "", sep="\n")
