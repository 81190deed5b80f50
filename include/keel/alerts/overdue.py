"""Find checks that have not come: the one failure of which no run can tell, because there is no run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import Examined, Finding, Observation
from keel.config import Kind, Severity
from keel.monitoring.check_times import CheckTimes, check_times
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

SOURCE = "overdue"


def find_overdue(ws: Workspace, configs: Iterable[ModelConfig], *, now: datetime) -> list[Observation]:
    """Return an observation for each model whose check is overdue, and for each whose overdue check has come.

    A check is overdue when it has not decided `keel.monitoring.check_times.GRACE` after its time, by the clock. A model
    without a schedule or without a version in production has no check that could be. The id of an observation is that
    of the check that is due, or of the alert that is over, so that asking every minute tells once.
    """
    found = []
    for config in configs:
        times = check_times(ws, config)
        if times.is_overdue(now):
            found.append(_overdue(config, times, now))
    return found


def _overdue(config: ModelConfig, times: CheckTimes, now: datetime) -> Observation:
    assert times.due is not None, "only a check that is due can be overdue"
    last = f"The last one decided on {_time(times.last)}." if times.last else "It would be the first."
    finding = Finding(
        kind=Kind.CHECK_OVERDUE,
        severity=Severity.ERROR,
        sentence=f"The check that was due on {_time(times.due)} has not decided. {last}",
        evidence={
            "due": times.due.isoformat(),
            "last_check": times.last.isoformat() if times.last else None,
            "schedule": config.check.schedule,
        },
    )
    return Observation(
        observation_id=f"{SOURCE}-{derived_id(config.model, times.due.isoformat())}",
        model=config.model,
        source=SOURCE,
        at=now,
        findings=(finding,),
        examined=(Examined(kind=Kind.CHECK_OVERDUE),),
    )


def _time(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
