"""Live alarms as the monitors store them, put into a real store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.monitoring.records import LiveAlarm
from keel.store.live import StoredMonitors

if TYPE_CHECKING:
    from keel.store import Store

HOUR = timedelta(hours=1)


def live_alarm(subject: str = "wind", *, since: datetime, kind: str = "shift", **changes: Any) -> LiveAlarm:
    """Return an alarm that opened two hours after the change, of version 1 of ``tide``."""
    values = {
        "alarm_id": f"alarm-{kind}-{subject}",
        "model": "tide",
        "version": 1,
        "kind": kind,
        "subject": subject,
        "opened_at": since + 2 * HOUR,
        "since": since,
        "block": 40,
        "rows_since": 600,
        "evidence": 7.4,
        "bound": 6.2,
        "sentence": f"The values of {subject} have changed.",
    }
    return LiveAlarm.from_dict({**values, **changes})


def open_alarms(store: Store, *alarms: LiveAlarm, seen_until: datetime | None = None) -> None:
    """Store alarms, as the monitors do with the state that they have come to."""
    for model in dict.fromkeys(alarm.model for alarm in alarms):
        mine = [alarm for alarm in alarms if alarm.model == model]
        before = store.live.read(model)
        stored = StoredMonitors(
            model=model,
            version=mine[0].version,
            generation=1,
            started_at=datetime(2024, 1, 1, tzinfo=UTC),
            predictions_until=0,
            labels_until=0,
            rows=0,
            seen_until=seen_until or max(alarm.opened_at for alarm in mine),
            last_block_at=None,
            state=None,
            updated_at=datetime(2024, 1, 1, tzinfo=UTC),
        )
        revision = before.revision if before else 0
        assert store.live.commit(model, revision, stored, alarms=[alarm.to_dict() for alarm in mine])


def judged_by(store: Store, alarm: LiveAlarm) -> str | None:
    """Return the id of the decision that judged a stored alarm."""
    [found] = store.live.alarms_of([alarm.alarm_id])
    return found["judged_by"]
