"""``keel report``: what a check of a model said, as text, HTML, Markdown or JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json
from keel.cli.pages import HtmlOption, MarkdownOption, OpenOption, show_page

NEEDS_ATTENTION = 1
"""Exit code where a check found something that needs attention."""


def report(
    model: ModelArgument,
    window: Annotated[
        str,
        typer.Option(help="START/END of the window or its end, ISO 8601, UTC without a zone. Default: the newest."),
    ] = "",
    version: Annotated[
        int | None, typer.Option(help="A check of this version. Default: of the one that was checked last.")
    ] = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a check found: whether the model does harm, which columns changed, what was decided, what to do.

    Nothing is checked anew: keel report shows what the checks have stored. The exit code is 0 where nothing needs
    attention, and 1 where something does.
    """
    from dataclasses import replace

    from keel.config import get_model
    from keel.reports.check import collect, document, find_check, page, to_do
    from keel.reports.open_alerts import open_alerts_sentence
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        number, span = find_check(ws, config.model, window, version)
        open_alerts = open_alerts_sentence(ws.store, config.model)
        data = replace(collect(ws, config, number, span), open_alerts=open_alerts)
        default = ws.home / "reports" / f"{config.model}-{span.end:%Y%m%dT%H%M}-version-{number}.html"
    if as_json:
        print_json(document(data))
    if not as_json or html is not None or open_it:
        show_page(page(data), html=html, markdown=markdown and not as_json, open_it=open_it, default=default)
    if to_do(data).needed:
        raise typer.Exit(NEEDS_ATTENTION)
