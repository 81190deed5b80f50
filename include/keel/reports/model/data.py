"""Collect what the page of a model shows: from the store alone, and in reads whose size does not grow with history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.deployments import experiments
from keel.deployments.history import fold, production_since
from keel.ledger import entries as ledger
from keel.monitoring import storage
from keel.monitoring.check_times import check_times
from keel.monitoring.records import StoredPerformanceReport
from keel.reports.check.data import decided, stored_check
from keel.reports.check.history import deployments_of
from keel.reports.model.alerts import open_silences
from keel.reports.model.drift_history import drift_history, drift_keys
from keel.reports.model.performance import checked_performances, realised
from keel.reports.model.timeline import timeline
from keel.reports.model.versions import version_lines
from keel.reports.model.view import ModelView
from keel.window import DAY, HOUR, Window, ceil_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.ledger.entries import Entry
    from keel.monitoring.records import LiveStatus
    from keel.reports.model.view import DriftHistory
    from keel.store.records import ReportKey
    from keel.workspace import Workspace

DAYS = 90
"""Days before the newest data that are shown."""
FEW = 12
"""Checks that are shown at least, where they lie within `LONGEST` days."""
LONGEST = 366
MAX_COMPARISONS = 30


def collect(
    ws: Workspace,
    config: ModelConfig,
    now: datetime,
    *,
    days: int | None = None,
    silenced: Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]] | None = None,
) -> ModelView:
    """Return what the store has of a model.

    now: the clock, for what is due. Histories end with the newest data, whose time may lie far from the clock.
    days: how far histories go back; None: `DAYS`, and further for a model that is seldom checked.
    silenced: returns open alerts with the silence that covers each now; None: as the last check stored them.

    Raises
    ------
    StoreUnavailable
        The store cannot be read.

    """
    model = config.model
    rows = list(ledger.entries(ws.store, model))
    state = fold(model, rows)
    newest = next(iter(ws.store.reports.keys(model, storage.CHECKS, limit=1)), None)
    times = check_times(ws, config, rows)
    stored = ws.store.alerts.list(model, is_open=True)
    view = ModelView(
        config,
        now,
        state,
        since=production_since(rows),
        next_check=_next_check(config, times.due, now),
        overdue=times.is_overdue(now),
        deployed=deployments_of(rows),
        live=_live(ws, config, now),
        alerts=_fired(silenced(stored) if silenced and stored else stored),
        silences=open_silences(ledger.entries(ws.store, ""), rows, model, now),
        ledger=timeline(ws, model, rows),
        ledger_rows=len(rows),
    )
    view = _with_experiment(ws, _with_check(ws, view, newest))
    return _with_history(ws, view, rows, days)


def _next_check(config: ModelConfig, due: datetime | None, now: datetime) -> datetime | None:
    from croniter import croniter

    if due is None or config.check.schedule is None:
        return None
    upcoming: datetime = croniter(config.check.schedule, now).get_next(datetime)
    return upcoming


def _live(ws: Workspace, config: ModelConfig, now: datetime) -> LiveStatus | None:
    from keel.monitoring.live.status import live_status  # the monitors' state is arrays, which only this needs

    return live_status(ws, config, now=now) if config.live is not None else None


def _fired(rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    severities = ("critical", "error", "warning", "info")
    fired = (row for row in rows if row["state"] != "pending")
    return tuple(sorted(fired, key=lambda row: (severities.index(row["severity"]), -row["rank"], row["first_seen"])))


def _with_check(ws: Workspace, view: ModelView, newest: ReportKey | None) -> ModelView:
    if newest is None or newest.version is None:
        return view
    stored = stored_check(ws, view.config, newest.version, Window(newest.start, newest.end))
    decision, outcome = decided(ws, view.model, newest.version, stored.window)
    return replace(view, check=replace(stored, decision=decision, outcome=outcome), checked_at=newest.created_at)


def _with_experiment(ws: Workspace, view: ModelView) -> ModelView:
    known = experiments.list_all(ws.store, view.model)
    found = next((each for each in known if each.outcome is None), next(iter(known), None))
    if found is None:
        return view
    looks = ws.store.reports.list(view.model, "experiment", 5, version=found.plan.challenger)
    mine = (each["body"] for each in looks if each["body"].get("experiment_id") == found.plan.experiment_id)
    return replace(view, experiment=found, evidence=next(mine, None))


def _with_history(ws: Workspace, view: ModelView, rows: Sequence[Entry], days: int | None) -> ModelView:
    until = _newest(ws, view)
    if until is None:
        return replace(view, versions=version_lines(view.state, rows, {}, _comparisons(ws, view.model)))
    keys = drift_keys(ws, view.model, until - LONGEST * DAY if days is None else until - days * DAY, until)
    since = _since(keys, until) if days is None else until - days * DAY
    keys = [key for key in keys if key.end >= since]
    drift = view.check.drift if view.check else None
    history = drift_history(ws, keys, len(drift.features) if drift else 0)
    reports = _performances(ws, view, history)
    newest = {version: report for version, _, report in reports}
    return replace(
        view,
        span=(since, until),
        drift=history,
        realised=realised(ws, view.config, since, until, newest),
        checked=checked_performances(reports),
        versions=version_lines(view.state, rows, newest, _comparisons(ws, view.model)),
    )


def _newest(ws: Workspace, view: ModelView) -> datetime | None:
    """Return the end of the newest data: of the last check, or of the last hour with a label; None without any."""
    hour = ws.store.performance.newest_hour(view.model)
    ends = [*([hour + HOUR] if hour else []), *([ceil_hour(view.check.window.end)] if view.check else [])]
    return max(ends, default=None)


def _since(keys: Sequence[ReportKey], until: datetime) -> datetime:
    """Return from when on there is enough to see. keys: the latest end first."""
    since = until - timedelta(days=DAYS)
    first = keys[:FEW][-1].start if keys else since
    return min(since, first)


def _performances(
    ws: Workspace, view: ModelView, history: DriftHistory
) -> list[tuple[int, Window, StoredPerformanceReport]]:
    """Return the performance reports of the checks that are shown, and of the newest one, the oldest first."""
    shown = [(v, window) for v, window in zip(history.versions, history.windows, strict=True) if v is not None]
    if view.check is not None and (view.check.version, view.check.window) not in shown:
        shown.append((view.check.version, view.check.window))
    ids = {storage.report_id("performance", view.model, *each): each for each in shown}
    bodies = ws.store.reports.bodies([*ids])
    return [(*ids[key], StoredPerformanceReport.from_dict(bodies[key])) for key in ids if key in bodies]


def _comparisons(ws: Workspace, model: str) -> list[Mapping[str, Any]]:
    return [report["body"] for report in ws.store.reports.list(model, "comparison", MAX_COMPARISONS)]
