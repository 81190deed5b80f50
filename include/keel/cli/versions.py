"""``keel versions``: where a model's versions stand, giving one back, ending a probation, and deleting old ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keel.cli.output import JsonOption, print_json

app = typer.Typer(
    help="Where a model's versions stand, giving one back, ending a probation, and deleting those nobody needs.",
    no_args_is_help=True,
)
ModelArgument = Annotated[str, typer.Argument(help="A configured model.")]
HEAD = ("version", "status", "since", "trained on", "holdout", "why it was trained", "why it is where it is")


@app.command("list")
def list_(
    model: ModelArgument,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List a model's versions, oldest first: status, since when and why, and what they were trained on."""
    from keel.config import get_model
    from keel.deployments.history import Status
    from keel.deployments.versions import describe
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        versions = describe(ws.store, ws.registry, name)
    shown = [version for version in versions if everything or version["status"] != Status.DELETED]
    if as_json:
        print_json(shown)
    elif shown:
        show(shown, Console(highlight=False))
    else:
        typer.echo(f"{name} has no versions; train one: airflow dags trigger {name}.retrain")


@app.command()
def prune(
    model: ModelArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete versions that are deployed nowhere and were kept for promotion.keep_versions, with their files."""
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments.version_retention import prune as delete
    from keel.window import now_utc
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        found = delete(ws.store, ws.registry, config, now=now_utc(), actor=getuser(), dry_run=dry_run)
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    done = "would delete" if dry_run else "deleted"
    for each in found:
        typer.echo(f"{done} version {each.version} of {config.model}: {each.reason}")
    if not found:
        typer.echo(f"no version of {config.model} is due to be deleted")


@app.command()
def release(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="A version that was rejected or quarantined.")],
    reason: Annotated[str, typer.Option(help="Why it may come back; kept in the ledger.")],
    as_json: JsonOption = False,
) -> None:
    """Give back a rejected version as a candidate, or a quarantined one as one that can be gone back to."""
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments.versions import release as give_back
    from keel.window import now_utc
    from keel.workspace import Workspace

    name, actor = get_model(model).model, getuser()
    with Workspace.open() as ws:
        status = give_back(ws.store, ws.registry, name, version, reason=reason, actor=actor, now=now_utc())
    if as_json:
        print_json({"model": name, "version": version, "status": str(status), "reason": reason, "actor": actor})
        return
    typer.echo(f"released version {version} of {name}: its status is {status} now")


@app.command()
def confirm(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="The version on probation.")],
    reason: Annotated[str, typer.Option(help="Why it need not be watched any longer; kept in the ledger.")],
    as_json: JsonOption = False,
) -> None:
    """End the probation of the version in production, whatever it has shown: it stays, and is watched no longer."""
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments.versions import confirm as end_probation
    from keel.window import now_utc
    from keel.workspace import Workspace

    name, actor = get_model(model).model, getuser()
    with Workspace.open() as ws:
        end_probation(ws.store, ws.registry, name, version, reason=reason, actor=actor, now=now_utc())
    if as_json:
        print_json({"model": name, "version": version, "reason": reason, "actor": actor})
        return
    typer.echo(f"version {version} of {name} is on probation no longer, and stays in production")


def show(versions: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a table on a terminal, one aligned line a version elsewhere."""
    lines = [cells(version) for version in versions]
    if console.is_terminal:
        table = Table(*HEAD)
        for line in lines:
            table.add_row(*map(Text, line))  # a reason may hold what rich takes for markup
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(HEAD, *lines, strict=True)]
    for line in (HEAD, *lines):
        aligned = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(aligned.rstrip(), markup=False, soft_wrap=True)


def cells(version: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a version's texts, in the order of ``HEAD``."""
    start, end = (day(version["trained_on"][name]) for name in ("start", "end"))
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(version["metrics"].items()))
    return (
        str(version["version"]), version["status"] or "not registered", day(version["since"]),
        f"{start} to {end}" if start or end else "", metrics, plain(version["why"]), plain(version["reason"]),
    )  # fmt: skip


def day(moment: str | None) -> str:
    """Return the day of a time in ISO 8601."""
    return (moment or "")[:10]


def plain(said: str) -> str:
    """Return a text on one line, without what moves a terminal's cursor."""
    return " ".join("".join(character if character.isprintable() else " " for character in said).split())
