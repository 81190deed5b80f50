"""Output of every command: progress and tables on a terminal, plain lines elsewhere, one JSON document on request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.status import Status

ModelArgument = Annotated[str, typer.Argument(help="A configured model.")]
"""The model that a command works on."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
"""The option ``--json`` of every command."""


def print_json(document: Any) -> None:
    """Print ``document`` as JSON on standard output; with ``--json`` a command prints nothing else there."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    console: Console | None = None,
    numeric: bool = False,
) -> None:
    """Print a table: with borders on a terminal, as aligned plain lines elsewhere.

    Parameters
    ----------
    head : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str
        Cells, in the order of ``head``; printed as they are, without markup.
    console : Console, optional
        Where to print; standard output by default.
    numeric : bool
        Whether every column but the first is aligned to the right.

    """
    console = console or Console(highlight=False)
    if console.is_terminal:
        table = Table(*(Column(title, justify=_justify(i, numeric)) for i, title in enumerate(head)))
        for row in rows:
            table.add_row(*map(Text, row))  # a cell can contain what rich takes for markup
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if _justify(i, numeric) == "right" else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), markup=False, soft_wrap=True)


def _justify(column: int, numeric: bool) -> Any:
    return "right" if numeric and column else "left"


def one_line(text: str) -> str:
    r"""Return ``text`` on one line, without the characters that move a terminal's cursor.

    >>> one_line("it did harm\nto \x1b[2Jus")
    'it did harm to [2Jus'
    """
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


class Progress:
    """Show the current step of a command: a spinner on a terminal, one line a message elsewhere.

    Call it with a short message. It prints to standard error, so that standard output holds results only.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, quiet=quiet, highlight=False)
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status = self.console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def print(self, line: str) -> None:
        """Print a line that stays, above the spinner. Another console would write into it."""
        self.console.print(line, markup=False, soft_wrap=True)

    def __call__(self, message: str) -> None:
        """Show ``message`` as the current step."""
        if self._status is not None:
            self._status.update(message)
        else:
            self.console.print(message, markup=False, soft_wrap=True)
