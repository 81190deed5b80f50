"""``keel benchmark``: how fast and how large a model's versions are, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from keel.cli.output import JsonOption, print_json

LABELS = {
    "rows_per_second": "rows a second",
    "load_ms": "loading, ms",
    "memory_mb": "memory, MB",
    "size_mb": "on disk, MB",
}


def benchmark(
    model: Annotated[str, typer.Argument(help="A configured model.")],
    versions: Annotated[
        list[int] | None, typer.Argument(help="Default: production, staging, previous and the newest candidate.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time to score in, for each version.", min=0.1)] = 10.0,
    end: Annotated[str, typer.Option(help="Score the last predictions before this time, ISO 8601.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Measure versions in turns on logged predictions, and log what is found to their runs in MLflow."""
    from keel.config import get_model
    from keel.rollout.benchmark import benchmark_versions
    from keel.window import parse_time
    from keel.workspace import Workspace

    config = get_model(model)
    if not as_json:  # and no spinner, whose thread would take part in what is measured
        typer.echo(f"measuring versions of {config.model}", err=True)
    with Workspace.open() as ws:
        report = benchmark_versions(ws, config, versions or (), end=parse_time(end), seconds=seconds)
    if as_json:
        print_json(report)
    else:
        show(report, Console(highlight=False))


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the versions side by side: as a table on a terminal, in plain aligned lines elsewhere."""
    head, *lines = cells(report)
    if console.is_terminal:
        table = Table(head[0], *(Column(name, justify="right") for name in head[1:]))
        for line in lines:
            table.add_row(*line)
        console.print(table)
    else:
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        for name, *values in (head, *lines):
            aligned = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
            console.print("  ".join([name.ljust(widths[0]), *aligned]), markup=False, soft_wrap=True)
    console.print(remark(report), markup=False, soft_wrap=True)


def cells(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the texts of the table, its head first: a row for each measure, a column for each version."""
    versions = report["versions"]
    mark = {str(report["production"]): " (production)"}
    head = ["", *(f"version {version}{mark.get(version, '')}" for version in versions)]
    names = [name for name in next(iter(versions.values())) if name not in ("calls", "ratios")]
    return [head, *([_label(name), *(_cell(report, version, name) for version in versions)] for name in names)]


def remark(report: Mapping[str, Any]) -> str:
    """Say what the numbers rest on."""
    rows, window, machine = report["rows"], report["window"], report["machine"]
    return (
        f"× is the ratio to version {report['baseline']}. Scored: {rows:,} predictions of {window['start'][:16]} to "
        f"{window['end'][:16]}; Python {machine['python']}, {machine['architecture']}, {machine['cpus']} CPUs."
    )


def _label(name: str) -> str:
    """Say ``batch_100_p50_ms`` as ``100 rows: p50, ms``."""
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
