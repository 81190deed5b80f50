"""What the checks of a time said of each column: as many as a page draws, read one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import as_mapping, as_number, as_text
from keel.monitoring.records import StoredDriftReport
from keel.reports.model.view import DriftCell, DriftColumn, DriftHistory
from keel.window import DAY, Window

if TYPE_CHECKING:
    from keel.store.records import ReportKey
    from keel.workspace import Workspace

MAX_CHECKS = 54
"""Checks that are drawn. Of more, the worst of each day, two days, week and so on is."""
MIN_CHECKS = 8
MAX_CELLS = 16_500
"""Columns times checks that are read, so that a model of thousands of columns does not hold up the server."""
STATUSES = ("insufficient", "ok", "warn", "drift")
"""Of a check, the worst last."""
GROUPS = (
    (timedelta(0), ""),
    (DAY, "day"),
    (2 * DAY, "two days"),
    (7 * DAY, "week"),
    (28 * DAY, "four weeks"),
    (364 * DAY, "year"),
)
_EPOCH = datetime.fromisoformat("1970-01-05T00:00:00+00:00")
"""A Monday."""


def drift_history(ws: Workspace, keys: Sequence[ReportKey], n_columns: int) -> DriftHistory:
    """Return the columns in some checks.

    keys: of their drift reports, the latest end first. n_columns: of the newest of them.
    """
    most = min(MAX_CHECKS, max(MAX_CELLS // max(n_columns, 1), MIN_CHECKS))
    chosen, group = choose(keys, most)
    read = [_read(ws.store.reports.bodies([key.report_id]).get(key.report_id)) for key in chosen]
    roles = {name: role for columns, _ in read for name, (role, _) in columns.items()}
    columns = tuple(
        DriftColumn(name, role, tuple(found[name][1] if name in found else None for found, _ in read))
        for name, role in roles.items()
    )
    return DriftHistory(
        windows=tuple(Window(key.start, key.end) for key in chosen),
        versions=tuple(key.version for key in chosen),
        thresholds=read[-1][1] if read else (0.1, 0.25),
        columns=columns,
        checks=len(keys),
        group=group,
    )


def choose(keys: Sequence[ReportKey], most: int) -> tuple[list[ReportKey], str]:
    """Return at most so many checks, the oldest first, and of what each is the worst.

    keys: the latest end first. Of several checks of one end the one made last counts.
    """
    ends: dict[datetime, ReportKey] = {}
    for key in keys:
        ends.setdefault(key.end, key)
    newest_first = list(ends.values())
    for length, name in GROUPS:
        found = _worst_of_each(newest_first, length) if length else newest_first
        if len(found) <= most:
            return found[::-1], name
    return newest_first[:most][::-1], ""


def _worst_of_each(keys: Iterable[ReportKey], length: timedelta) -> list[ReportKey]:
    """Return the worst check of each stretch of time, of equally bad ones the latest; the latest stretch first."""
    worst: dict[int, ReportKey] = {}
    for key in keys:
        stretch = (key.end - timedelta(microseconds=1) - _EPOCH) // length
        if stretch not in worst or _badness(key) > _badness(worst[stretch]):
            worst[stretch] = key
    return list(worst.values())


def _badness(key: ReportKey) -> int:
    return STATUSES.index(key.status) if key.status in STATUSES else len(STATUSES)


def _read(body: Mapping[str, Any] | None) -> tuple[dict[str, tuple[str, DriftCell]], tuple[float, float]]:
    """Return each column of a stored report and the thresholds; what cannot be read is left out."""
    stored = as_mapping(body)
    warn, alert = as_number(stored.get("psi_warn")), as_number(stored.get("psi_alert"))
    columns = {}
    for name, column in as_mapping(stored.get("features")).items():
        values = as_mapping(column)
        psi = as_mapping(as_mapping(values.get("measures")).get("psi"))
        excess = as_number(psi.get("excess"))
        cell = DriftCell(
            as_text(values.get("severity")),
            as_text(values.get("status")),
            as_number(psi.get("value")) if excess is None else excess,
            as_number(values.get("impact")),
        )
        columns[str(name)] = (as_text(values.get("role")), cell)
    return columns, (warn if warn is not None else 0.1, alert if alert is not None else 0.25)


def drift_keys(ws: Workspace, model: str, since: datetime, until: datetime) -> list[ReportKey]:
    """Return the keys of a model's drift reports with since ≤ end ≤ until, the latest end first."""
    return ws.store.reports.keys(model, [StoredDriftReport.CHECK], since=since, until=until)
