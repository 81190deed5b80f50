"""Questions that a person asks between two checks. They are measured as a check measures, and nothing is stored.

Rows that no check has counted yet are counted for the answer alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keel import deployments
from keel.deployments.from_ledger import find_version
from keel.errors import BadRequest
from keel.grid.subset import without_outputs
from keel.ledger import entries as ledger
from keel.loop.checks import measure_drift, measure_performance, performance_sentence
from keel.monitoring.accepted import accepted_references, with_accepted_columns
from keel.monitoring.drift import detect
from keel.monitoring.frames.tables import read_frame
from keel.monitoring.label_check import label_report
from keel.monitoring.records import CountedWindow, DriftAnswer, PerformanceAnswer, StoredDriftReport
from keel.monitoring.window_counts import count_uncounted, window_counts
from keel.store.quarantines import DATA
from keel.window import Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from typing import Any

    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.monitoring.window_counts import WindowCounts
    from keel.store import Store
    from keel.workspace import Workspace

LONGEST = timedelta(days=366)
"""Of a window that is asked about."""
MAX_NAMED = 100
"""Columns of rows that an answer names."""


def asked_window(
    config: ModelConfig,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    lookback: timedelta | None = None,
    now: datetime,
) -> Window:
    """Return the window of a question, widened to full hours.

    until: by default now. since: by default ``lookback`` before the end, which is the model's own by default.

    Raises
    ------
    BadRequest
        ``since`` is not before the end, or given together with ``lookback``; or the window is longer than `LONGEST`.

    """
    end = until or now
    if since is not None and lookback is not None:
        raise BadRequest("lookback: is given together with since; give one of them")
    length = config.check.lookback if lookback is None else lookback
    if length <= timedelta(0):
        raise BadRequest("lookback: must be longer than nothing")
    if length > LONGEST:
        raise BadRequest(f"lookback: a window has at most {LONGEST.days} days")
    start = end - length if since is None else since
    if start >= end:
        raise BadRequest(f"since: {start.isoformat()} is not before the end, {end.isoformat()}")
    if end - start > LONGEST:
        raise BadRequest(f"since: a window has at most {LONGEST.days} days")
    return Window(floor_hour(start), ceil_hour(end))


def version_of(store: Store, model: str, named: int | str | None) -> int:
    """Return the number of the version that a question is about; None: the one in production.

    Raises
    ------
    UnknownVersion
        No version has this number or alias.
    NoProductionVersion
        None is in production.

    """
    if named is None:
        return deployments.production_version(store, model)
    return find_version(list(ledger.entries(store, model)), model, named)


def drift_of_window(
    ws: Workspace, config: ModelConfig, window: Window, *, version: int | str | None = None
) -> DriftAnswer:
    """Compare the predictions of a version in a window with its reference, as `keel.loop.check_data_drift` does.

    version: a number or an alias; by default the version in production.

    Raises
    ------
    UnknownVersion, NoProductionVersion
        There is no such version.

    """
    number = version_of(ws.store, config.model, version)
    grid = ws.registry.grid(config.model, number)
    counts = _counts(ws, config, number, grid, window)
    report = measure_drift(ws, config, _asked(config, number, window, counts), grid, counts)
    return DriftAnswer(
        model=config.model,
        version=number,
        window=window,
        rows=report.n,
        status=report.status,
        sentence=f"{report.sentence}{counts.exclusion}",
        drifted=tuple(report.names("drift")),
        drifted_outputs=tuple(report.names("drift", role="output")),
        report=report,
    )


def drift_of_rows(ws: Workspace, config: ModelConfig, rows: Any, *, version: int | str | None = None) -> DriftAnswer:
    """Compare rows that came with the question with a version's reference.

    An output that no row has is not compared: rows may come from before the model has scored them. A feature that no
    row has is a missing column, as in a window.

    rows: a table of any form that `keel.detect` takes. version: see `drift_of_window`.

    Raises
    ------
    BadRequest
        There is no row, or none of the version's columns.
    ConfigError
        They cannot be read as a table.

    """
    number = version_of(ws.store, config.model, version)
    whole = ws.registry.grid(config.model, number)
    frame = read_frame(rows, "rows")
    if not frame.n:
        raise BadRequest("rows: there is none")
    if not any(name in frame.name_set for name in whole.features):
        raise BadRequest(f"rows: no column is a feature of {config.model}: {', '.join(whole.features[:MAX_NAMED])}")
    accepted = accepted_references(ws, config.model, number, whole)
    replaced = whole.with_references({name: each.counts for name, each in accepted.items()})
    not_given = tuple(name for name in whole.outputs if name not in frame.name_set)
    grid = without_outputs(replaced, not_given)
    found = detect(grid, grid.count(frame.table), config.drift)
    about = {name: each.about for name, each in accepted.items() if name not in not_given}
    report = StoredDriftReport.from_dict(with_accepted_columns(found.to_dict(), about))
    return DriftAnswer(
        model=config.model,
        version=number,
        rows=report.n,
        status=report.status,
        sentence=report.sentence,
        drifted=tuple(report.names("drift")),
        drifted_outputs=tuple(report.names("drift", role="output")),
        ignored=tuple(name for name in frame.names if name not in whole.layout.index)[:MAX_NAMED],
        not_given=not_given,
        report=report,
    )


def performance_of_window(
    ws: Workspace, config: ModelConfig, window: Window, *, version: int | str | None = None
) -> PerformanceAnswer:
    """Compare a version on the labels of a window with its holdout, as `keel.loop.check_performance` does.

    The labels are those of predictions that are ``target.label_delay`` earlier than the window. version: see
    `drift_of_window`.
    """
    number = version_of(ws.store, config.model, version)
    grid = ws.registry.grid(config.model, number)
    earlier = window.earlier(config.target.label_delay)
    counts = _counts(ws, config, number, grid, earlier, decided_before=window.end, about=None)
    labels = label_report(ws, config, number, earlier, decided_before=window.end)
    asked = _asked(config, number, window, counts)
    report = measure_performance(ws, config, asked, labels, grid, counts, keep=False)
    return PerformanceAnswer(
        model=config.model,
        version=number,
        window=window,
        status=report.status,
        sentence=performance_sentence(report, counts),
        report=report,
        labels=labels,
    )


def _counts(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    grid: ReferenceGrid,
    window: Window,
    *,
    decided_before: datetime | None = None,
    about: str | None = DATA,
) -> WindowCounts:
    """Return the counts of a window, of rows that no check has counted, too."""
    uncounted = count_uncounted(ws, config, version, grid, window)
    end = decided_before or window.end
    return window_counts(ws, config, version, grid, window, decided_before=end, about=about, uncounted=uncounted)


def _asked(config: ModelConfig, version: int, window: Window, counts: WindowCounts) -> CountedWindow:
    """Return the window of a question in the form of a check's. It judges no live alarm."""
    return CountedWindow(
        model=config.model,
        version=version,
        window=window,
        rows=counts.usable.n + counts.quarantined.counts.n,
        counted_hours=0,
        counted_rows=0,
    )
