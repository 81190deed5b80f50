"""Find the window of a check that a person names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.errors import UnknownWindow
from keel.monitoring.storage import CHECKS
from keel.window import Window, ceil_hour, floor_hour, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from keel.store.records import ReportKey
    from keel.workspace import Workspace

NEAREST = 3
"""Windows that an error names."""


def find_check(ws: Workspace, model: str, named: str = "", version: int | None = None) -> tuple[int, Window]:
    """Return the version and the window of a check: the newest, or the one that is named.

    Parameters
    ----------
    ws, model
        The workspace and the model's name.
    named
        ``START/END`` or an end, ISO 8601, UTC without a zone; empty: the window with the latest end.
    version
        Only a check of this version. Of several checks of one window, the latest one is meant.

    Raises
    ------
    ConfigError
        A time cannot be read.
    UnknownWindow
        There is no such check; the message names the nearest windows that were checked.

    """
    start, end = _times(named)
    keys = ws.store.reports.keys(model, CHECKS, version=version, since=end, until=end, limit=None if named else 1)
    found = next((key for key in keys if start is None or key.start == start), None)
    if found is not None and found.version is not None:
        return found.version, Window(found.start, found.end)
    raise UnknownWindow(_missing(ws, model, named, version, end))


def _times(named: str) -> tuple[datetime | None, datetime | None]:
    """Return the start and end that a person named, widened to full hours as a check does."""
    first, separator, last = named.partition("/")
    start, end = (first, last) if separator else ("", first)
    since, until = parse_time(start), parse_time(end)
    if separator and (since is None or until is None):
        raise UnknownWindow(f"window: {named!r} is not START/END, such as 2013-06-24T00:00Z/2013-07-01T00:00Z")
    return floor_hour(since) if since else None, ceil_hour(until) if until else None


def _missing(ws: Workspace, model: str, named: str, version: int | None, end: datetime | None) -> str:
    """Say that a window was not checked, and which were."""
    keys = ws.store.reports.keys(model, CHECKS, version=version)
    of = model if version is None else f"version {version} of {model}"
    if not keys:
        others = "" if version is None else _other_versions(ws, model)
        return f"{of} was never checked{others or f'; check it: airflow dags trigger {model}.drift_check'}"
    wanted = end or keys[0].end
    nearest = sorted(dict.fromkeys((key.start, key.end) for key in keys), key=lambda each: abs(each[1] - wanted))
    shown = sorted(nearest[:NEAREST])
    windows = ", ".join(f"{start:%Y-%m-%dT%H:%MZ}/{finish:%Y-%m-%dT%H:%MZ}" for start, finish in shown)
    return f"no check of {of} has the window {named}; the nearest: {windows}"


def _other_versions(ws: Workspace, model: str) -> str:
    keys: list[ReportKey] = ws.store.reports.keys(model, CHECKS)
    versions = sorted({key.version for key in keys if key.version is not None})
    return f"; versions that were: {', '.join(map(str, versions))}" if versions else ""
