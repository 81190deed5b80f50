"""A page inside a document that somebody else makes: the page in Airflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keel.reports.html.document import MAX_BYTES, body
from keel.reports.html.live import Live

if TYPE_CHECKING:
    from keel.reports.page import Page


def fragment(page: Page, *, root: str, may: Callable[[str], bool]) -> str:
    """Return the body of a page, without the document around it, of at most `MAX_BYTES`.

    Local links lead somewhere, and there is a button for each action that the reader may do. The document around it
    has `style` or `themed_style`, and a script that shows the buttons and sends what they describe.

    Parameters
    ----------
    page
        What to show.
    root
        The address of Keel's pages, such as ``/keel``.
    may
        Whether the reader may run a DAG.

    """
    head, footer, sections = body(page, MAX_BYTES, Live(root.rstrip("/"), may))
    return f"<main>\n{head}{sections}</main>\n{footer}"
