"""Where the pages of Keel's in Airflow are, relative to their root."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from keel.window import Window


def model_path(model: str) -> str:
    """Return the path of a model's page.

    >>> model_path("a/b")
    'models/a%2Fb'
    """
    return f"models/{quote(model, safe='')}"


def column_path(model: str, column: str, window: Window) -> str:
    """Return the path of a column's page, of the check of a window."""
    return f"{model_path(model)}/columns/{quote(column, safe='')}?window={named(window)}"


def check_path(model: str, window: Window) -> str:
    """Return the path of a check's report."""
    return f"{model_path(model)}/checks?window={named(window)}"


def report_path(report_id: str) -> str:
    """Return the path of a stored report."""
    return f"reports/{quote(report_id, safe='')}"


def named(window: Window) -> str:
    """Return a window as an address names it, and as `keel.reports.check.find` reads it."""
    return f"{_time(window.start)}/{_time(window.end)}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%MZ}"
