"""``keel feedback``: submit labels from a file or a table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, ModelArgument, Progress, print_json, print_table

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from keel.feedback.bulk import SubmittedSource
    from keel.feedback.correct import CorrectionResult
    from keel.sources import Source
    from keel.workspace import Workspace

HEAD = ("id", "label", "observed", "other label", "observed")


def feedback(
    model: ModelArgument,
    source: Annotated[
        str, typer.Argument(help="A CSV or Parquet file, as a path or fsspec URL; with --table, a table or view.")
    ] = "",
    table: Annotated[bool, typer.Option("--table", help="SOURCE is a table or view, not a file.")] = False,
    database: Annotated[
        str,
        typer.Option(
            envvar="KEEL_FEEDBACK_DATABASE", help="SQLAlchemy URL of the table's database. Default: Keel's store."
        ),
    ] = "",
    id_: Annotated[str, typer.Option("--id", help="Column with the prediction's id.")] = "",
    entity: Annotated[str, typer.Option(help="Column with the entity; with the time it replaces the id.")] = "",
    time: Annotated[str, typer.Option(help="Column with the prediction's time.")] = "",
    label: Annotated[str, typer.Option(help="Column with the label.")] = "",
    observed_at: Annotated[
        str, typer.Option(help="Column with the time at which the label was observed. Default: now.")
    ] = "",
    zone: Annotated[str, typer.Option(help="Time zone of times without one, such as Europe/Berlin.")] = "",
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Skip rows without a label.")] = False,
    delimiter: Annotated[str, typer.Option(help="Delimiter of a CSV file.")] = ",",
    conflicts: Annotated[
        bool, typer.Option("--conflicts", help="List the last 1,000 labels that contradict earlier ones.")
    ] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="Replace stored labels, which are wrong, by those of SOURCE.")
    ] = False,
    reason: Annotated[str, typer.Option(help="With --correct: why the labels were wrong; the ledger keeps it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Submit the labels of SOURCE: all of them, or none if a row is wrong. Submitting them again changes nothing.

    Columns, unless options name others: id (or entity and time), label, and optionally observed_at.
    """
    from getpass import getuser

    from keel.config import get_model
    from keel.errors import ConfigError
    from keel.feedback import conflicts as contradictions
    from keel.feedback.bulk import correct_source, submit_source
    from keel.feedback.parse_columns import ReadOptions
    from keel.sources import Names
    from keel.window import now_utc
    from keel.workspace import Workspace

    config = get_model(model)
    if bool(source) == conflicts:
        raise ConfigError("name a file or table of labels (SOURCE), or use --conflicts, but not both")
    with Workspace.open() as ws:
        if conflicts:
            show_conflicts(contradictions(ws, config), config.model, as_json=as_json)
            return
        names = Names(id_ or None, entity or None, time or None, label or None, observed_at or None)
        how = ReadOptions(config, now_utc(), zone=zone_of(zone), skip_missing=skip_missing)
        opened = open_source(ws, source, database, table=table, delimiter=delimiter)
        if correct:
            with opened as labels, Progress(quiet=as_json) as progress:
                done = correct_source(ws, config, labels, names, how, reason=reason, actor=getuser(), progress=progress)
            show_corrected(done, config.model, as_json=as_json)
            return
        with opened as labels, Progress(quiet=as_json) as progress:
            submitted = submit_source(ws, config, labels, names, how, progress=progress)
    if as_json:
        print_json({"model": config.model, **submitted.to_dict()})
    else:
        show(submitted, config.model)


def open_source(
    ws: Workspace, source: str, database: str, *, table: bool, delimiter: str
) -> AbstractContextManager[Source]:
    """Open the file or the table that the arguments name."""
    from keel.errors import ConfigError
    from keel.sources.files import open_file
    from keel.sources.sql import open_table

    if table:
        return open_table(ws.store, source, database or None)
    if len(delimiter) != 1:
        raise ConfigError(f"--delimiter: must be one character (got {delimiter!r})")
    return open_file(source, delimiter=delimiter)


def zone_of(name: str) -> ZoneInfo | None:
    """Return the time zone of that name, or None for an empty name; `ConfigError` for an unknown one."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    from keel.errors import ConfigError, suggestion

    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--zone: no time zone is named {name!r}{suggestion(name, available_timezones())}") from None


def show(submitted: SubmittedSource, model: str) -> None:
    """Print the counts of stored, duplicate, conflicting, unmatched and late labels, and hints."""
    counts = [
        f"{submitted.stored:,} stored",
        f"{submitted.duplicates:,} duplicates",
        f"{submitted.conflicts:,} conflicts",
        f"{submitted.unmatched:,} of the stored without a prediction yet",
    ]
    if submitted.expired:
        counts.append(f"{submitted.expired:,} of the stored too late: the rows of their hour have expired")
    if submitted.without_label:
        counts.append(f"{submitted.without_label:,} rows without a label")
    typer.echo(f"{submitted.rows:,} rows of {submitted.source}: {', '.join(counts)}")
    if submitted.conflicts:
        typer.echo(f"to list the labels that contradict earlier ones: keel feedback {model} --conflicts")
    if submitted.stored and submitted.unmatched == submitted.stored:
        typer.echo(
            "none of the new labels has a prediction: check that they belong to this model, carry its ids, and that "
            "its rows have not expired (retention.rows)"
        )


def show_corrected(done: CorrectionResult, model: str, *, as_json: bool) -> None:
    """Print how many labels were replaced."""
    if as_json:
        print_json({"model": model, **done.to_dict()})
    else:
        typer.echo(f"{done.corrected:,} labels of {model} replaced, {done.unchanged:,} were right already")


def show_conflicts(found: list[dict[str, Any]], model: str, *, as_json: bool) -> None:
    """Print the labels that contradict earlier ones, each beside the earlier one."""
    if as_json:
        print_json(found)
    elif found:
        print_table(
            HEAD,
            [
                (
                    each["id"],
                    f"{each['label']:g}",
                    each["observed_at"].isoformat()[:19],
                    f"{each['other_label']:g}",
                    each["other_observed_at"].isoformat()[:19],
                )
                for each in found
            ],
        )
    else:
        typer.echo(f"no label of {model} contradicts another")
