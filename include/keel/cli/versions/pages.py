"""``keel versions show``, ``compare`` and ``probation``: the page of a version, of a comparison, of a probation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, ModelArgument, print_json
from keel.cli.pages import HtmlOption, MarkdownOption, OpenOption, show_page

if TYPE_CHECKING:
    from pathlib import Path

    from keel.reports.page import Page
    from keel.reports.version import VersionData


def show(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="A version, also a deleted one.")],
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a version's model card: its data, metrics, limits, lineage and history."""
    from keel.config import get_model
    from keel.reports.version import collect, page
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        data = collect(ws, config, version)
        folder = ws.home / "reports"
    where = folder / f"{config.model}-version-{version}.html"
    _show(page(data), _document(data), html, markdown, open_it, as_json, where)


def compare(
    model: ModelArgument,
    first: Annotated[int, typer.Argument(help="A version.", metavar="A")],
    second: Annotated[int, typer.Argument(help="The version that it was compared with.", metavar="B")],
    report: Annotated[str, typer.Option(help="Id of a comparison. Default: the newest of the two versions.")] = "",
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show how two versions were compared, on a holdout or in an experiment. Nothing is compared anew."""
    from keel.config import get_model
    from keel.reports.comparison import page
    from keel.reports.comparison.find import find_comparison
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        chosen, others = find_comparison(ws.store, config.model, first, second, report)
        folder = ws.home / "reports"
    if others and not report:
        listed = f"the others, for --report: {', '.join(others)}"
        typer.echo(f"the newest of {len(others) + 1} comparisons; {listed}", err=True)
    where = folder / f"{config.model}-{chosen['report_id']}.html"
    _show(page(chosen["body"]), chosen["body"], html, markdown, open_it, as_json, where)


def probation(
    model: ModelArgument,
    version: Annotated[int | None, typer.Argument(help="A version. Default: the last on probation.")] = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the evaluations of a version's probation found: its losses, the evidence, and until when it lasts."""
    from keel.config import get_model
    from keel.errors import UnknownVersion
    from keel.reports.production.probation import collect, page
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        data = collect(ws, config.model, version)
        folder = ws.home / "reports"
    if data is None:
        of = config.model if version is None else f"{config.model} version {version}"
        raise UnknownVersion(
            f"{of}: no probation was evaluated; the DAG {config.model}.watch_deployment does so after a promotion"
        )
    document = {
        **data.report.to_dict(),
        "model": data.model,
        "since": data.since,
        "until": data.until,
        "evaluated_at": data.evaluated_at,
        "on_probation": data.on_probation,
    }
    where = folder / f"{config.model}-probation-version-{data.version}.html"
    _show(page(data), document, html, markdown, open_it, as_json, where)


def _show(
    page: Page, document: Any, html: Path | None, markdown: bool, open_it: bool, as_json: bool, where: Path
) -> None:
    """Print a page or its JSON, and write or open its HTML. where: the file of a page that is opened."""
    if as_json:
        print_json(document)
    if not as_json or html is not None or open_it:
        show_page(page, html=html, markdown=markdown and not as_json, open_it=open_it, default=where)


def _document(data: VersionData) -> dict[str, Any]:
    """Return a version as one JSON document."""
    return {
        **data.described,
        "reference": data.reference,
        "fault": data.fault or None,
        "tags": data.tags,
        "files": data.pin.files if data.pin else {},
        "comparisons": [each.get("report_id") for each in data.comparisons],
        "ledger": [{"seq": line.seq, "at": line.at, "sentence": line.sentence} for line in data.ledger],
    }
