"""Monitors of columns: have the values of a feature, the score or the prediction changed?

Every row is ranked in its bin among all earlier rows of its context, the reference included, and the ranks are bet on
(`keel.stats.sequential.conformal`). While nothing changes ranks are uniform, whatever the column's values are and in
whatever order contexts arrive. So the bound on false alarms needs no model of the data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.monitoring.live.groups import PAGE_ROWS, Advance, Arrays, Feed, Floats, Judged, Times
from keel.monitoring.live.run_starts import RunStarts
from keel.stats.sequential.conformal import BETS, ConformalRanks
from keel.stats.sequential.e_detector import EDetector
from keel.store.predictions.layout import ARRIVAL
from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.grid.contexts import ContextReference
    from keel.monitoring.records import MonitorKind

MISDATED_SHARE = 0.1
"""A block starts at this quantile of its rows' times, and ends as far from their last. Up to a tenth of late rows, or
of rows dated ahead, then do not move it by days."""
_LARGEST = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class ShiftPlan:
    """How the columns are monitored; fixed for a run of the monitors."""

    reference: ContextReference
    block_size: int
    thinning: int
    key: int
    """Seed of the ranks' random ties, 128 bits."""


def key_of(model: str, version: int, started_at: datetime) -> int:
    """Return the seed of a run of the monitors. The same rows in the same run then give the same bits."""
    text = f"{model}|{version}|{started_at.astimezone(UTC).isoformat()}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


class ShiftMonitors:
    """One monitor for each column of a reference. See `keel.monitoring.live.groups.MonitorGroup`."""

    def __init__(
        self,
        plan: ShiftPlan,
        *,
        ranks: ConformalRanks,
        detector: EDetector,
        starts: RunStarts,
        until: int,
        seen_until: np.datetime64,
    ) -> None:
        self._plan, self._subjects = plan, plan.reference.names
        self._ranks, self._detector, self._starts = ranks, detector, starts
        self.until = until
        """Arrival number of the last prediction read."""
        self.seen_until = seen_until
        """The data's present: the end of the latest block, no later than the clock was then; NaT before the first."""

    @classmethod
    def start(cls, plan: ShiftPlan, *, after: int) -> ShiftMonitors:
        """Return monitors that read the rows with an arrival number > ``after``."""
        d = len(plan.reference.names)
        return cls(
            plan,
            ranks=ConformalRanks(plan.reference.counts),
            detector=EDetector.fresh(d, BETS),
            starts=RunStarts.fresh(d, BETS),
            until=after,
            seen_until=np.datetime64("NaT", "us"),
        )

    @classmethod
    def from_arrays(cls, plan: ShiftPlan, arrays: Arrays) -> ShiftMonitors:
        """Return the monitors that `to_arrays` described; KeyError, ValueError for arrays of others."""
        if arrays["counts"].shape != plan.reference.counts.shape:
            raise ValueError(
                f"counts of shape {arrays['counts'].shape}, {plan.reference.counts.shape} in the reference"
            )
        detector = EDetector(arrays["log_sums"], arrays["log_runs"], arrays["began"], int(arrays["blocks"]))
        if (
            detector.log_sums.shape != (len(plan.reference.names), BETS)
            or arrays["times"].shape != detector.began.shape
        ):
            raise ValueError(f"evidence of shape {detector.log_sums.shape}")
        return cls(
            plan,
            ranks=ConformalRanks(arrays["counts"]),
            detector=detector,
            starts=RunStarts(arrays["times"]),
            until=int(arrays["until"]),
            seen_until=np.datetime64(arrays["seen_until"].item(), "us"),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state. Its size follows from the reference alone."""
        counts = self._ranks.counts
        return {
            "counts": counts.astype(np.uint32) if counts.max(initial=0) <= _LARGEST else counts,
            "log_sums": self._detector.log_sums,
            "log_runs": self._detector.log_runs,
            "began": self._detector.began,
            "times": self._starts.times,
            "blocks": np.array(self._detector.blocks),
            "until": np.array(self.until),
            "seen_until": np.array(self.seen_until),
        }

    @property
    def kind(self) -> MonitorKind:
        """``shift``."""
        return "shift"

    @property
    def subjects(self) -> tuple[str, ...]:
        """The columns."""
        return self._subjects

    @property
    def blocks(self) -> int:
        """Blocks evaluated since the start."""
        return self._detector.blocks

    def evidence(self) -> Floats:
        """Return the natural logarithm of each monitor's evidence, shape (monitors,); −inf before its first block."""
        return self._detector.evidence()

    def estimated_starts(self) -> Times:
        """Return when each column's change probably began, shape (monitors,), microseconds."""
        best = self._detector.best
        found: Times = np.take_along_axis(self._starts.times, best[:, None], axis=1)[:, 0]
        return found

    @property
    def note(self) -> str:
        """Nothing: what is known from the start is among the run's remarks."""
        return ""

    def sentence(self, monitor: int) -> str:
        """Return what a column's rows show."""
        labels = [shown(label, NAME) for label in self._plan.reference.context]
        among = f" within their {' and '.join(labels)}" if labels else ""
        return f"The values of {shown(self.subjects[monitor], NAME)} have changed{among}."

    def resume(self, monitor: int) -> dict[str, Any]:
        """Return how far it has read. All columns go on where the last run stopped, whatever was judged."""
        return {"until": self.until}

    def restart(self, monitor: int, judged: Judged) -> None:
        """Forget a column's evidence and its reference, whatever a check has made of its alarm.

        Its ranks are learned from the rows to come. Whether the column differs from the training data stays the
        question of the scheduled check.
        """
        self._ranks.restart(monitor)
        self._detector.restart(monitor)

    def advance(self, feed: Feed, *, blocks: int) -> Advance | None:
        """Read and evaluate up to this many blocks, and no more than `PAGE_ROWS` rows or one block."""
        read = self._read(feed, blocks)
        if read is None:
            return None
        rows, table = read
        size = self._plan.block_size
        n = table.num_rows // size
        bins, contexts = self._plan.reference.assign(table)
        factors = self._ranks.log_factors(bins, contexts, self._uniforms(n), block_size=size)
        times = np.sort(_times(table).reshape(n, size), axis=1)
        times = np.minimum(times, np.datetime64(feed.now.astimezone(UTC).replace(tzinfo=None), "us"))
        misdated = int(MISDATED_SHARE * size)
        found, since = self._starts.update(self._detector, factors, times[:, misdated])
        ends = np.fmax.accumulate(np.fmax(times[:, -1 - misdated], self.seen_until))
        last = table[ARRIVAL].to_numpy()[size - 1 :: size]
        numbers = np.arange(self._detector.blocks - n, self._detector.blocks)
        self.until, self.seen_until = int(last[-1]), ends[-1]
        return Advance(
            rows=rows,
            ends=ends,
            evidence=found.evidence,
            since=since,
            rows_since=(numbers[:, None] - found.began + 1) * size * self._plan.thinning,
            more=rows >= PAGE_ROWS // 2 or blocks == n,
            numbers=last,
        )

    def _uniforms(self, blocks: int) -> Floats:
        """Return the numbers that break ties in the next blocks, shape (columns, rows): the same for the same block."""
        d, size = len(self.subjects), self._plan.block_size
        found = np.empty((d, blocks * size))
        for i in range(blocks):
            bits = np.random.Philox(key=self._plan.key, counter=[0, self._detector.blocks + i, 0, 0])
            found[:, i * size : (i + 1) * size] = np.random.Generator(bits).random((d, size))
        return found

    def _read(self, feed: Feed, blocks: int) -> tuple[int, pa.Table] | None:
        """Return the rows of whole blocks and those of them that thinning leaves; None without a whole block.

        The rest of the rows stays unread: they are counted first, because a large block waits over many polls. It is
        read in several parts, and only those of its rows that are monitored are in memory.
        """
        whole = self._plan.block_size * self._plan.thinning
        if feed.last_arrival - self.until < whole:
            return None
        wanted = max(min(blocks, PAGE_ROWS // whole), 1) * whole
        wanted = feed.log.count_arrived(feed.version, after=self.until, limit=wanted) // whole * whole
        parts: list[pa.Table] = []
        read, after = 0, self.until
        while read < wanted:
            part = feed.log.arrived(feed.version, after=after, limit=min(PAGE_ROWS, wanted - read))
            if not part.num_rows:
                return None  # rows have expired since they were counted
            after = part[ARRIVAL][-1].as_py()
            # the last row of each n: the last row of a whole block is then one of them
            parts.append(part.take(np.arange(-(read + 1) % self._plan.thinning, part.num_rows, self._plan.thinning)))
            read += part.num_rows
        return (read, pa.concat_tables(parts)) if parts else None


def _times(table: pa.Table) -> Times:
    return table["time"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
