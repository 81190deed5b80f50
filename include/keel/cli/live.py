"""``keel live``: what a model's live monitors have seen, their evidence against its bound, and their open alarms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json
from keel.cli.pages import HtmlOption, MarkdownOption, OpenOption, show_page

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.workspace import Workspace

NEEDS_ATTENTION = 1
"""Exit code where an alarm is open, where nothing reads new predictions, or where the monitoring is at fault."""


def live(
    model: ModelArgument,
    pause: Annotated[bool, typer.Option("--pause", help="Stop reading. What arrives meanwhile waits.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Read again, from where the monitors stopped.")] = False,
    audit: Annotated[
        Path | None,
        typer.Option(help="Write the audited predictions that have no label yet to this CSV file, and nothing else."),
    ] = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a model's live monitors: the evidence of each over time against its bound, the worst first, and its alarms.

    Airflow's triggerer evaluates them; keel live shows what is stored. The exit code is 0 where no alarm is open, and 1
    where one is, where predictions wait that nothing reads, or where the monitoring is at fault.
    """
    from keel.config import get_model
    from keel.errors import ConfigError
    from keel.monitoring.live.status import live_status
    from keel.reports.production.live import document, needs_attention, page
    from keel.window import now_utc
    from keel.workspace import Workspace

    config, now = get_model(model), now_utc()
    if pause + resume + (audit is not None) > 1:
        raise ConfigError("--pause, --resume and --audit are three different things; use one of them")
    with Workspace.open() as ws:
        if audit is not None:
            write_audit(ws, config, audit, now, as_json=as_json)
            return
        if pause or resume:
            ws.store.live.set_paused(config.model, pause, now=now)
            typer.echo(f"{config.model}: the live monitors are {'paused' if pause else 'resumed'}", err=True)
        status = live_status(ws, config, now=now)
        default = ws.home / "reports" / f"{config.model}-live.html"
    if as_json:
        print_json(document(status, now))
    if not as_json or html is not None or open_it:
        shown = page(status, now, drawn=html is not None or open_it)
        show_page(shown, html=html, markdown=markdown and not as_json, open_it=open_it, default=default)
    if needs_attention(status) and not (pause or resume):  # they did what they were asked to do
        raise typer.Exit(NEEDS_ATTENTION)


def write_audit(ws: Workspace, config: ModelConfig, path: Path, now: datetime, *, as_json: bool) -> None:
    """Write the audited predictions without a label to a CSV file whose column ``label`` is empty, and say how many.

    Raises
    ------
    ConfigError
        The model audits no predictions, or the file has no usable folder.
    OSError
        The file cannot be written.

    """
    from datetime import timedelta

    import pyarrow.csv as csv

    from keel.deployments.history import production_since
    from keel.errors import ConfigError
    from keel.ledger import entries as ledger
    from keel.monitoring.live.audit_sample import audited

    if not path.parent.is_dir():
        raise ConfigError(f"--audit {path}: there is no folder {path.parent}; make it first")
    span = ws.predictions(config).times()
    since = production_since(ledger.entries(ws.store, config.model)) or now
    until = min(now, span[1] + timedelta(microseconds=1)) if span else now
    rows = audited(ws, config, since=since, until=max(since, until))
    csv.write_csv(rows, path)
    what = f"{rows.num_rows:,} audited prediction{'s' * (rows.num_rows != 1)} without a label"
    if as_json:
        print_json({"model": config.model, "file": str(path), "rows": rows.num_rows, "since": since, "until": until})
    else:
        typer.echo(f"wrote {what} to {path}; fill in the column label, then: keel feedback {config.model} {path}")
