"""What an object with a page can do: show itself in a terminal and a notebook, and become HTML or Markdown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import os

    from keel.reports.page import Page


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
        document: str = _renderer("html").render(self.page())
        if path is None:
            return document
        Path(path).write_text(document, encoding="utf-8")
        return None

    def to_markdown(self) -> str:
        """Return the page as Markdown; its charts are lines of text."""
        page: str = _renderer("markdown").render(self.page())
        return page

    def __rich__(self) -> Any:
        return _renderer("text").render(self.page())

    def __str__(self) -> str:
        text: str = _renderer("text").plain(self.page())
        return text

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, as its styles are not for the notebook around it."""
        frame: str = _renderer("html").notebook(self.page())
        return frame


def _renderer(name: str) -> Any:
    """Return a renderer when it is needed: a result that nobody looks at imports none."""
    return import_module(f"keel.reports.{name}")
