"""The live alarms that a check judges: which they are, and the window that a check of them has.

The ids of alarms pass between tasks, never their evidence: each step reads the alarms from the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from keel import deployments
from keel.monitoring import storage
from keel.monitoring.alarm_records import judgements_of, open_alarms
from keel.monitoring.alarms import HARM_KINDS
from keel.monitoring.records import DecisionRecord
from keel.window import HOUR, Window, ceil_hour, floor_hour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.monitoring.records import LiveAlarm
    from keel.workspace import Workspace

Cause = Literal["alarm", "check", "period", "backfill"]
"""What a run is for: a live alarm, the present, a period that a person names, or the past."""


@dataclass(frozen=True)
class AlarmsToJudge:
    """The alarms that a run is to judge, and its window."""

    window: Window
    alarms: tuple[str, ...] = ()
    """Their ids."""
    since_alarms: bool = False
    """Whether the window begins where their changes probably began."""


def alarms_to_judge(
    ws: Workspace, config: ModelConfig, window: Window, *, cause: Cause, run_id: str, now: datetime
) -> AlarmsToJudge:
    """Return the alarms that a run is to judge, and its window.

    A run that an alarm starts checks the time since the earliest estimated change. A run that is cleared after its
    decision gets the alarms and the window of that decision again, so that it decides the same. A run for a period
    judges the alarms inside it, and one for the past none that is open. Where another run has decided on the same
    window, the decision that replaces that one is about its alarms too.

    Alarms are judged whatever ``live`` is: one that is open when the monitors are turned off would stay so.

    Parameters
    ----------
    window
        That of the run without alarms.
    cause
        What the run is for.
    now
        The time the run was due.

    """
    decided = _decided_by(ws, config.model, run_id)
    if decided is not None:
        return AlarmsToJudge(decided.window, _alarms_of(decided), since_alarms=cause == "alarm")
    alarms = () if cause == "backfill" else open_alarms(ws, config.model)
    if cause == "period":
        alarms = tuple(alarm for alarm in alarms if _is_inside(alarm, window, config))
    elif cause == "check":
        alarms = tuple(alarm for alarm in alarms if alarm.kind == "fault" or alarm.since < window.end)
    elif alarms:
        window = _window_since(ws, config, alarms, window, now)
    since_alarms = cause == "alarm" and bool(alarms)
    earlier = _earlier(ws, config, window) if since_alarms or cause != "alarm" else ()
    ids = dict.fromkeys([*(alarm.alarm_id for alarm in alarms), *earlier])
    return AlarmsToJudge(window, tuple(ids), since_alarms=since_alarms)


def close_alarms(ws: Workspace, model: str, decision_id: str) -> None:
    """Close the alarms that a stored decision judged. One that opened later is in no decision yet, and stays open."""
    stored = storage.read_decision(ws, model, decision_id, DecisionRecord)
    if stored is not None and stored.alarms:
        found = {each.alarm.alarm_id: each.verdict for each in judgements_of(ws, stored)}
        verdicts = {alarm_id: found[alarm_id] for alarm_id in stored.alarms if alarm_id in found}
        ws.store.live.judge(model, verdicts, decision_id)


def next_check(ws: Workspace, config: ModelConfig, decision_id: str, *, run_id: str) -> str | None:
    """Return the id of the run that judges the alarms which a run leaves; None where it leaves none for now.

    A run that is cleared gets the same id while the same alarms are open, and so starts no second run.
    """
    stored = storage.read_decision(ws, config.model, decision_id, DecisionRecord)
    left = {alarm.alarm_id for alarm in open_alarms(ws, config.model)} - set(stored.open_alarms if stored else ())
    return storage.derived_id(run_id, *sorted(left)) if left else None


def _window_since(
    ws: Workspace, config: ModelConfig, alarms: Sequence[LiveAlarm], window: Window, now: datetime
) -> Window:
    """Return the window from the earliest change to the latest data, at most as long as other checks look back."""
    current = deployments.production_version(ws.store, config.model)
    about = [alarm for alarm in alarms if alarm.version == current and alarm.kind != "fault"]
    stored = ws.store.live.read(config.model)
    seen = [alarm.opened_at for alarm in about]
    if stored is not None and stored.seen_until is not None:
        seen.append(stored.seen_until)
    if not seen:
        return window
    latest, lookback = max(seen), config.check.lookback
    begin = min((_start(alarm, config) for alarm in about), default=latest - lookback)
    if begin <= now < latest:  # rows of a client whose clock is ahead
        latest = now
    end = ceil_hour(latest)
    return Window(min(max(floor_hour(begin), floor_hour(end - lookback)), end - HOUR), end)


def _start(alarm: LiveAlarm, config: ModelConfig) -> datetime:
    """Return where a window has to start that shows the change: the labels of a window are earlier than its rows."""
    return alarm.since + config.target.label_delay if alarm.kind == "harm" else alarm.since


def _is_inside(alarm: LiveAlarm, window: Window, config: ModelConfig) -> bool:
    """Return whether all that an alarm is about lies in a window, or in the window of its labels."""
    delay = config.target.label_delay if alarm.kind in HARM_KINDS else timedelta(0)
    return window.start - delay <= alarm.since and alarm.opened_at <= window.end


def _earlier(ws: Workspace, config: ModelConfig, window: Window) -> tuple[str, ...]:
    """Return the alarms of the decision that another run has made on the same window."""
    version = deployments.read(ws.store, config.model).production
    identity = storage.report_id("decision", config.model, version, window)
    found = storage.read_decision(ws, config.model, identity, DecisionRecord)
    return _alarms_of(found) if found else ()


def _decided_by(ws: Workspace, model: str, run_id: str) -> DecisionRecord | None:
    """Return the decision of a check that this run has made before it was cleared."""
    found = ws.store.decisions.of_run(model, run_id)
    return DecisionRecord.from_dict(found["body"]) if found else None


def _alarms_of(decision: DecisionRecord) -> tuple[str, ...]:
    """Return the alarms that a decision was about, judged or left open."""
    return (*decision.alarms, *decision.open_alarms)
