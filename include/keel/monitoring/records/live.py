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
    """The end of the block that alarmed, in the data's own time; of a fault, the clock's."""
    block: int = 0
    """Blocks of this monitor since its start, up to the alarm."""
    since: Time
    """Estimated start of the change, in the data's own time."""
    run_started_at: Time | None = None
    """When the run of the monitors that opened it started, by the clock; None of a fault."""
    rows_since: int = 0
    """Rows of the monitor since then, as of its last block."""
    evidence: float | None = None
    """Decimal logarithm of the e-detector's value, as of the last block; None of a fault."""
    bound: float | None = None
    """Decimal logarithm of the value at which it alarms."""
    sentence: str
    judged_by: str | None = None
    """Id of the decision that judged it, or what else has closed it, such as a ledger row; None while it is open."""
    verdict: str | None = None
    """What that check made of it (`keel.monitoring.alarms.Verdict`); None while it is open."""

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


class MonitorStatus(Record):
    """One live monitor: its evidence, now and over time, against its bound. Evidence is a decimal logarithm."""

    kind: MonitorKind
    subject: str
    evidence: float | None
    """None before its first block."""
    bound: float
    blocks: int = 0
    """Blocks since its own start."""
    since: Time | None = None
    """Estimated start of the change that the evidence is about."""
    trajectory: tuple[float | None, ...] = ()
    """The evidence at each of `LiveStatus.times`; None where the monitor had none."""


class AlarmStatus(Record):
    """An open alarm, and how often it has asked for a check."""

    alarm: LiveAlarm
    rings: int = 0
    last_ring_at: Time | None = None


LiveState = Literal["off", "no version", "paused", "stalled", "starting", "reading"]
"""``stalled``: whole blocks wait, and nothing reads them."""


class LiveStatus(Record):
    """What is known of a model's live monitors. Times ``…_at`` are the clock's, others the data's."""

    model: str
    state: LiveState
    sentence: str
    """What the state means, and what to do about it."""
    production: int | None = None
    version: int | None = None
    """The version that is monitored; None before the monitors have started."""
    started_at: Time | None = None
    paused: bool = False
    block_size: int = 100
    """Predictions of a block, those that thinning leaves out included."""
    rows: int = 0
    blocks: int = 0
    seen_until: Time | None = None
    last_block_at: Time | None = None
    waiting: int = 0
    """Predictions that a monitor will read; 0 where nothing is monitored."""
    waiting_labels: int = 0
    """Labels that a monitor will read; 0 where the mean loss is not monitored."""
    times: tuple[Time, ...] = ()
    """Blocks that the trajectories tell the evidence of, thinned, the oldest first: their ends in the data's time."""
    monitors: tuple[MonitorStatus, ...] = ()
    alarms: tuple[AlarmStatus, ...] = ()
    """The open ones, the oldest first."""
    judged: tuple[LiveAlarm, ...] = ()
    """The last ones that a check has judged, the newest first."""
    promise: str = ""
    notes: tuple[str, ...] = ()
    """What is monitored with less power, or not at all, and why."""
    fault: str = ""
    """Why the saved state cannot be read; empty where it can."""
