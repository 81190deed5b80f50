"""``keel ledger``: the history of deployments, and the proof that nobody rewrote it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, print_json
from keel.errors import ConfigError, LedgerBroken

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from keel.ledger.entries import Entry
    from keel.ledger.verification import Verification

app = typer.Typer(help="The history of deployments, and the proof that nobody rewrote it.", no_args_is_help=True)

STYLES = {
    "promote": "bold green", "confirm": "green", "rollback": "bold red", "out_of_band": "bold red",
    "keep_champion": "bold yellow", "decline": "bold yellow", "quarantine": "bold red",
    "experiment_start": "bold cyan", "experiment_end": "bold cyan",
}  # fmt: skip
"""How the first sentence of a row looks on a terminal."""
READABLE = 100
"""As many characters as one reads in a line."""

PlaceOption = Annotated[
    str | None,
    typer.Option("--checkpoints", envvar="KEEL_CHECKPOINTS", help="Where checkpoints lie: a folder or an fsspec URL."),
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option("--public-key", envvar="KEEL_VERIFY_KEY", help="The file of the public keys that are trusted."),
]


@app.command()
def show(model: Annotated[str, typer.Argument(help="A configured model.")], as_json: JsonOption = False) -> None:
    """Tell what happened to a model's versions, day by day, newest last."""
    from keel.config import get_model
    from keel.ledger.entries import entries
    from keel.ledger.narrative import tell
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        rows = list(entries(ws.store, name))
    if as_json:
        print_json([{**row.to_dict(), "told": tell(row)} for row in rows])
    elif rows:
        _print_history(rows)
    else:
        typer.echo(f"nothing was ever deployed for {name}")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Option("--file", help="What keel ledger export wrote; no database.")] = None,
    place: PlaceOption = None,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the chain of hashes, and compare it with what was signed; exit 1 and name the row where it breaks."""
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
    file: Annotated[Path, typer.Argument(help="The file to write, one row a line.")], as_json: JsonOption = False
) -> None:
    """Write every row, exactly as it is hashed, for whoever verifies without this database."""
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
        typer.echo(f"{len(rows)} rows are in {file}; to verify them anywhere: keel ledger verify --file {file}")


@app.command()
def checkpoint(
    place: PlaceOption = None,
    key: Annotated[
        Path | None, typer.Option("--key", envvar="KEEL_SIGNING_KEY", help="The file of the private key.")
    ] = None,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the ledger and all earlier checkpoints, and sign what it is now; nothing is written if no row is new."""
    from keel.ledger.checkpoints import shown, write
    from keel.ledger.signing_keys import private_key, public_keys
    from keel.window import now_utc
    from keel.workspace import Workspace

    if place is None or key is None:
        raise ConfigError(
            "name the place with --checkpoints or KEEL_CHECKPOINTS, the key with --key or KEEL_SIGNING_KEY"
        )
    signing, trusted = private_key(key), public_keys(public_key) if public_key else []
    with Workspace.open() as ws:
        written = write(ws.store, place, signing, now_utc(), trusted=trusted)
    if as_json:
        print_json(written.to_dict() if written else None)
    elif written:
        typer.echo(f"{shown(place)}: {written.name} covers {written.size} rows, signed by key {written.key_id}")
    else:
        typer.echo("there is no new row: nothing was written")


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="The private key's file; the public one's ends in .pub.")],
    as_json: JsonOption = False,
) -> None:
    """Make the pair of keys that signs checkpoints and verifies them."""
    from keel.ledger.signing_keys import keygen as make

    made = {"key_id": make(file), "private_key": str(file), "public_key": f"{file}.pub"}
    if as_json:
        print_json(made)
        return
    typer.echo(f"key {made['key_id']}: {file} signs, and stays with who writes checkpoints (KEEL_SIGNING_KEY);")
    typer.echo(f"{file}.pub verifies, and goes to everybody who checks (KEEL_VERIFY_KEY)")


@app.command()
def rebuild(
    model: Annotated[str | None, typer.Argument(help="A configured model; all where none is named.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write deployments and experiments anew from the ledger, once that is verified, as after a table was lost."""
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
    if as_json:
        print_json([*(asdict(deployment) for deployment in wrong), *({"model": m, "experiments": True} for m in tried)])
        return
    for each in wrong:
        placed = ", ".join(f"{alias} {version or 'none'}" for alias, version in each.aliases.items())
        typer.echo(f"{each.model}: {placed} (generation {each.generation})")
    for each_model in tried:
        typer.echo(f"{each_model}: its experiments")
    if not (wrong or tried):
        typer.echo("deployments and experiments were what the ledger says")


def _keys(place: str | None, public_key: Path | None) -> list[Ed25519PublicKey]:
    """Return the public keys to check checkpoints with; none where no place is named."""
    if place is None and public_key is None:
        return []
    if place is None:
        raise ConfigError("a public key alone verifies nothing: name the place with --checkpoints or KEEL_CHECKPOINTS")
    if public_key is None:
        raise ConfigError("to check the checkpoints, name the public key with --public-key or KEEL_VERIFY_KEY")
    from keel.ledger.signing_keys import public_keys

    return public_keys(public_key)


def _verified(source: Any, place: str | None, keys: list[Ed25519PublicKey]) -> Verification:
    from keel.ledger import checkpoints as checkpoint

    return checkpoint.verified(source) if place is None else checkpoint.check(source, place, keys)


def _coverage(found: Verification, place: str | None) -> str:
    if place is None:
        return "no checkpoint was checked: rows cut off at the end, or a chain written anew, would not show"
    new = found.entries - found.covered
    signed = "1 checkpoint holds" if found.checkpoints == 1 else f"{found.checkpoints} checkpoints hold"
    return f"{signed}; the last covers {found.covered} rows, {new} came after it"


def _print_history(rows: Iterable[Entry]) -> None:
    """Print a paragraph a row under its day: wrapped and coloured on a terminal, one line a row elsewhere."""
    from itertools import groupby

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from keel.ledger.narrative import tell

    console = Console(highlight=False)
    for day, of_day in groupby(rows, key=lambda row: row.at.date()):
        title = f"{day:%A}, {day.day} {day:%B %Y} (UTC)"
        if not console.is_terminal:
            typer.echo(title)
            for row in of_day:
                typer.echo(f"  {row.at:%H:%M}  row {row.seq}: {tell(row)}")
            continue
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(max_width=READABLE)
        for row in of_day:
            head, stop, rest = tell(row).partition(". ")
            told = Text.assemble((head + stop, STYLES.get(row.action, "bold")), rest)
            table.add_row(f"  {row.at:%H:%M}  row {row.seq}", told)
        console.print(Text(title, style="bold underline"), table, "", sep="\n")
