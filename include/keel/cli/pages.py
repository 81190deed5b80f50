"""Show a page where a person wants it: in the terminal, in a file, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keel.reports.page import Page

HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Write the page to this file, as HTML without anything else to fetch.")
]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of text.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def show_page(page: Page, *, html: Path | None, markdown: bool, open_it: bool, default: Path) -> None:
    """Print a page, unless it is written to a file or opened.

    default: the file of a page that is opened and has no other.

    Raises
    ------
    OSError
        The file cannot be written; it names the path.

    """
    if html is not None or open_it:
        path = html or default
        write_page(page, path)
        typer.echo(f"wrote {path}, {path.stat().st_size:,} bytes", err=True)
        if open_it and typer.launch(path.resolve().as_uri()):
            typer.echo(f"no browser could be started; open {path}", err=True)
    if markdown:
        from keel.reports.markdown import render as as_markdown

        typer.echo(as_markdown(page), nl=False)
    elif html is None and not open_it:
        from rich.console import Console

        from keel.reports import text

        console = Console(highlight=False)
        if console.is_terminal:
            console.print(text.render(page))
        else:
            typer.echo(text.plain(page), nl=False)


def write_page(page: Page, path: Path) -> None:
    """Write a page as HTML, whole or not at all."""
    from keel.reports.html import render
    from keel.reports.rendered import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(page))
