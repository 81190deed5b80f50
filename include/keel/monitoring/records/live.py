"""Records of the live monitors: their alarms, and what one pass over new rows did."""

from __future__ import annotations

from typing import Literal

from keel.monitoring.records.base import Record, Time

MonitorKind = Literal["shift", "harm", "audit", "fault"]
"""``shift``: the values of a column; ``harm``: the mean loss of labelled rows; ``audit``: the same, estimated from an
audit sample; ``fault``: the monitoring itself."""


class LiveAlarm(Record):
    """A monitor that crossed its bound, or a fault of the monitoring. It is open until a check has judged it."""

    alarm_id: str
    model: str
    version: int
    kind: MonitorKind
    subject: str
    """The column of a shift; ``loss`` for harm and audit; what is at fault."""
    opened_at: Time
    """Time of the latest prediction that the monitor had seen, in the data's own time; of a fault, the clock's."""
    block: int = 0
    """Blocks of this monitor since its start, up to the alarm."""
    since: Time
    """Estimated start of the change, in the data's own time."""
    rows_since: int = 0
    """Rows of the monitor since then, as of its last block."""
    evidence: float | None = None
    """Decimal logarithm of the e-detector's value, as of the last block; None of a fault."""
    bound: float | None = None
    """Decimal logarithm of the value at which it alarms."""
    sentence: str
    judged_by: str | None = None
    """Id of the decision that judged it; None while it is open."""

    @property
    def is_open(self) -> bool:
        """Whether no check has judged it."""
        return self.judged_by is None


class LiveProgress(Record):
    """What one pass over a model's new rows did."""

    model: str
    version: int | None = None
    blocks: int = 0
    rows: int = 0
    labels: int = 0
    behind: bool = False
    """Whether more whole blocks are waiting."""
    opened: tuple[LiveAlarm, ...] = ()
    """Alarms that this pass opened."""
    worse: tuple[LiveAlarm, ...] = ()
    """Open alarms whose evidence has grown a thousandfold since people or checks last heard of them."""
