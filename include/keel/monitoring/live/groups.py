"""What every group of live monitors offers: it reads its own stream, evaluates whole blocks, and saves itself exactly.

A group is several monitors that read the same rows and are evaluated together: all columns, the mean loss, the audit
sample. `keel.monitoring.live.catch_up` asks each group in turn to advance, and stores what all of them hold in one
transaction. A group therefore changes nothing but itself, and gets time and chance as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import MonitorKind
    from keel.store.predictions.log import PredictionLog

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]
Arrays = Mapping[str, NDArray[Any]]
"""The state of a group by name: numbers, times and text of any shape, 0-d for single values, without objects."""


@dataclass(frozen=True)
class Feed:
    """Where a group reads from, and the present."""

    log: PredictionLog
    config: ModelConfig
    version: int
    """The version in production, whose rows are read."""
    now: datetime
    horizon: datetime | None
    """The earlier of now and the latest time of a row that was read, for "has a prediction matured?"; None before the
    first block of rows. A replay of last year runs at last year's time."""
    last_arrival: int
    """The last arrival number that the model's predictions and labels had taken when the pass began."""
    excluded: tuple[tuple[datetime, datetime], ...] = ()
    """Quarantined times, start ≤ time < end: nothing that needs labels uses the rows inside."""


@dataclass(frozen=True)
class Advance:
    """What a group read in one step, and its evidence after each whole block of it."""

    rows: int
    """Rows read, those of an incomplete block that the group holds included."""
    ends: Times
    """Time of each block's end in the data's own time, shape (blocks,), microseconds, never before the previous one."""
    evidence: Floats
    """Natural logarithm of each monitor's e-detector, shape (blocks, monitors); −inf: none yet."""
    since: Times
    """Estimated start of the change, shape (blocks, monitors), microseconds."""
    rows_since: Integers
    """Rows since then, shape (blocks, monitors)."""
    more: bool = False
    """Whether more rows may be waiting for this group."""


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

        Returns None where nothing was read: the group is then unchanged and need not be stored. How rows are divided
        into steps changes no bit of the state. An incomplete block stays unread in the store, or the group holds its
        numbers, less than a block of them. A step reads bounded memory, whatever waits.
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

    def restart(self, monitor: int, *, tolerate: bool) -> None:
        """Forget a monitor's evidence after a check has judged its alarm.

        tolerate: whether the change was real, so that a monitor of losses alarms about a further one only.
        """

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state. The group's ``from_arrays`` gives an equal one."""
