"""``keel versions``: list and show a model's versions, reinstate one, end a probation, delete old ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from keel.cli.output import JsonOption, ModelArgument, one_line, print_json, print_table
from keel.cli.renamed import RenamedCommands
from keel.cli.versions.pages import compare, probation, show

app = typer.Typer(
    help="List and show a model's versions, reinstate one, end a probation, delete old ones.",
    no_args_is_help=True,
    cls=RenamedCommands,
)
HEAD = ("version", "status", "since", "trained on", "holdout", "reason for training", "reason for status")


@app.command("list")
def list_(
    model: ModelArgument,
    everything: Annotated[bool, typer.Option("--all", help="Also list deleted versions.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List a model's versions, oldest first, with their status, its date and reason, and their training data."""
    from keel.config import get_model
    from keel.deployments.history import Status
    from keel.deployments.versions import describe
    from keel.registry.mlflow_client import replacement
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        versions = describe(ws.store, ws.registry, name)
    shown = [each for each in versions if everything or each["status"] != Status.DELETED or each["alias"]]
    if as_json:
        print_json(shown)
    elif shown:
        print_table(HEAD, [cells(version) for version in shown])
        if any(gone(version) and version["alias"] == "production" for version in shown):
            typer.echo(
                f"the production version is deleted from MLflow: roll back, if a version is previous: airflow dags "
                f"trigger {name}.rollback; or {replacement(name)}"
            )
    else:
        typer.echo(f"{name} has no versions; train one: airflow dags trigger {name}.retrain")


app.command()(show)
app.command()(compare)
app.command()(probation)


@app.command()
def prune(
    model: ModelArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the versions and delete none.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete versions that are not deployed and older than promotion.keep_versions, with their files."""
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
        typer.echo(f"{config.model} has no version to delete")


@app.command()
def reinstate(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="A rejected or quarantined version.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the ledger.")],
    as_json: JsonOption = False,
) -> None:
    """Reinstate a rejected version as a candidate, or a quarantined one as archived."""
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments import versions
    from keel.window import now_utc
    from keel.workspace import Workspace

    name, actor = get_model(model).model, getuser()
    with Workspace.open() as ws:
        status = versions.reinstate(ws.store, ws.registry, name, version, reason=reason, actor=actor, now=now_utc())
    if as_json:
        print_json({"model": name, "version": version, "status": str(status), "reason": reason, "actor": actor})
        return
    typer.echo(f"reinstated version {version} of {name}; its status is now {status}")


@app.command()
def end_probation(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="The version on probation.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the ledger.")],
    as_json: JsonOption = False,
) -> None:
    """End the probation of the production version without a verdict; the version stays in production."""
    from getpass import getuser

    from keel.config import get_model
    from keel.deployments import versions
    from keel.window import now_utc
    from keel.workspace import Workspace

    name, actor = get_model(model).model, getuser()
    with Workspace.open() as ws:
        versions.end_probation(ws.store, ws.registry, name, version, reason=reason, actor=actor, now=now_utc())
    if as_json:
        print_json({"model": name, "version": version, "reason": reason, "actor": actor})
        return
    typer.echo(f"ended the probation of version {version} of {name}; it stays in production")


def cells(version: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a version's cells, in the order of ``HEAD``."""
    start, end = (day(version["trained_on"][name]) for name in ("start", "end"))
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(version["metrics"].items()))
    return (
        str(version["version"]),
        f"{version['alias']}, deleted from MLflow" if gone(version) else version["status"] or "not registered",
        day(version["since"]),
        f"{start} to {end}" if start or end else "",
        metrics,
        one_line(version["why"]),
        one_line(version["reason"]),
    )


def gone(version: Mapping[str, Any]) -> bool:
    """Return whether a deployed version is not in MLflow."""
    return bool(version["alias"]) and not version["in_registry"]


def day(moment: str | None) -> str:
    """Return the day of an ISO 8601 time."""
    return (moment or "")[:10]
