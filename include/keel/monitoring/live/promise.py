"""What the live monitors of a model promise together, and the bound of evidence that keeps the promise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.config import LiveConfig
    from keel.store.predictions.log import PredictionLog

YEAR = 365.0
"""Days."""
TRAFFIC = timedelta(days=28)
"""The data from whose rows the expected traffic is estimated."""
FEWEST_BLOCKS = 1_000
"""Least number of blocks in a year of expected traffic. A model that is hardly used may be used more tomorrow."""
UNKNOWN_BLOCKS = 10_000
"""Expected blocks in a year where there is no traffic yet to estimate it from: 2,740 predictions a day."""


@dataclass(frozen=True)
class Promise:
    """A bound on the false alarms of all of a model's monitors together, while nothing has changed.

    A Shiryaev–Roberts e-detector that alarms at c alarms within N blocks with probability at most N/c, and not before
    c blocks on average. With d monitors, c is d times as large. Source: Shin, Ramdas & Rinaldo 2024.
    """

    monitors: int
    blocks: int
    """Blocks of a year of expected traffic; of an average run length, that length."""
    block_size: int
    """Rows of a block that are monitored."""
    thinning: int
    """Only every n-th prediction is monitored."""
    alpha: float | None
    """Probability of any false alarm within ``blocks``; None: ``blocks`` is the average run length."""

    @property
    def block_rows(self) -> int:
        """Predictions of a block, those that thinning leaves out included."""
        return self.block_size * self.thinning

    @property
    def log_bound(self) -> float:
        """Natural logarithm of the evidence at which a monitor alarms."""
        return math.log(max(self.monitors, 1)) + math.log(self.blocks) - math.log(self.alpha or 1.0)

    @property
    def sentence(self) -> str:
        """The promise in words, which say which of the two it is."""
        blocks = f"{self.blocks:,} blocks of {self.block_rows:,} predictions"
        monitors = "the monitor" if self.monitors == 1 else f"any of the {self.monitors} monitors"
        if self.alpha is None:
            return (
                f"While nothing changes, {blocks} pass on average, or more, before {monitors} alarms. This is an "
                "average run length: it bounds no probability for a single year."
            )
        return (
            f"While nothing changes, the probability that {monitors} alarms within {blocks}, a year of expected "
            f"traffic, is at most {self.alpha:g}."
        )


def promise_of(live: LiveConfig, monitors: int, log: PredictionLog, *, start: datetime) -> Promise:
    """Return the promise of monitors that start at a time, in the data's own time."""
    block = live.block_size, live.thinning
    if live.average_run_length is not None:
        return Promise(monitors, live.average_run_length, *block, None)
    daily = _daily_rows(log, start) if live.expected_traffic is None else live.expected_traffic
    blocks = math.ceil(daily * YEAR / math.prod(block)) if daily else UNKNOWN_BLOCKS
    return Promise(monitors, max(blocks, FEWEST_BLOCKS), *block, live.alpha)


def _daily_rows(log: PredictionLog, start: datetime) -> float:
    """Return the rows a day in the `TRAFFIC` before a time, or since the first row; 0 without a day of rows."""
    known = log.times()
    if known is None or known[0] >= start:
        return 0.0
    first = max(known[0], start - TRAFFIC)
    return log.count(first, start) / max((start - first) / timedelta(days=1), 1.0)
