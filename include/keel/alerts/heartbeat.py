"""The dead-man's switch: is everything alive that people rely on to be told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from keel.monitoring.check_times import check_times
from keel.monitoring.records.base import Record, Time

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


class Heartbeat(Record):
    """Whether checks come in time and what they find reaches people."""

    at: Time
    problems: tuple[str, ...] = ()
    """What does not work, a sentence each; empty where all is alive."""
    checks: dict[str, Time | None] = {}
    """When each model was checked last, by the clock; None before the first check."""

    @property
    def is_alive(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def heartbeat(ws: Workspace, configs: Iterable[ModelConfig], *, now: datetime) -> Heartbeat:
    """Return whether checks come in time and messages leave. It opens no alert: whoever asks is to be told another way.

    Raises
    ------
    StoreUnavailable
        The store does not answer. To whoever asks, that is no heartbeat.

    """
    problems, checks = [], {}
    for config in configs:
        times = check_times(ws, config)
        checks[config.model] = times.last
        if times.is_overdue(now):
            problems.append(f"{config.model}: the check that was due at {times.due} has not decided.")
    return Heartbeat(at=now, problems=tuple(problems), checks=checks)
