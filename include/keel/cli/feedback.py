"""``keel feedback``: hand in what turned out to be true, from a file or a table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keel.cli.output import JsonOption, Progress, print_json

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from keel.feedback.bulk import Handed
    from keel.sources import Source
    from keel.workspace import Workspace

HEAD = ("id", "label", "observed", "other label", "observed")


def feedback(
    model: Annotated[str, typer.Argument(help="A configured model.")],
    source: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, as path or fsspec URL; with --table, a table or view.")
    ] = "",
    table: Annotated[bool, typer.Option("--table", help="SOURCE is a table or view, not a file.")] = False,
    database: Annotated[
        str,
        typer.Option(
            envvar="KEEL_FEEDBACK_DATABASE", help="Where the table lies, as an SQLAlchemy URL; none: the store."
        ),
    ] = "",
    id_: Annotated[str, typer.Option("--id", help="Column with the prediction's id.")] = "",
    entity: Annotated[
        str, typer.Option(help="Column that says whom it was about; with the time, in place of ids.")
    ] = "",
    time: Annotated[str, typer.Option(help="Column with the prediction's time.")] = "",
    label: Annotated[str, typer.Option(help="Column with what turned out to be true.")] = "",
    observed_at: Annotated[str, typer.Option(help="Column with when that was known; none: now.")] = "",
    zone: Annotated[str, typer.Option(help="Time zone of times that say none, such as Europe/Berlin.")] = "",
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Pass over rows without a label.")] = False,
    delimiter: Annotated[str, typer.Option(help="What separates the columns of a CSV file.")] = ",",
    conflicts: Annotated[
        bool, typer.Option("--conflicts", help="List the last 1,000 labels that contradict earlier ones.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Hand in labels, all of SOURCE or, where a row is wrong, nothing; handing in the same again changes nothing.

    Columns, under these names unless options say others: id (or entity and time), label, and perhaps observed_at.
    """
    from keel.config import get_model
    from keel.errors import ConfigError
    from keel.feedback import conflicts as contradictions
    from keel.feedback.bulk import hand_in_source
    from keel.feedback.parse_columns import Reading
    from keel.sources import Names
    from keel.window import now_utc
    from keel.workspace import Workspace

    config = get_model(model)
    if bool(source) == conflicts:
        raise ConfigError("name a file or table of labels (SOURCE), or ask for --conflicts")
    with Workspace.open() as ws:
        if conflicts:
            show_conflicts(contradictions(ws, config), config.model, as_json=as_json)
            return
        names = Names(id_ or None, entity or None, time or None, label or None, observed_at or None)
        how = Reading(config, now_utc(), zone=zone_of(zone), skip_missing=skip_missing)
        opened = open_source(ws, source, database, table=table, delimiter=delimiter)
        with opened as labels, Progress(quiet=as_json) as tell:
            handed = hand_in_source(ws, config, labels, names, how, tell=tell)
    if as_json:
        print_json({"model": config.model, **handed.to_dict()})
    else:
        show(handed, config.model)


def open_source(
    ws: Workspace, source: str, database: str, *, table: bool, delimiter: str
) -> AbstractContextManager[Source]:
    """Open what the arguments name."""
    from keel.errors import ConfigError
    from keel.sources.files import open_file
    from keel.sources.sql import open_table

    if table:
        return open_table(ws.store, source, database or None)
    if len(delimiter) != 1:
        raise ConfigError(f"--delimiter: must be one character (got {delimiter!r})")
    return open_file(source, delimiter=delimiter)


def zone_of(name: str) -> ZoneInfo | None:
    """Return a time zone by its name; ConfigError for one that does not exist."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    from keel.errors import ConfigError, suggestion

    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--zone: there is no time zone {name!r}{suggestion(name, available_timezones())}") from None


def show(handed: Handed, model: str) -> None:
    """Say what became of the labels."""
    said = [
        f"{handed.stored:,} stored",
        f"{handed.duplicates:,} duplicates",
        f"{handed.conflicts:,} conflicts",
        f"{handed.orphans:,} of the stored without a prediction yet",
    ]
    if handed.expired:
        said.append(f"{handed.expired:,} of the stored too late: the rows of their hour have expired")
    if handed.without_label:
        said.append(f"{handed.without_label:,} rows without a label")
    typer.echo(f"{handed.rows:,} rows of {handed.source}: {', '.join(said)}")
    if handed.conflicts:
        typer.echo(f"what contradicts an earlier label was kept aside: keel feedback {model} --conflicts")
    if handed.stored and handed.orphans == handed.stored:
        typer.echo(
            "none of the new labels has a prediction: are they of this model, by its ids, and of rows that are still "
            "kept (retention.rows)?"
        )


def show_conflicts(found: list[dict[str, Any]], model: str, *, as_json: bool) -> None:
    """Print contradictions: as JSON, as a table on a terminal, as aligned lines elsewhere."""
    plain = [{k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in each.items()} for each in found]
    if as_json:
        print_json(plain)
        return
    if not plain:
        typer.echo(f"no label of {model} contradicts another")
        return
    lines = [
        (f["id"], f"{f['label']:g}", f["observed_at"][:19], f"{f['other_label']:g}", f["other_observed_at"][:19])
        for f in plain
    ]
    console = Console(highlight=False)
    if console.is_terminal:
        grid = Table(*HEAD)
        for line in lines:
            grid.add_row(*map(Text, line))  # an id may hold what rich takes for markup
        console.print(grid)
        return
    widths = [max(map(len, column)) for column in zip(HEAD, *lines, strict=True)]
    for line in (HEAD, *lines):
        aligned = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(aligned.rstrip(), markup=False, soft_wrap=True)
