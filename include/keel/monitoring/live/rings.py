"""When the bell rings for an open alarm: on edges, when a check has enough rows, and at growing intervals.

The memory of the schedule is stored with the alarm: how often the bell rang for it, when, and what the alarm said then.
A process that is killed forgets nothing, and two processes do not ring twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.monitoring.alarms import HARM_KINDS

if TYPE_CHECKING:
    from keel.config import ModelConfig

WORSE_DECADES = 3.0
"""Growth of an open alarm's evidence, in powers of ten, before people and checks hear of it again."""
WORSE_RATIO = 2.0
"""Its power of ten must have grown to this multiple as well: a clear change adds a thousandfold with every block."""
FIRST_INTERVAL = timedelta(minutes=5)
"""After the first ring; each further interval is twice as long. A check takes less."""
LONGEST_INTERVAL = timedelta(hours=6)
"""As long as the time between two checks by default, which would find the alarm as well."""


@dataclass(frozen=True)
class Ring:
    """A ring of the bell for one model. alarm_ids is empty when the store does not answer."""

    model: str
    reasons: tuple[str, ...]
    alarm_ids: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the ring as plain JSON values."""
        return {"model": self.model, "reasons": list(self.reasons), "alarm_ids": list(self.alarm_ids)}


def interval(rings: int) -> timedelta:
    """Return the time after ring number ``rings``, from 1, until the bell rings again for an alarm that stays open.

    >>> [interval(n) // timedelta(minutes=1) for n in (1, 2, 3, 7, 8, 10_000)]
    [5, 10, 20, 320, 360, 360]
    """
    # Beyond 2 ** 7 the longest interval is the shorter one, and a large exponent would overflow.
    return min(FIRST_INTERVAL * 2 ** min(rings - 1, 7), LONGEST_INTERVAL)


def ring_reason(alarm: Mapping[str, Any], *, now: datetime, min_rows: int) -> str | None:
    """Return why the bell rings for an open alarm, or None while it is silent.

    Parameters
    ----------
    alarm
        as `keel.store.live.LiveTable.open_alarms` returns it, as of its monitor's last block
    now
        time of the clock. One that went back does not silence the bell.
    min_rows
        rows that a check needs for a result about drift

    """
    last, evidence, told = alarm["last_ring_at"], alarm["evidence"], alarm["ring_evidence"]
    if last is None:
        return "opened"
    if evidence is not None and told is not None and evidence >= max(told + WORSE_DECADES, told * WORSE_RATIO):
        return "worse"
    if (alarm["ring_rows"] or 0) < min_rows <= (alarm["rows_since"] or 0):
        return "enough rows for a check"
    waited = now - last
    if waited >= interval(alarm["rings"]) or waited < -FIRST_INTERVAL:
        return "still open"
    return None


def ring_reasons(alarms: Iterable[Mapping[str, Any]], config: ModelConfig, now: datetime) -> dict[str, str]:
    """Return why the bell rings for a model's open alarms, by the id of the alarm."""
    found = {}
    for alarm in alarms:
        harm = alarm["kind"] in HARM_KINDS
        min_rows = config.performance.min_rows if harm else config.drift.min_rows
        if reason := ring_reason(alarm, now=now, min_rows=min_rows):
            found[alarm["alarm_id"]] = reason
    return found
