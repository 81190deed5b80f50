"""Test, block after block of losses, whether their mean is above what is tolerated, and since when.

Each bet of `keel.stats.sequential.betting` goes through a Shiryaev–Roberts e-detector. Rows of a day that differ from
those of other days count as fewer (`keel.stats.sequential.day_spread`). Beside it the test keeps sums over each bet's
present run, so that an alarm can say what the mean has been since the estimated start of the change.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from keel.stats.sequential.betting import BETS, log_factors
from keel.stats.sequential.day_spread import DayRows, design_effect
from keel.stats.sequential.e_detector import EDetector

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

VALUE, TIME = 0, 1
"""Columns of a row; further ones are the caller's. Microseconds since 1970 are exact in a float until 2255."""
DAY = 86_400_000_000
TOLERATED_ERRORS = 1.0
"""Standard errors above a judged mean. The evidence was largest since the estimated start, so that mean is rather too
high than too low: after an alarm of a few hundred rows the same mean alarms again in at most one case in twenty, and
with 2.3 errors in none, but then half of the further increases from .4 to .7 are not found in an audit sample."""
START_QUANTILE = 0.25
"""The start of a block is the time of the row a quarter in: labels that came late may belong to far older rows."""
MISDATED_SHARE = 0.1
"""A block ends at the time behind which this share of its rows is dated: these may be dated ahead."""


@dataclass(frozen=True)
class LossBlocks:
    """What a test has after each of n blocks; times in microseconds since 1970, UTC."""

    evidence: Floats
    """Natural logarithm of the e-detector, shape (n,)."""
    ends: Integers
    """The latest end of a block so far."""
    since: Integers
    """Estimated start of the change."""
    rows_since: Integers
    """Rows since then."""


@dataclass
class LossTest:
    """A test of the hypothesis that the mean of values, given the past, is at most ``limit``. Its size is constant."""

    limit: float
    low: float
    """Lowest possible value; it limits the bets."""
    block_size: int
    """Rows of a block that are bet on."""
    thinning: int = 1
    """Only every n-th row is bet on; a block takes n times as many rows."""
    correlation: float = 0.0
    """Of two rows of a day (`keel.stats.sequential.day_spread`)."""
    day_rows: DayRows = field(default_factory=lambda: DayRows.start(0.0))
    """How many rows of a day are bet on."""
    detector: EDetector = field(default_factory=lambda: EDetector.fresh(1, len(BETS)))
    pending: Floats = field(default_factory=lambda: np.empty((0, 2)))
    """Rows of the incomplete block that are bet on, shape (rows, columns)."""
    runs: Floats = field(default_factory=lambda: np.zeros((len(BETS), 3)))
    """Number, sum and sum of squares of the values since each bet's present run began."""
    starts: Integers = field(default_factory=lambda: np.zeros(len(BETS), np.int64))
    """Time at which it began, in microseconds."""
    blocks: int = 0
    latest: int = 0
    """Latest end of a block, in microseconds."""
    skipped: int = 0
    """Rows since the last one that is bet on."""

    def feed(self, rows: Floats) -> LossBlocks:
        """Take in rows in order, and return what the test has after each block that they complete.

        rows: shape (n, columns), with `VALUE` and `TIME` first. How they are divided into calls changes no bit.
        """
        kept = rows[self.thinning - 1 - self.skipped :: self.thinning]
        self.skipped = (self.skipped + len(rows)) % self.thinning
        rows = np.concatenate([self.pending, kept]) if len(self.pending) else kept
        whole = len(rows) // self.block_size * self.block_size
        self.pending = rows[whole:].copy()
        blocks = rows[:whole].reshape(-1, self.block_size, rows.shape[1])
        factors = log_factors(blocks[:, :, VALUE], null=self.limit, low=self.low)
        after = [self._block(*each) for each in zip(blocks, factors, strict=True)]
        evidence, *times = zip(*after, strict=True) if after else [()] * 4
        return LossBlocks(np.array(evidence, dtype=np.float64), *(np.array(each, dtype=np.int64) for each in times))

    @property
    def evidence(self) -> float:
        """Natural logarithm of the e-detector; −inf before the first block."""
        return float(self.detector.evidence()[0])

    @property
    def since(self) -> int:
        """Estimated start of the change, in microseconds."""
        return int(self.starts[self._best])

    @property
    def rows_since(self) -> int:
        """Rows since the estimated start of the change."""
        return int(self.runs[self._best, 0]) * self.thinning

    @property
    def mean_since(self) -> float:
        """Mean of the values since the estimated start of the change; NaN without any."""
        n, total, _ = self.runs[self._best]
        return float(total / n) if n else math.nan

    def restart(self) -> None:
        """Forget the evidence. Rows of the incomplete block stay: no evidence rests on them yet."""
        self.detector.restart(0)
        self.runs[:], self.starts[:] = 0.0, 0

    def drop(self, start: int, end: int) -> None:
        """Drop the rows of the incomplete block with start ≤ time < end, in microseconds."""
        times = self.pending[:, TIME]
        self.pending = self.pending[(times < start) | (times >= end)]

    @property
    def upper(self) -> float:
        """The mean since the estimated start, and `TOLERATED_ERRORS` standard errors; ``low`` without any rows.

        What is tolerated decides what the next alarm is about and not how often one is false: false alarms are counted
        at the limit, whatever it is. So the error is that of the values' variance, and no exact bound from their range:
        with one audited row in ten that one tolerates every loss after an alarm of 500 rows.
        """
        n, total, squares = self.runs[self._best]
        if not n:
            return self.low
        mean = float(total / n)
        variance = max(0.0, float(squares / n) - mean**2) * n / max(1.0, n - 1)
        effect = design_effect(self.correlation, self.day_rows.expected)
        return float(mean + TOLERATED_ERRORS * math.sqrt(variance * effect / n))

    def tolerate(self, limit: float) -> None:
        """Tolerate a higher mean from now on. The limit never falls."""
        self.limit = max(self.limit, limit)

    def admits(self, block: Floats) -> bool:
        """Return whether a block, shape (block_size, columns), is bet on. Must not depend on its values."""
        return True

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state."""
        return {
            "numbers": np.array([self.limit, self.low, self.correlation], np.float64),
            "day_rows": np.array(astuple(self.day_rows), np.float64),
            "counts": np.array(
                [self.block_size, self.thinning, self.blocks, self.latest, self.skipped, self.detector.blocks],
                np.int64,
            ),
            "log_sums": self.detector.log_sums,
            "log_runs": self.detector.log_runs,
            "began": self.detector.began,
            "pending": self.pending,
            "runs": self.runs,
            "starts": self.starts,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the test that `to_arrays` gave."""
        limit, low, correlation = map(float, arrays["numbers"])
        day, *rows = map(float, arrays["day_rows"])
        days = DayRows(int(day), *rows)
        block_size, thinning, *position, seen = map(int, arrays["counts"])
        detector = EDetector(arrays["log_sums"], arrays["log_runs"], arrays["began"], seen)
        pending, runs, starts = (np.array(arrays[name]) for name in ("pending", "runs", "starts"))
        return cls(limit, low, block_size, thinning, correlation, days, detector, pending, runs, starts, *position)

    @property
    def _best(self) -> int:
        return int(self.detector.best[0])

    def _block(self, block: Floats, factors: Floats) -> tuple[float, int, int, int]:
        """Bet on a block, and return the evidence, the latest end, the start of the change and the rows since."""
        values, times = block[:, VALUE], block[:, TIME].astype(np.int64)
        in_order = np.sort(times)
        end = in_order[-1 - int(MISDATED_SHARE * len(times))]
        self.blocks += 1
        self.latest = max(self.latest, int(end))
        if self.admits(block):
            number = self.detector.blocks
            effect = design_effect(self.correlation, self.day_rows.expected)  # as known before the block
            self.detector.update(factors[None, None] / effect)
            new = self.detector.began[0] == number
            self.runs[new] = 0.0
            self.starts[new] = int(in_order[int(START_QUANTILE * len(times))])
            self.runs += len(values), values.sum(), (values**2).sum()
        self.day_rows.add(times[times <= end + DAY] // DAY)
        return self.evidence, self.latest, self.since, self.rows_since
