"""Read live alarms from the store, and judge them by stored reports.

Only the ids of alarms pass between tasks. Their evidence is read here, as it is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring import storage
from keel.monitoring.alarms import Judgement, after_retraining, judge_alarms, rests_on
from keel.monitoring.records import CountedWindow, LiveAlarm

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.monitoring.records import DecisionRecord
    from keel.workspace import Workspace


def open_alarms(ws: Workspace, model: str) -> tuple[LiveAlarm, ...]:
    """Return the alarms of a model that no check has judged, by the time they were opened."""
    return tuple(map(LiveAlarm.from_dict, ws.store.live.open_alarms(model)))


def read_alarms(ws: Workspace, counted: CountedWindow) -> tuple[LiveAlarm, ...]:
    """Return the alarms of a counted window as they are stored: those that are open, or that its decision judged."""
    if not counted.alarms:
        return ()
    own = storage.report_id("decision", counted.model, counted.version, counted.window)
    found = map(LiveAlarm.from_dict, ws.store.live.alarms_of(counted.alarms))
    return tuple(alarm for alarm in found if alarm.model == counted.model and alarm.judged_by in (None, own))


def rests_on_quarantined(ws: Workspace, config: ModelConfig, alarm: LiveAlarm, *, decided_before: datetime) -> bool:
    """Return whether the losses behind an alarm are partly of hours whose labels or data were quarantined afterwards.

    What was quarantined before its labels were due, or before the run that opened the alarm started, was never read,
    and explains nothing.

    decided_before: only what windows with an earlier end have quarantined; a check tests the rest itself.
    """
    delay = config.labels.audit_delay if alarm.kind == "audit" else config.target.label_delay
    return any(
        rests_on(alarm, row["start"], row["end"])
        and row["start"] + delay < row["decided_until"]
        and (alarm.run_started_at is None or alarm.run_started_at < row["created_at"])
        for row in ws.store.quarantines(config.model, decided_before=decided_before)
    )


def judge(ws: Workspace, counted: CountedWindow, reports: storage.CheckReports) -> tuple[Judgement, ...]:
    """Return what the reports of a window make of its alarms."""
    return judge_alarms(
        read_alarms(ws, counted),
        counted.version,
        counted.window,
        quality=reports.quality,
        drift=reports.drift,
        performance=reports.performance,
    )


def judgements_of(ws: Workspace, decision: DecisionRecord) -> tuple[Judgement, ...]:
    """Return what a stored decision made of its alarms: those that it judged, and those that it left open."""
    ids = (*decision.alarms, *decision.open_alarms)
    if not ids or decision.version is None:
        return ()
    counted = CountedWindow(
        model=decision.model,
        version=decision.version,
        window=decision.window,
        rows=0,
        counted_hours=0,
        counted_rows=0,
        alarms=ids,
    )
    return after_retraining(judge(ws, counted, storage.read_check_reports(ws, counted)), decision.action)
