"""How every command speaks: a live display on a terminal, plain lines elsewhere, one JSON document with ``--json``."""

from __future__ import annotations

import json
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.status import Status

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
"""The same option on every command."""


def print_json(document: Any) -> None:
    """Print ``document`` as JSON on standard output, where nothing else goes when ``--json`` is given."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


class Progress:
    """Says what is going on: a spinner with the last message on a terminal, one line a message elsewhere.

    Goes to standard error, so that results on standard output can be piped. Call it with a short message.
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

    def __call__(self, message: str) -> None:
        """Show ``message`` as what is being done now."""
        if self._status is not None:
            self._status.update(message)
        else:
            self.console.print(message, markup=False, soft_wrap=True)
