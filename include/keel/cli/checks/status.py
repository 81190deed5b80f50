"""``keel status``: how every model is, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keel.cli.output import JsonOption, one_line, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.config import ModelConfig
    from keel.errors import ConfigError
    from keel.reports.status import ModelStatus

NEEDS_ATTENTION = 1
"""Exit code where a model needs attention or its check is overdue."""
HEAD = ("model", "version", "last check", "performance", "labels", "next check")


def status(
    models: Annotated[list[str] | None, typer.Argument(help="Configured models. Default: every model.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the models are, a line each, the worst first: version, last check, performance, labels, next check.

    Below the table is what is open, by model. A model whose model.yaml is not valid is a line too. The exit code is 0
    where nothing needs attention, and 1 where something does or a check is overdue; that of the error where a model
    cannot be read.
    """
    from keel.reports.status import collect
    from keel.window import now_utc
    from keel.workspace import Workspace

    configs, invalid = chosen(models or ())
    now = now_utc()
    with Workspace.open() as ws:
        found = collect(ws, configs, now, invalid=invalid)
    if as_json:
        print_json({"models": [each.to_dict() for each in found], "at": now})
    elif found:
        print_table(HEAD, [cells(each) for each in found])
        for line in notes(found):
            typer.echo(line)
    else:
        typer.echo("no model is configured; see keel's documentation: docs/adding-a-model.md")
    errors = max((each.exit_code for each in found), default=0)
    if code := errors or (NEEDS_ATTENTION if any(each.needs_attention for each in found) else 0):
        raise typer.Exit(code)


def chosen(names: Sequence[str]) -> tuple[dict[str, ModelConfig], list[ConfigError]]:
    """Return the configurations of some models, or of all, and the errors of those that are not valid.

    Raises
    ------
    UnknownModel, ConfigError
        No file is about a model that was named.

    """
    from keel.config import get_model, read_models
    from keel.reports.status import model_of

    configs, invalid = read_models()
    if not names:
        return configs, invalid
    about = [error for error in invalid if model_of(error) in names]
    known = {model_of(error) for error in about}
    return {name: configs.get(name) or get_model(name) for name in names if name not in known}, about


def cells(status: ModelStatus) -> tuple[str, ...]:
    """Return a model's cells, in the order of ``HEAD``."""
    from keel.reports import numbers
    from keel.reports.metric_words import metric_name

    if status.error:
        return (status.model, "", "cannot be read", "", "", "")
    version = "none"
    if status.version is not None:
        version = f"{status.version}" + (f" since {status.since:%Y-%m-%d}" if status.since else "")
    check = status.last_check
    said = f"{check.window.end:%Y-%m-%d %H:%M} {check.status}" if check else "never"
    performance, labels = status.performance, status.labels
    measured = ""
    if performance is not None and performance.value is not None:
        value, baseline = numbers.alike(performance.value, performance.baseline)
        measured = f"{metric_name(performance.metric)} {value} (holdout {baseline})"
    elif performance is not None:
        measured = performance.status.replace("_", " ")
    arrived = ""
    if labels is not None and labels.newest is not None:
        coverage = f"{numbers.share(labels.coverage)}, " if labels.coverage is not None else ""
        arrived = f"{coverage}newest {labels.newest:%Y-%m-%d %H:%M}"
    upcoming = f"{status.next_check:%Y-%m-%d %H:%M}" if status.next_check else "on request"
    return (status.model, version, said, measured, arrived, f"{upcoming}, overdue" if status.overdue else upcoming)


def notes(found: list[ModelStatus]) -> list[str]:
    """Return what is open, a line each, by model."""
    lines: list[str] = []
    for status in found:
        about = [status.error] if status.error else list(status.findings)
        if about:
            lines += ["", status.model, *(f"  {one_line(each)}" for each in about)]
    return lines
