"""Pages that need the reference of a version, which lies in MLflow: the helper process makes them.

It imports no Airflow, as the helper does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.reports.page import Page
    from keel.workspace import Workspace


def content(
    ws: Workspace, config: ModelConfig, *, root: str, version: int, window: str, column: str | None = None
) -> dict[str, Any]:
    """Return the page of a check, or of a column in it, as ``content``: HTML with a ``main``.

    root: the address of Keel's pages. column: None: the page of the whole check.
    """
    from keel.reports import html

    page = _check(ws, config, version, window) if column is None else _column(ws, config, column, window)
    return {"content": html.fragment(page, root=root, may=lambda _: False)}


def _check(ws: Workspace, config: ModelConfig, version: int, window: str) -> Page:
    from keel.reports.check import collect, find_check, page

    number, span = find_check(ws, config.model, window, version)
    return page(collect(ws, config, number, span))


def _column(ws: Workspace, config: ModelConfig, column: str, window: str) -> Page:
    from keel.reports.model import column_page

    return column_page(ws, config, column, window)
