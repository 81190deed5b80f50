"""The audit monitor: the harm test on all predictions, from the labels of a random sample that people find out early.

It reads every prediction once, when `labels.audit_delay` has passed since by the data's time, with the labels that are
there then. An audited one without a label by then counts with a loss of 0: a missing label can hide harm and never
feign it. Labels of other predictions are not used, however early they are. Where too few of the audited ones have a
label the test stands still and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from keel.monitoring.live.audit_sample import is_audited
from keel.monitoring.live.groups import ReadTimes
from keel.monitoring.live.harm import LossMonitor, micros, page_rows, since_text, without
from keel.monitoring.live.loss_plan import LossPlan
from keel.monitoring.live.loss_test import LossTest
from keel.stats.metrics.losses import Scored
from keel.stats.sequential.prediction_powered import (
    estimated_losses,
    largest_estimate,
    lowest,
    prediction_powered_losses,
)

if TYPE_CHECKING:
    from datetime import timedelta

    import pyarrow as pa

    from keel.monitoring.live.groups import Advance, Feed
    from keel.monitoring.records import MonitorKind

Floats = NDArray[np.float64]

IN_SAMPLE, LABELLED = 2, 3
"""Columns of a row behind its value and its time: whether it is audited, and whether it had a label."""
MIN_AUDITED = 200
"""Audited rows before their coverage is judged."""
MIN_COVERAGE = 0.8
"""Smallest share of audited rows with a label. Those without count as right, so below it the test finds little."""
MEMORY = 2 * MIN_AUDITED
"""Audited rows at which all counts are halved: coverage is that of the last few hundred."""


@dataclass
class AuditTest(LossTest):
    """A test of prediction-powered losses that stands still while too few audited rows have labels."""

    coverage: Floats = field(default_factory=lambda: np.zeros((2, 2)))
    """Rows, and rows with a label: of the others, of the audited ones. Old rows count less."""

    def admits(self, block: Floats) -> bool:
        """Count a block's labels, and return whether it is bet on, which follows from the blocks before it."""
        admitted = self.is_covered
        for kind in (0, 1):
            own = block[block[:, IN_SAMPLE] == kind]
            self.coverage[kind] += len(own), own[:, LABELLED].sum()
        if self.coverage[1, 0] >= MEMORY:
            self.coverage /= 2
        return admitted

    @property
    def is_covered(self) -> bool:
        """Whether enough of the audited rows have a label, or there are too few to judge."""
        rows, labelled = self.coverage[1]
        return bool(rows < MIN_AUDITED or labelled >= MIN_COVERAGE * rows)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state."""
        return {**super().to_arrays(), "coverage": self.coverage}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the test that `to_arrays` gave."""
        test = super().from_arrays(arrays)
        test.coverage = np.array(arrays["coverage"])
        return test


@dataclass
class AuditMonitor(LossMonitor[AuditTest]):
    """The audit monitor's state: the test, and how far it has read."""

    share: float
    """Of the predictions, those whose labels people find out."""

    @classmethod
    def start(
        cls, plan: LossPlan, *, after: int, share: float, delay: timedelta, block_size: int, thinning: int = 1
    ) -> AuditMonitor:
        """Return a monitor of the predictions behind the arrival number ``after``. delay: until labels are due."""
        estimate = largest_estimate(plan.loss.metric, mean=plan.mean)
        test = AuditTest(
            plan.limit,
            low=lowest(estimate, share=share),
            block_size=block_size,
            thinning=thinning,
            correlation=plan.correlation(share),
            day_rows=plan.day_rows(thinning),
            pending=np.empty((0, 4)),
        )
        return cls(plan, test, settled=after, read=ReadTimes.start(delay), share=share)

    @property
    def kind(self) -> MonitorKind:
        """What its alarms are about."""
        return "audit"

    def advance(self, feed: Feed, *, blocks: int) -> Advance | None:
        """Read predictions whose audited labels are due (see `MonitorGroup.advance`)."""
        self.read.add(feed.ends, feed.numbers)
        if feed.horizon is None:
            return None
        limit = page_rows(self.test, blocks)
        rows = self._settle(feed, feed.horizon, feed.config.labels.audit_delay, limit, feed.last_arrival)
        if not rows.num_rows:
            return None
        usable = without(rows, feed.excluded)
        return self._test(self._rows(feed, usable), feed, read=usable.num_rows, more=rows.num_rows == limit)

    def _rows(self, feed: Feed, rows: pa.Table) -> Floats:
        """Return the test's rows, shape (n, 4)."""
        label, score, prediction = (
            rows[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("label", "score", "prediction")
        )
        in_sample = is_audited(feed.config.model, rows["id"].to_pylist(), self.share)
        scored = Scored(label, score, prediction)
        known = self.plan.loss.usable(scored)
        loss = np.zeros(len(label))
        loss[known] = self.plan.loss.of(scored.take(known))
        estimate = estimated_losses(self.plan.loss.metric, score, mean=self.plan.mean)
        z = prediction_powered_losses(estimate, loss, in_sample, share=self.share)
        return np.column_stack([z, micros(rows, feed.now), in_sample, np.isfinite(label)])

    def sentence(self, monitor: int = 0) -> str:
        """Return what the audited labels show, in a sentence."""
        plan, test = self.plan, self.test
        return (
            f"The mean {plan.loss.name} of {test.rows_since:,} predictions since {since_text(test)}, estimated from "
            f"the audited {self.share:.0%}, is {plan.in_units(test.mean_since)}, and at most "
            f"{plan.in_units(test.limit)} is tolerated."
        )

    @property
    def note(self) -> str:
        """Why the test stands still, in sentences; empty while it does not."""
        if self.test.is_covered:
            return ""
        (others, early), (audited, labelled) = self.test.coverage
        shares = f"Only {labelled / audited:.0%} of the last audited predictions had a label after labels.audit_delay"
        remedy = "keel live MODEL --audit FILE lists the predictions to label; or make labels.audit_delay longer."
        if others and early / others >= labelled / audited / 2:
            return (
                f"The test on an audit sample stands still. {shares}, and so had {early / others:.0%} of the others: "
                "these labels merely come early, and are no random sample. The test is not valid for them. "
                f"{remedy}"
            )
        return f"The test on an audit sample stands still. {shares}, and {MIN_COVERAGE:.0%} is needed. {remedy}"

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {**super().to_arrays(), "share": np.array(self.share)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> AuditMonitor:
        """Return the monitor that `to_arrays` gave."""
        plan, test, read = LossPlan.from_arrays(arrays), AuditTest.from_arrays(arrays), ReadTimes.from_arrays(arrays)
        return cls(plan, test, int(arrays["settled"]), read, float(arrays["share"]))
