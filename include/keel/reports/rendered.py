"""What an object with a page can do: show itself in a terminal and a notebook, and become HTML or Markdown."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from keel.reports.page import Page
    from keel.reports.text import PageText


class Rendered(ABC):
    """A result that has a page.

    A dataclass that inherits this has ``repr=False``, so that its ``repr`` is the page as text.
    """

    @abstractmethod
    def page(self) -> Page:
        """Return the page of this result."""

    @overload
    def to_html(self, path: None = None) -> str: ...

    @overload
    def to_html(self, path: str | os.PathLike[str]) -> None: ...

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Return the page as one self-contained HTML document, or write it to ``path``, whole or not at all.

        Raises
        ------
        OSError
            The file cannot be written; it names the path.

        """
        from keel.reports import html

        document = html.render(self.page())
        if path is None:
            return document
        write_whole(Path(path), document)
        return None

    def to_markdown(self) -> str:
        """Return the page as Markdown; a chart is its sentence and a few characters."""
        from keel.reports import markdown

        return markdown.render(self.page())

    def __rich__(self) -> PageText:
        from keel.reports import text

        return text.render(self.page())

    def __str__(self) -> str:
        from keel.reports import text

        return text.plain(self.page())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, as its styles are not for the notebook around it."""
        from keel.reports import html

        return html.notebook(self.page())


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8, so that a reader of the file sees all of it or the file before it.

    Raises
    ------
    OSError
        The file cannot be written; it names the path.

    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            draft.unlink()
