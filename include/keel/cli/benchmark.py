"""``keel benchmark``: compare the speed and size of a model's versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from keel.cli.output import JsonOption, ModelArgument, print_json, print_table

LABELS = {
    "rows_per_second": "rows per second",
    "load_ms": "load time, ms",
    "memory_mb": "memory, MB",
    "size_mb": "on disk, MB",
}


def benchmark(
    model: ModelArgument,
    versions: Annotated[
        list[int] | None,
        typer.Argument(help="Versions to measure. Default: production, staging, previous and the newest candidate."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of scoring for each version.", min=0.1)] = 10.0,
    end: Annotated[str, typer.Option(help="Score the last predictions before this time, ISO 8601.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Measure versions in turns on logged predictions and log the results to their MLflow runs."""
    from keel.config import get_model
    from keel.rollout.benchmark import benchmark_versions
    from keel.window import parse_time
    from keel.workspace import Workspace

    config = get_model(model)
    if not as_json:  # a spinner's thread would distort the measurement
        typer.echo(f"measuring versions of {config.model}", err=True)
    with Workspace.open() as ws:
        report = benchmark_versions(ws, config, versions or (), end=parse_time(end), seconds=seconds).to_dict()
    if as_json:
        print_json(report)
    else:
        show(report, Console(highlight=False))


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a benchmark report: a row for each measure, a column for each version, and the conditions below."""
    head, *rows = cells(report)
    print_table(head, rows, console=console, numeric=True)
    console.print(conditions(report), markup=False, soft_wrap=True)


def cells(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the table's cells with its head first: a row for each measure, a column for each version."""
    versions = report["versions"]
    mark = {str(report["production"]): " (production)"}
    head = ["", *(f"version {version}{mark.get(version, '')}" for version in versions)]
    names = [name for name in next(iter(versions.values())) if name not in ("calls", "ratios")]
    return [head, *([_label(name), *(_cell(report, version, name) for version in versions)] for name in names)]


def conditions(report: Mapping[str, Any]) -> str:
    """Return the sentence that states the baseline, the rows scored and the machine."""
    rows, window, machine = report["rows"], report["window"], report["machine"]
    return (
        f"× is the ratio to version {report['baseline']}. Scored: {rows:,} predictions of {window['start'][:16]} to "
        f"{window['end'][:16]}; Python {machine['python']}, {machine['architecture']}, {machine['cpus']} CPUs."
    )


def _label(name: str) -> str:
    """Return a measure's label, such as ``100 rows: p50, ms`` for ``batch_100_p50_ms``."""
    if name in LABELS:
        return LABELS[name]
    size, _, percentile = name.removeprefix("batch_").rpartition("_p")
    return f"{int(size):,} rows: p{percentile[:2]}, ms" if size else f"1 row: {name[:3]}, ms"


def _cell(report: Mapping[str, Any], version: str, name: str) -> str:
    value, ratio = report["versions"][version][name], report["versions"][version]["ratios"][name]
    if value is None:
        return "–"
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return number if ratio is None or version == str(report["baseline"]) else f"{number}  ×{ratio:.2f}"
