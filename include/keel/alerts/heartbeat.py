"""The dead-man's switch: does everything work on which people rely to be told.

It opens no alert and sends no message, because what would send it may be what is dead. Whoever asks, such as a monitor
outside Airflow, tells people another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.alerts.digest import due_models
from keel.alerts.overdue import when
from keel.config import Kind
from keel.monitoring.check_times import check_times
from keel.monitoring.performance_words import capitalised
from keel.monitoring.records.base import Record, Time
from keel.reports import numbers

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.check_times import CheckTimes
    from keel.workspace import Workspace

SENDER_GRACE = timedelta(minutes=15)
"""A message that nobody has tried to send so long after its time waits for a sender that does not run. The DAG
``keel.alerts`` sends every minute."""
DIGEST_GRACE = timedelta(hours=1)
"""The same for a digest, which is due when its day or week is over."""


SENDER = "See whether the DAG keel.alerts runs; meanwhile: keel alerts send"


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
    known = list(configs)
    times = {config.model: check_times(ws, config) for config in known}
    pending = ws.store.outbox.deliveries(state="pending")
    late = due_models(ws, known, now=now - DIGEST_GRACE)
    problems = (
        *(_overdue(model, each) for model, each in times.items() if each.is_overdue(now)),
        *_unsent(pending, now),
        *(f"{model}: its digest is due and was not written. {SENDER}" for model in late),
        *_broken_channels(ws),
    )
    checks = {model: each.last for model, each in times.items()}
    return Heartbeat(at=now, problems=problems, checks=checks, waiting=len(pending))


def _overdue(model: str, times: CheckTimes) -> str:
    return (
        f"{model}: the check that was due on {when(times.due)} has not decided. See whether the scheduler runs, and "
        f"whether {model}.drift_check is paused or failed."
    )


def _unsent(pending: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Yield that messages are due which nobody tries to send. One that follows another waits for that."""
    ids = {each["delivery_id"] for each in pending}
    free = [each for each in pending if ids.isdisjoint((each["follows"] or "").split())]
    untried = [each["next_try_at"] for each in free if each["next_try_at"] <= now - SENDER_GRACE]
    if untried:
        count = numbers.count(len(untried), "message has", "messages have")
        yield f"{count} been due since {when(min(untried))}, and nothing sends. {SENDER}"


def _broken_channels(ws: Workspace) -> Iterator[str]:
    for alert in ws.store.alerts.list(is_open=True):
        if alert["kind"] == Kind.CHANNEL:
            channel = alert["evidence"].get("channel") or alert["subject"]
            sentence = capitalised(alert["sentence"]).rstrip(".")
            yield f"{sentence}. See what it answers: keel alerts test --channel {channel}"
