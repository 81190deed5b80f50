"""``keel replay``: store an interval of a model's labelled history as predictions and labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json
from keel.config import get_model


def replay(
    model: ModelArgument,
    start: Annotated[str, typer.Option(help="Start of the interval, ISO 8601.")],
    end: Annotated[str, typer.Option(help="End of the interval, ISO 8601.")],
    to_now: Annotated[bool, typer.Option("--to-now", help="Move the interval by whole days to end now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Store the labelled history that a pipeline offers: as history before the first version, else as predictions."""
    from keel.cli.standalone.replay import labelled_history
    from keel.cli.standalone.replay import replay as write
    from keel.errors import ConfigError
    from keel.window import parse_time
    from keel.workspace import Workspace

    config = get_model(model)
    since, until = parse_time(start), parse_time(end)
    if since is None or until is None or since >= until:
        raise ConfigError(f"--start {start} must be before --end {end}")
    # Whole days, so that an hour of the day stays that hour.
    shift = timedelta(days=(datetime.now(UTC) - until).days) if to_now else timedelta(0)
    try:
        moved = since + shift, until + shift
    except OverflowError:
        raise ConfigError(f"--start {start}: {-shift.days:,} days earlier is before the year 1") from None
    rows = labelled_history(config, shift=shift)
    with Workspace.open() as ws:
        done = write(ws, config, rows, start=moved[0], end=moved[1])
    if as_json:
        print_json(done.to_dict())
    else:
        what = f"predictions of version {done.version}" if done.version else "rows of history"
        typer.echo(f"{done.predictions:,} new {what}, {done.labels:,} new labels")
