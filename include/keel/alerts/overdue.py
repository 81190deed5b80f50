"""Find what no run tells of: a check that has not come, an answer that has not, and what people are owed since."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.findings.approval import APPROVAL
from keel.alerts.records import ALL_MODELS, OWED, Alert, Examined, Finding, Observation
from keel.alerts.silences import silences
from keel.alerts.state import BY_CLOCK, advance
from keel.config import AlertsConfig, Kind, Severity
from keel.monitoring.check_times import GRACE, CheckTimes, check_times
from keel.monitoring.storage import derived_id
from keel.window import HOUR

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

SOURCE = "overdue"


def when(moment: datetime | None) -> str:
    """Return a time by the clock, as people read it.

    >>> from datetime import UTC
    >>> when(datetime(2026, 3, 2, 18, tzinfo=UTC))
    '2 March 2026, 18:00 UTC'
    """
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC" if moment else "an unknown time"


def find_overdue(ws: Workspace, configs: Iterable[ModelConfig], *, now: datetime) -> list[Observation]:
    """Return an observation for each model whose check is overdue, and for each whose overdue check has come.

    A check is overdue when it has not decided `keel.monitoring.check_times.GRACE` after its time, by the clock. A model
    without a schedule or without a version in production has no check that could be.

    Asking every minute tells once, because the alert is one. It is seen anew every hour for as long as the check is
    overdue: a reminder is told an hour late at most.

    A question for an approval is over too, `GRACE` after the time for its answer: the run that asked, and would have
    said so, is gone.
    """
    found: list[Observation] = []
    for config in configs:
        times = check_times(ws, config)
        alerts = [Alert.from_dict(row) for row in ws.store.alerts.list(config.model, is_open=True)]
        found += [_unanswered(each, now) for each in alerts if _has_no_answer(each, now)]
        known = next((each.alert_id for each in alerts if each.kind is Kind.CHECK_OVERDUE), "")
        if times.is_overdue(now):
            found.append(_overdue(config, known, times, now))
        elif known:
            found.append(_over(config, known, times, now))
    return found


def find_owed(ws: Workspace, configs: Iterable[ModelConfig | None], *, now: datetime) -> list[Observation]:
    """Return an observation for each model of whose alerts people are owed something that no run will tell.

    configs: None among them is what concerns no single model.

    Such is what a silence or a cause covered until now, and a reminder (`keel.alerts.state.owed`).
    """
    return [_look(each, now) for each in configs if _owes(ws, each, now)]


def _owes(ws: Workspace, config: ModelConfig | None, now: datetime) -> bool:
    look = _look(config, now)
    alerts = [Alert.from_dict(row) for row in ws.store.alerts.list(look.model, is_open=True)]
    if not any(each.kind in BY_CLOCK for each in alerts):
        return False
    settings = config.alerts if config else AlertsConfig()
    return bool(advance(alerts, look, settings, silences(ws.store, look.model, now)).news)


def _look(config: ModelConfig | None, now: datetime) -> Observation:
    model = config.model if config else ALL_MODELS
    identity = f"{OWED}-{derived_id(model, now.isoformat())}"
    return Observation(observation_id=identity, model=model, source=OWED, at=now)


def _has_no_answer(alert: Alert, now: datetime) -> bool:
    until = alert.evidence.get("until")
    return alert.kind is Kind.APPROVAL and until is not None and datetime.fromisoformat(str(until)) + GRACE < now


def _unanswered(alert: Alert, now: datetime) -> Observation:
    """Return what ends a question that nobody can answer any more."""
    return Observation(
        observation_id=f"{APPROVAL}-{derived_id(alert.alert_id, str(alert.evidence['until']), 'unanswered')}",
        model=alert.model,
        source=APPROVAL,
        at=now,
        examined=(Examined(kind=Kind.APPROVAL, subject=alert.subject),),
        resolution="the time for an answer is over, and the run that asked does not wait any more",
    )


def _overdue(config: ModelConfig, known: str, times: CheckTimes, now: datetime) -> Observation:
    assert times.due is not None, "only a check that is due can be overdue"
    hour = (now - times.due) // HOUR
    last = f"The last one decided on {when(times.last)}." if times.last else "It would be the first."
    finding = Finding(
        kind=Kind.CHECK_OVERDUE,
        severity=Severity.ERROR,
        sentence=f"The check that was due on {when(times.due)} has not decided. {last}",
        evidence={
            "due": times.due.isoformat(),
            "last_check": times.last.isoformat() if times.last else None,
            "schedule": config.check.schedule,
        },
    )
    return Observation(
        observation_id=f"{SOURCE}-{derived_id(config.model, times.due.isoformat(), str(hour), known)}",
        model=config.model,
        source=SOURCE,
        at=now,
        findings=(finding,),
        examined=(Examined(kind=Kind.CHECK_OVERDUE),),
    )


def _over(config: ModelConfig, alert_id: str, times: CheckTimes, now: datetime) -> Observation:
    """Return what ends an alert: the check has come, or none is to come any more."""
    is_due = times.due is not None and times.last is not None
    return Observation(
        observation_id=f"{SOURCE}-{derived_id(alert_id, 'over')}",
        model=config.model,
        source=SOURCE,
        at=now,
        examined=(Examined(kind=Kind.CHECK_OVERDUE),),
        resolution=f"a check decided on {when(times.last)}" if is_due else "no check is due any more",
    )
