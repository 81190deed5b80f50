"""``keel backtest``: run a model's past again under one or several policies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from keel.cli.output import JsonOption, ModelArgument, Progress, print_json, print_table
from keel.cli.pages import write_page

if TYPE_CHECKING:
    from keel.backtest.past import Source
    from keel.backtest.run import Finished
    from keel.reports.backtest.records import BacktestResult

MLFLOW_LEVEL = "MLFLOW_LOGGING_LEVEL"


def backtest(
    model: ModelArgument,
    start: Annotated[str, typer.Option(help="When the first version is trained, ISO 8601. The past begins before it.")],
    end: Annotated[str, typer.Option(help="End of the past, ISO 8601.")],
    every: Annotated[str, typer.Option(help="Length of a step, such as 7d or 24h; or month.")] = "7d",
    changed: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of one more policy, as key=value. Repeat it.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="default, never, always or monthly, or NAME:key=value,… Repeat it. Default: the first three."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of all backtests. Default: backtests in KEEL_HOME.")] = None,
    source: Annotated[
        str, typer.Option(help="Where the past is read: store, pipeline, or auto for the first that has labels.")
    ] = "auto",
    jobs: Annotated[int, typer.Option(help="Policies that run at the same time. 0: as many as processors.", min=0)] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin again, whatever is there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what Keel would have decided, retrained and promoted on the past, and what that would have been worth.

    An interrupted backtest goes on where it was when the same command is run again. The model's own store is only read.
    """
    from keel.backtest.past import SOURCES
    from keel.backtest.plan import Plan
    from keel.backtest.policies import choose_policies
    from keel.backtest.run import run_backtest
    from keel.config import get_model
    from keel.errors import ConfigError, suggestion
    from keel.workspace import home_of, store_url_of

    if source not in (sources := ["auto", *SOURCES]):
        raise ConfigError(f"--source {source}: choose from {', '.join(sources)}{suggestion(source, sources)}")
    config = get_model(model)
    plan = Plan.of(config, start=start, end=end, every=every, policies=choose_policies(policy or (), changed or ()))
    if html is not None and html.is_dir():
        raise ConfigError(f"--html {html}: is a folder; name a file in it")
    if html is not None and not html.absolute().parent.is_dir():
        raise ConfigError(f"--html {html}: there is no folder {html.absolute().parent}")
    installation = home_of(os.environ)
    _quiet_mlflow()
    with Progress(quiet=as_json) as progress:
        done = run_backtest(
            plan,
            home=(home or installation / "backtests").absolute(),
            store_url=store_url_of(os.environ, installation),
            source=cast("Source", source),
            fresh=fresh,
            jobs=jobs or os.cpu_count() or 1,
            report=progress,
        )
    if html is not None:
        from keel.reports.backtest import build_page

        write_page(build_page(done.result), html)
    if as_json:
        print_json(done.result.to_dict())
    else:
        _print(done, html)


def _print(done: Finished, html: Path | None) -> None:
    """Print the result: a sentence, a row for each policy, and where everything is."""
    from keel.reports.backtest import headline, summary

    result = done.result
    typer.echo(headline(result))
    typer.echo()
    head, rows = summary(result)
    seconds = [f"{done.training_seconds[policy.name]:.0f}" for policy in result.policies]
    print_table([*head, "training, s"], [[*row, each] for row, each in zip(rows, seconds, strict=True)], numeric=True)
    typer.echo()
    for line in _facts(result):
        typer.echo(line)
    typer.echo(f"Stores and versions of each policy: {done.folder}")
    if html is not None:
        typer.echo(f"Page: {html}")


def _facts(result: BacktestResult) -> list[Any]:
    return [
        f"{result.predictions:,} predictions of {result.start:%Y-%m-%d} to {result.end:%Y-%m-%d}, "
        f"{result.labelled:,} of them with a label, from {result.source}.",
        result.first_version,
    ]


def _quiet_mlflow() -> None:
    """Let MLflow not report each table that it creates and each version that it registers; it reads this on import."""
    os.environ.setdefault(MLFLOW_LEVEL, "WARNING")
