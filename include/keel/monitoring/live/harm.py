"""The harm monitor: is the mean loss of the version in production above what its holdout allows?

It reads every prediction with a label once, when `target.label_delay` has passed since the prediction by the data's
time, or when the label comes later than that. Labels that come earlier wait: positives may come sooner than negatives,
or later, and the early ones would show another loss than all. The test runs from the promotion on, so that weeks which
each show nothing add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from keel.monitoring.live.groups import PAGE_ROWS, Advance, ReadTimes
from keel.monitoring.live.loss_plan import LossPlan
from keel.monitoring.live.loss_test import LossTest
from keel.stats.metrics.losses import scored
from keel.store.database.times import from_micros, to_micros
from keel.store.predictions.layout import ARRIVAL

if TYPE_CHECKING:
    from keel.monitoring.live.groups import Feed, Judged
    from keel.monitoring.records import MonitorKind

Floats = NDArray[np.float64]
Test = TypeVar("Test", bound=LossTest)
Interval = tuple[datetime, datetime]
MIN_PAGE = 1_000
"""Least number of rows of a page, up to `PAGE_ROWS`."""
LATE_PAGE = 20_000
"""Labels of a page of late ones. It is read in the order of their predictions: a file of labels may be sorted by the
label, and its first block would have those of one value alone."""


@dataclass
class LossMonitor(Generic[Test]):
    """A test of the mean loss of predictions that have matured, and how far it has read them."""

    plan: LossPlan
    test: Test
    settled: int
    """Every prediction up to this number has matured, and was read with its label if that was there."""
    read: ReadTimes
    """When rows were read by the monitors of columns, as far back as labels take to mature."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """What its only monitor is about."""
        return ("loss",)

    @property
    def blocks(self) -> int:
        """Blocks evaluated since it was made."""
        return self.test.blocks

    def evidence(self) -> Floats:
        """Return the natural logarithm of the evidence, shape (1,)."""
        return self.test.detector.evidence()

    def estimated_starts(self) -> NDArray[np.datetime64]:
        """Return when the change probably began, shape (1,), microseconds."""
        return np.array([self.test.since], "datetime64[us]")

    def resume(self, monitor: int) -> dict[str, Any]:
        """Return how far it has read, and the mean that is tolerated if a check finds it real."""
        return {"until": self.settled, **self.plan.level(self.test.upper)}

    def restart(self, monitor: int, judged: Judged) -> None:
        """Forget the evidence, and tolerate the mean that a check has judged if it was real."""
        self.settled = max(self.settled, judged.until)
        if judged.tolerate:
            self.test.tolerate(self.plan.tolerated(judged.resume))
        self.test.restart()

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        settled = {"settled": np.array(self.settled)}
        return {**self.plan.to_arrays(), **self.test.to_arrays(), **self.read.to_arrays(), **settled}

    def _settle(self, feed: Feed, present: datetime, delay: timedelta, limit: int, labels_until: int) -> pa.Table:
        """Return the next predictions that have matured, those without a label included, and remember them as read."""
        mature = present - delay
        self.settled, rows = feed.log.settled(
            feed.version,
            after=self.settled,
            mature=mature,
            mature_until=self.read.until(to_micros(mature)),
            labels_until=labels_until,
            limit=limit,
            unlabelled=True,
        )
        return rows

    def _test(self, rows: Floats, feed: Feed, *, read: int, more: bool) -> Advance:
        """Test rows, and return what became of them. read: predictions or labels that they come from."""
        # the test may hold rows that were quarantined after they were read
        for start, end in feed.excluded:
            self.test.drop(to_micros(start), to_micros(end))
        found = self.test.feed(rows)
        return Advance(
            rows=read,
            ends=found.ends.astype("datetime64[us]"),
            evidence=found.evidence[:, None],
            since=found.since.astype("datetime64[us]")[:, None],
            rows_since=found.rows_since[:, None],
            more=more,
        )


@dataclass
class HarmMonitor(LossMonitor[LossTest]):
    """The harm monitor's state: the test, and how far it has read predictions and labels."""

    first: int
    """It reads predictions that arrived after this number."""
    labels: int
    """Every label up to this number was read, unless its prediction has not matured."""

    @classmethod
    def start(
        cls, plan: LossPlan, *, after: int, last: int, delay: timedelta, block_size: int, thinning: int = 1
    ) -> HarmMonitor:
        """Return a monitor of the predictions behind the arrival number ``after``.

        last: the last number so far. delay: after which labels mature.
        """
        test = LossTest(
            plan.limit,
            low=0.0,
            block_size=block_size,
            thinning=thinning,
            correlation=plan.correlation(),
            day_rows=plan.day_rows(thinning),
        )
        return cls(plan, test, settled=after, read=ReadTimes.start(delay), first=after, labels=max(after, last))

    @property
    def kind(self) -> MonitorKind:
        """What its alarms are about."""
        return "harm"

    def advance(self, feed: Feed, *, blocks: int) -> Advance | None:
        """Read labels that came late, and then predictions that have matured (see `MonitorGroup.advance`).

        Predictions settle only when all labels so far are read. Otherwise the labels of a backlog would come in the
        order of their arrival, and its first block would have the earliest alone.
        """
        self.read.add(feed.ends, feed.numbers)
        if feed.horizon is None:
            return None
        if self.labels < feed.last_arrival:
            late = self._late(feed)
            if self.labels < feed.last_arrival or late.num_rows:
                return self._feed(late, feed, more=True)
        limit = page_rows(self.test, blocks)
        rows = self._settle(feed, feed.horizon, feed.config.target.label_delay, limit, self.labels)
        if not rows.num_rows:
            return None
        return self._feed(rows.filter(rows["label"].is_valid()), feed, more=rows.num_rows == limit)

    def _late(self, feed: Feed) -> pa.Table:
        """Return the next labels of predictions that have settled before."""
        until, late = feed.log.late_labels(
            feed.version,
            predictions_after=self.first,
            predictions_until=self.settled,
            after=self.labels,
            limit=LATE_PAGE,
        )
        self.labels = until if until > self.labels else feed.last_arrival
        return late.sort_by(ARRIVAL)

    def _feed(self, pairs: pa.Table, feed: Feed, *, more: bool) -> Advance:
        pairs = without(pairs, feed.excluded)
        rows = scored(pairs)
        usable = self.plan.loss.usable(rows)
        values = self.plan.loss.of(rows.take(usable))
        found = np.column_stack([values, micros(pairs, feed.now)[usable]])
        return self._test(found, feed, read=pairs.num_rows, more=more)

    @property
    def note(self) -> str:
        """Nothing: it never stands still."""
        return ""

    def sentence(self, monitor: int = 0) -> str:
        """Return what the labels show, in a sentence."""
        plan, test = self.plan, self.test
        return (
            f"The mean {plan.loss.name} of {test.rows_since:,} labelled predictions since {since_text(test)} is "
            f"{plan.in_units(test.mean_since)}, and at most {plan.in_units(test.limit)} is tolerated."
        )

    def resume(self, monitor: int) -> dict[str, Any]:
        """Return how far it has read, and the mean that is tolerated if a check finds it real."""
        return {**super().resume(monitor), "labels": self.labels}

    def restart(self, monitor: int, judged: Judged) -> None:
        """Forget the evidence, and tolerate the mean that a check has judged if it was real."""
        if judged.until > self.settled:  # this run has not come to the alarm of an earlier one
            self.labels = int(judged.resume["labels"])
        super().restart(monitor, judged)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {**super().to_arrays(), "first": np.array(self.first), "labels": np.array(self.labels)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> HarmMonitor:
        """Return the monitor that `to_arrays` gave."""
        plan, test, read = LossPlan.from_arrays(arrays), LossTest.from_arrays(arrays), ReadTimes.from_arrays(arrays)
        return cls(plan, test, int(arrays["settled"]), read, int(arrays["first"]), int(arrays["labels"]))


def page_rows(test: LossTest, blocks: int) -> int:
    """Return how many rows a step reads for up to this many blocks: the test holds those of an incomplete one."""
    return min(max(MIN_PAGE, blocks * test.block_size * test.thinning), PAGE_ROWS)


def without(rows: pa.Table, excluded: Sequence[Interval]) -> pa.Table:
    """Return the rows outside quarantined intervals: nothing that needs labels uses those inside."""
    if not excluded or not rows.num_rows:
        return rows
    times = pc.cast(rows["time"], pa.int64()).to_numpy(zero_copy_only=False)
    inside = np.zeros(len(times), dtype=bool)
    for start, end in excluded:
        inside |= (times >= to_micros(start)) & (times < to_micros(end))
    return rows.filter(pa.array(~inside))


def micros(rows: pa.Table, now: datetime) -> NDArray[np.int64]:
    """Return the rows' times, no later than now, in microseconds since 1970, UTC, shape (n,)."""
    times: NDArray[np.int64] = pc.cast(rows["time"], pa.int64()).to_numpy(zero_copy_only=False)
    return np.minimum(times, to_micros(now))


def since_text(test: LossTest) -> str:
    """Return the estimated start of the change as text."""
    return f"{from_micros(test.since).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
