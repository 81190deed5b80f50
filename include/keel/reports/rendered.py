"""What an object with a page can do: show itself in a terminal and a notebook, and become HTML or Markdown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import os

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
        """Return the page as one self-contained HTML document, or write it to ``path`` as UTF-8.

        Raises
        ------
        OSError
            The file cannot be written; it names the path.

        """
        from keel.reports import html

        document = html.render(self.page())
        if path is None:
            return document
        Path(path).write_text(document, encoding="utf-8")
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
