"""``keel alerts accept`` and ``withdraw``: a drift that is the new normal, until the next version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json

if TYPE_CHECKING:
    from keel.window import Window

ReasonOption = Annotated[str, typer.Option(help="Why. The ledger keeps it.")]
ColumnsArgument = Annotated[list[str], typer.Argument(help="Columns: features, score or prediction.")]


def accept(
    model: ModelArgument,
    columns: ColumnsArgument,
    reason: ReasonOption,
    start: Annotated[
        str | None, typer.Option(help="First hour of the window. Default: that of the last check.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End of the window. Default: that of the last check.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Accept the drift of columns as the new normal: the window becomes their reference until the next version.

    The same level is quiet from then on, and a further move is found. The acceptance is a row of the ledger.
    """
    from getpass import getuser

    from keel.alerts.accepting import accept_drift
    from keel.config import get_model
    from keel.monitoring.accepted import accepted_words
    from keel.window import now_utc
    from keel.workspace import Workspace

    config = get_model(model)
    window = _window(start, end)
    with Workspace.open() as ws:
        found = accept_drift(ws, config, columns, window=window, reason=reason, actor=getuser(), now=now_utc())
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    for each in found:
        typer.echo(f"{each.column}: {accepted_words(each)}")
        for limit in each.limits:
            typer.echo(f"  {limit}")


def withdraw(model: ModelArgument, columns: ColumnsArgument, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """Withdraw what was accepted: the columns are compared with the version's training rows again."""
    from getpass import getuser

    from keel.alerts.accepting import withdraw_acceptance
    from keel.config import get_model
    from keel.window import now_utc
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        found = withdraw_acceptance(ws, config, columns, reason=reason, actor=getuser(), now=now_utc())
    if as_json:
        kept = ("model", "version", "column", "window_start", "window_end", "accepted_by", "reason", "accepted_at")
        print_json([{name: getattr(each, name) for name in kept} for each in found])
        return
    names = ", ".join(each.column for each in found)
    typer.echo(f"{config.model}: compared with the training rows of version {found[0].version} again: {names}")


def _window(start: str | None, end: str | None) -> Window | None:
    """Return the window between two times; None without both."""
    from keel.errors import ConfigError
    from keel.window import Window, ceil_hour, floor_hour, parse_time

    since, until = parse_time(start), parse_time(end)
    if (since is None) != (until is None):
        raise ConfigError("--start and --end name a window together: give both, or neither for that of the last check")
    return Window(floor_hour(since), ceil_hour(until)) if since and until else None
