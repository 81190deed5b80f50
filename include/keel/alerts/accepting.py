"""Accept the drift of a column as the new normal, and withdraw that, with a ledger row that records it.

From then on the version is compared with the accepted window in place of its training rows, in the checks of drift and
of data quality: the same level is quiet, a further move is found. Performance, its holdout and the live monitors keep
their references.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from keel import deployments
from keel.alerts.acknowledging import resolve
from keel.alerts.inhibition import AGAINST_PREVIOUS
from keel.alerts.records import fingerprint
from keel.config import Kind
from keel.deployments.ledger_rows import append_entry, lock_ledger
from keel.errors import ConfigError, InsufficientData, UnknownWindow, suggestion
from keel.grid.counts import Counts, Layout
from keel.ledger.entries import Action
from keel.monitoring.accepted import accepted_references, read_accepted, with_accepted
from keel.monitoring.column_status import Severity
from keel.monitoring.drift import detect
from keel.monitoring.quality import check_quality
from keel.monitoring.window_counts import window_counts
from keel.store import accepted as table
from keel.store.accepted import AcceptedCounts
from keel.values.texts import CELL, shown
from keel.window import Window

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.monitoring.records import AcceptedReference
    from keel.workspace import Workspace

RESOLVED_KINDS = (Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT, Kind.DATA_QUALITY, Kind.LIVE_ALARM)
"""Kinds of alerts about a column that are over once its level is the new normal."""


def accept_drift(
    ws: Workspace,
    config: ModelConfig,
    columns: str | Collection[str],
    *,
    window: Window | None = None,
    reason: str,
    actor: str,
    now: datetime,
) -> tuple[AcceptedReference, ...]:
    """Make a window the reference of some columns of the version in production, and end their alerts.

    The counts and the ledger row are written in one transaction. For windows that end with the accepted one or later, a
    later acceptance of a column takes the place of the earlier one; the same window again changes nothing.

    Parameters
    ----------
    columns
        Features, or the outputs ``score`` and ``prediction``.
    window
        Default: that of the last check.
    reason
        Why it is the new normal; the ledger keeps it.

    Raises
    ------
    NoProductionVersion
        There is nothing to compare with.
    ConfigError
        No reason, no column, an unknown one, or one that has not changed in this window.
    UnknownWindow
        The version has not been checked, and no window is given.
    InsufficientData
        The window has fewer rows of the version that deliver one of the columns than a check needs.

    """
    names = _named(columns)
    _require_reason(reason)
    version = deployments.production_version(ws.store, config.model)
    grid = ws.registry.grid(config.model, version)
    _require_columns(config, grid, names)
    window = window or _last_checked(ws, config.model, version)
    known = accepted_references(ws, config.model, version, grid)
    missing = [name for name in names if name not in known or known[name].about.window != window]
    if missing:
        counts = _counts_to_accept(ws, config, version, grid, window, missing)
        rows = [_row(config.model, version, grid, counts, name, window, actor, reason, now) for name in missing]
        _store(ws, rows, counts.n)
        known |= {row.column: read_accepted(grid, row) for row in rows}
    _resolve_alerts(ws, config, names, reason=reason, actor=actor, now=now)
    return tuple(known[name].about for name in names)


def _store(ws: Workspace, rows: list[AcceptedCounts], n: int) -> None:
    """Store accepted windows and the ledger row about them, in one transaction."""
    first = rows[0]
    body = {"evidence": _evidence(rows, n)}
    with ws.store.begin() as connection:
        lock_ledger(connection)
        for row in rows:
            table.put(connection, row)
        append_entry(
            connection,
            first.model,
            actor=first.accepted_by,
            action=Action.ACCEPT_DRIFT,
            body=body,
            now=first.accepted_at,
        )


def _resolve_alerts(
    ws: Workspace, config: ModelConfig, names: list[str], *, reason: str, actor: str, now: datetime
) -> None:
    """End the open alerts about some columns. Where this fails, the same acceptance again does it."""
    for name in names:
        said = f"{actor} accepted the drift of {name} as the new normal: {reason}"
        for kind in RESOLVED_KINDS:
            for subject in (name, f"{name}{AGAINST_PREVIOUS}"):
                resolve(ws, config, fingerprint(config.model, kind, subject), reason=said, actor=actor, now=now)


def withdraw_acceptance(
    ws: Workspace, config: ModelConfig, columns: str | Collection[str], *, reason: str, actor: str, now: datetime
) -> tuple[AcceptedCounts, ...]:
    """Compare some columns of the version in production with its training rows again; return what was accepted.

    Raises
    ------
    NoProductionVersion
        There is no version.
    ConfigError
        No reason, no column, or one of which nothing is accepted.

    """
    names = _named(columns)
    _require_reason(reason)
    version = deployments.production_version(ws.store, config.model)
    with ws.store.begin() as connection:
        lock_ledger(connection)
        stored = {row.column: row for row in table.of_version(connection, config.model, version)}
        for name in names:
            if name not in stored:
                raise ConfigError(
                    f"{config.model}: no drift of {shown(name, CELL)} is accepted for version {version}"
                    f"{suggestion(name, list(stored))}; accepted: {', '.join(stored) or 'none'}"
                )
            table.delete(connection, config.model, version, name)
        evidence = {
            "sentence": f"Version {version} is compared with its training rows again: {', '.join(names)}.",
            "version": version,
            "columns": names,
            "reason": reason,
        }
        action = Action.WITHDRAW_ACCEPTANCE
        append_entry(connection, config.model, actor=actor, action=action, body={"evidence": evidence}, now=now)
    return tuple(stored[name] for name in names)


def _named(columns: str | Collection[str]) -> list[str]:
    names = [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))
    if not names:
        raise ConfigError("name the columns whose drift is meant")
    return names


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ConfigError("give a reason: the ledger keeps why a drift was accepted or is no more")


def _require_columns(config: ModelConfig, grid: ReferenceGrid, names: list[str]) -> None:
    for name in names:
        if name not in grid.layout.index:
            known = list(grid.layout.names)
            raise ConfigError(
                f"{config.model}: the version has no column {shown(name, CELL)}{suggestion(name, known)}; "
                f"columns: {', '.join(known)}"
            )


def _last_checked(ws: Workspace, model: str, version: int) -> Window:
    keys = ws.store.reports.keys(model, ["drift"], version=version, limit=1)
    if not keys:
        raise UnknownWindow(f"{model}: version {version} has not been checked yet, so name the window to accept")
    return Window(keys[0].start, keys[0].end)


def _counts_to_accept(
    ws: Workspace, config: ModelConfig, version: int, grid: ReferenceGrid, window: Window, names: list[str]
) -> Counts:
    """Return a window's counts, which have enough rows of every column and show a change of it."""
    counts = window_counts(ws, config, version, grid, window, decided_before=window.end).usable
    _require_rows(config, version, window, counts.n)
    reference, _ = with_accepted(ws, config.model, version, grid, window)
    drift = detect(reference, counts, config.drift)
    faulty = {finding.column for finding in check_quality(reference, counts, config=config.drift).findings}
    for name in names:
        if counts.column(name).absent == counts.n:
            raise ConfigError(
                f"{config.model}: {name} is absent from every row of {_span(window)}, so there is nothing to accept: "
                "deliver the column, or train a version without it"
            )
        _require_rows(config, version, window, counts.n - counts.column(name).absent, name)
        # The training rows are more than the window's, so they find more: a reference is not replaced without need.
        if drift.column(name).severity not in (Severity.WARN, Severity.DRIFT) and name not in faulty:
            raise ConfigError(
                f"{config.model}: {name} has not changed in {_span(window)}, so there is nothing to accept; "
                "name a window that shows the new level"
            )
    return counts


def _require_rows(config: ModelConfig, version: int, window: Window, n: int, name: str = "") -> None:
    """Raise an error for a window that has fewer rows, or fewer rows with a column, than a reference needs."""
    needed = max(config.drift.min_rows, 1)
    if n < needed:
        having = f" that deliver {name}" if name else ""
        raise InsufficientData(
            feature=f"{config.model}, {_span(window)}",
            needed=needed,
            got=n,
            why=f"a reference of version {version} needs as many usable rows{having} as a check",
        )


def _row(
    model: str,
    version: int,
    grid: ReferenceGrid,
    counts: Counts,
    name: str,
    window: Window,
    actor: str,
    reason: str,
    now: datetime,
) -> AcceptedCounts:
    # An absent column is a fault of whoever sends the rows, and no level: rows without it are in no reference.
    column = replace(counts.column(name), absent=0)
    position = grid.layout.index[name]
    layout = Layout((name,), (grid.layout.kinds[position],), (grid.layout.sizes[position],))
    return AcceptedCounts(
        model=model,
        version=version,
        column=name,
        window_start=window.start,
        window_end=window.end,
        grid_id=grid.grid_id,
        payload=Counts.of_columns(grid.grid_id, layout, column.n, [column]).to_bytes(),
        accepted_by=str(actor),
        reason=reason,
        accepted_at=now,
    )


def _evidence(rows: list[AcceptedCounts], n: int) -> dict[str, object]:
    names, window = [row.column for row in rows], Window(rows[0].window_start, rows[0].window_end)
    return {
        "sentence": f"The window {_span(window)} is the reference of version {rows[0].version} for {', '.join(names)}.",
        "version": rows[0].version,
        "columns": names,
        "window": window.to_dict(),
        "rows": n,
        "sha256": {row.column: hashlib.sha256(row.payload).hexdigest() for row in rows},
        "reason": rows[0].reason,
    }


def _span(window: Window) -> str:
    return " to ".join(f"{time:%Y-%m-%d %H:%M}" for time in (window.start, window.end)) + " UTC"
