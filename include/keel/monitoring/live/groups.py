"""What every group of live monitors offers: it reads its own stream, evaluates whole blocks, and saves itself exactly.

A group is several monitors that read the same rows and are evaluated together: all columns, the mean loss, the audit
sample. `keel.monitoring.live.catch_up` asks each group in turn to advance, and stores what all of them hold in one
transaction. A group therefore changes nothing but itself, and gets time and chance as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from keel.monitoring.alarms import TOLERATED

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import MonitorKind
    from keel.store.predictions.log import PredictionLog

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]
Arrays = Mapping[str, NDArray[Any]]
"""The state of a group by name: numbers, times and text of any shape, 0-d for single values, without objects."""
PAGE_ROWS = 10_000
"""Rows read at once: the memory that a step takes, whatever waits."""


def _no_times() -> Times:
    return np.empty(0, "datetime64[us]")


def _no_numbers() -> Integers:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Feed:
    """Where a group reads from, and the present."""

    log: PredictionLog
    config: ModelConfig
    version: int
    """The version in production, whose rows are read."""
    now: datetime
    horizon: datetime | None
    """The data's present, for "has a prediction matured?": the end of the last block of rows, no later than now; None
    before the first block. A replay of last year runs at last year's time."""
    last_arrival: int
    """The last arrival number that the model's predictions and labels had taken when the pass began."""
    excluded: tuple[tuple[datetime, datetime], ...] = ()
    """Quarantined times, start ≤ time < end: nothing that needs labels uses the rows inside."""
    ends: Times = field(default_factory=_no_times)
    """The data's present after each block of rows that this step has read, shape (blocks,), microseconds."""
    numbers: Integers = field(default_factory=_no_numbers)
    """Arrival number of each block's last row, shape (blocks,)."""


@dataclass(frozen=True)
class Advance:
    """What a group read in one step, and its evidence after each whole block of it."""

    rows: int
    """Rows read, those of an incomplete block that the group holds included."""
    ends: Times
    """Time of each block's end in the data's own time, shape (blocks,), microseconds, never before the previous one. A
    tenth of the block's rows may be dated ahead of it."""
    evidence: Floats
    """Natural logarithm of each monitor's e-detector, shape (blocks, monitors); −inf: none yet."""
    since: Times
    """Estimated start of the change, shape (blocks, monitors), microseconds."""
    rows_since: Integers
    """Rows since then, shape (blocks, monitors)."""
    more: bool = False
    """Whether more rows may be waiting for this group."""
    numbers: Integers = field(default_factory=_no_numbers)
    """Arrival number of each block's last row, shape (blocks,), of a group whose blocks are the predictions."""


@dataclass
class ReadTimes:
    """How far predictions had been read when the data's present was some time of late; its size is bounded.

    A row whose time is wrong says nothing about when it arrived. What the data's present was when it was read does: so
    labels mature by that where it is earlier than the row's own time, and one row dated ahead holds up no other.
    """

    delay: int
    """How far back it can be asked, in microseconds."""
    times: Integers = field(default_factory=_no_numbers)
    """The data's present at the end of a block, in microseconds, ascending."""
    numbers: Integers = field(default_factory=_no_numbers)
    """Arrival number of the last row read then."""

    STEPS = 32
    """Of the blocks within one of these parts of the delay the last is kept."""

    @classmethod
    def start(cls, delay: timedelta) -> ReadTimes:
        """Return one before the first block."""
        return cls(delay // timedelta(microseconds=1))

    def add(self, ends: Times, numbers: Integers) -> None:
        """Add the blocks of a step. How blocks are divided into steps changes nothing."""
        times = np.concatenate([self.times, ends.astype("datetime64[us]").astype(np.int64)])
        numbers = np.concatenate([self.numbers, numbers])
        parts = times // max(1, -(-self.delay // self.STEPS))
        is_last = np.append(np.diff(parts) > 0, True)[: len(parts)]
        kept = np.flatnonzero(is_last)[-self.STEPS - 2 :]
        self.times, self.numbers = times[kept], numbers[kept]

    def go_on(self, earlier: ReadTimes) -> None:
        """Take over what an earlier run knows, before the first block."""
        self.times, self.numbers = earlier.times, earlier.numbers

    def until(self, time: int) -> int:
        """Return the number up to which rows had been read at a time, in microseconds; 0 if that is not known."""
        before = int(np.searchsorted(self.times, time, side="right"))
        return int(self.numbers[before - 1]) if before else 0

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state."""
        return {"read_delay": np.array(self.delay), "read_times": self.times, "read_numbers": self.numbers}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ReadTimes:
        """Return the one that `to_arrays` gave."""
        return cls(int(arrays["read_delay"]), np.array(arrays["read_times"]), np.array(arrays["read_numbers"]))


@dataclass(frozen=True)
class Judged:
    """An alarm that a check has judged, and what its monitor had come to."""

    tolerate: bool = False
    """Whether the change was real, so that a monitor of losses alarms about a further one only."""
    resume: Mapping[str, Any] = field(default_factory=dict)
    """What `MonitorGroup.resume` gave."""

    @classmethod
    def of(cls, alarm: Mapping[str, Any]) -> Judged:
        """Return one from its ``verdict`` and ``resume``, as `keel.store.live.LiveTable` gives them."""
        return cls(alarm["verdict"] in TOLERATED, alarm["resume"])

    @property
    def until(self) -> int:
        """Arrival number of the last prediction that the monitor had read."""
        return int(self.resume.get("until", 0))


class MonitorGroup(Protocol):
    """Monitors that are evaluated together. Its block size, bets and baseline are fixed when it is made."""

    @property
    def kind(self) -> MonitorKind:
        """What its alarms are about."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """What each monitor is about: a column's name, or ``loss``."""

    @property
    def blocks(self) -> int:
        """Blocks evaluated since the group was made."""

    def advance(self, feed: Feed, *, blocks: int) -> Advance | None:
        """Read up to about this many whole blocks after the group's own watermarks and evaluate them, in order.

        Returns None where nothing need be stored: no row was read, and what was looked at, such as labels that have yet
        to mature, the next pass looks at again. How one pass divides the rows into steps changes no bit of the state.
        Passes at other times may: a group that waits for labels finds those that are there when the pass begins. An
        incomplete block stays unread in the store, or the group holds its numbers, less than a block of them. A step
        reads bounded memory, whatever waits.
        """

    def evidence(self) -> Floats:
        """Return the natural logarithm of each monitor's evidence now, shape (monitors,); −inf: none yet."""

    def estimated_starts(self) -> Times:
        """Return when the change probably began that each monitor's evidence is about, shape (monitors,), microseconds.

        Meaningful where the evidence is large.
        """

    @property
    def note(self) -> str:
        """What people should know of this group now, in sentences; empty where there is nothing."""

    def sentence(self, monitor: int) -> str:
        """Return what a monitor's rows show, in a sentence for people."""

    def resume(self, monitor: int) -> dict[str, Any]:
        """Return, as plain JSON, what `restart` needs if the alarm that a monitor has now is judged.

        ``until``: the arrival number of the last prediction that it has read.
        """

    def restart(self, monitor: int, judged: Judged) -> None:
        """Forget a monitor's evidence after a check has judged its alarm.

        A run that starts later is restarted likewise for every alarm that was judged before. What an earlier run had
        read up to such an alarm is read no second time.
        """

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state. The group's ``from_arrays`` gives an equal one."""
