"""The dead-man's switch: does everything work on which people rely to be told.

It opens no alert and sends no message, because what would send it may be what is dead. Whoever asks, such as a monitor
outside Airflow, tells people another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keel.alerts.overdue import when
from keel.config import Kind
from keel.monitoring.check_times import check_times
from keel.monitoring.records.base import Record, Time
from keel.reports import numbers

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

SENDER_GRACE = timedelta(minutes=15)
"""A message that nobody has tried to send so long after its time waits for a sender that does not run. The DAG
``keel.alerts`` sends every minute."""
DIGEST_GRACE = timedelta(hours=1)
"""The same for a digest, which is made after its period."""
PERIODS = {"daily": timedelta(days=1), "weekly": timedelta(weeks=1)}


class Heartbeat(Record):
    """Whether checks come in time, and whether what they find reaches people."""

    at: Time
    problems: tuple[str, ...] = ()
    """What does not work, and what to do, a text each; empty where all is alive."""
    checks: dict[str, Time | None] = {}
    """When each model was checked last, by the clock; None before the first check."""
    waiting: int = 0
    """Messages that the receiver has not accepted yet."""

    @property
    def is_alive(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def heartbeat(ws: Workspace, configs: Iterable[ModelConfig], *, now: datetime) -> Heartbeat:
    """Return whether the checks of these models come in time, and whether messages leave.

    Raises
    ------
    StoreUnavailable
        The store does not answer. To whoever asks, that is no heartbeat.

    """
    problems: list[str] = []
    checks = {}
    for config in configs:
        times = check_times(ws, config)
        checks[config.model] = times.last
        if times.is_overdue(now):
            problems.append(
                f"{config.model}: the check that was due on {when(times.due)} has not decided. See whether the "
                f"scheduler runs, and whether {config.model}.drift_check is paused or failed."
            )
        problems += _late_digest(ws, config, now)
    pending = ws.store.outbox.deliveries(state="pending")
    untried = [each for each in pending if each["next_try_at"] <= now - SENDER_GRACE]
    if untried:
        since = when(min(each["next_try_at"] for each in untried))
        problems.append(
            f"{numbers.count(len(untried), 'message')} due since {since}, and nothing sends. See whether the DAG "
            "keel.alerts runs; meanwhile: keel alerts send"
        )
    problems += _broken_channels(ws)
    return Heartbeat(at=now, problems=tuple(problems), checks=checks, waiting=len(pending))


def _late_digest(ws: Workspace, config: ModelConfig, now: datetime) -> Iterator[str]:
    if config.alerts.digest is None:
        return
    horizon = now - PERIODS[config.alerts.digest] - DIGEST_GRACE
    late = [each["recorded_at"] for each in ws.store.alerts.waiting(config.model) if each["recorded_at"] <= horizon]
    if late:
        yield (
            f"{config.model}: the {config.alerts.digest} digest has waited since {when(min(late))}. See whether the "
            "DAG keel.alerts runs."
        )


def _broken_channels(ws: Workspace) -> Iterator[str]:
    for alert in ws.store.alerts.list(is_open=True):
        if alert["kind"] == Kind.CHANNEL:
            yield f"{alert['sentence']} See what it answers: keel alerts test --channel {alert['subject']}"
