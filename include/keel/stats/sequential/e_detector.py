"""Detect a change by bets, with a bound on false alarms that holds however often the evidence is evaluated.

A bet's factor over a block has an expected value of at most 1, given the past, while nothing has changed. The
Shiryaev–Roberts sum M ← f·(M + 1) adds up the wealth of a bettor who starts at each block. Its mean over several bets
is the evidence for "a change has happened, whenever it was". With an alarm at c or above, while nothing changes:

- the average run length to a false alarm is at least c blocks;
- the probability of an alarm within N blocks is at most N/c.

Beside it each bet keeps the block at which its present run of gains began (Page's CUSUM, the maximum over starts in
place of the sum). At an alarm, that of the best bet estimates when the change was.

Source: Shin, Ramdas & Rinaldo 2024, "E-detectors: a nonparametric framework for sequential change detection".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Trajectory:
    """What m monitors have after each of n blocks."""

    evidence: Floats
    """Natural logarithm of the mean Shiryaev–Roberts sum, shape (n, m)."""
    began: Integers
    """Number of the block at which the best bet's present run began, shape (n, m): the estimated first block after the
    change. Meaningful where the evidence is large."""


@dataclass
class EDetector:
    """The state of m monitors that each place the same number of bets. Its size does not depend on the blocks so far.

    Blocks are numbered from 0, over restarts of single monitors too. All four fields, saved and given to a new object,
    continue it exactly.
    """

    log_sums: Floats
    """Natural logarithm of each bet's Shiryaev–Roberts sum, shape (m, bets); −inf before the first block."""
    log_runs: Floats
    """Natural logarithm of each bet's greatest wealth over all starts, shape (m, bets); −inf before the first block."""
    began: Integers
    """The block at which that start was, shape (m, bets)."""
    blocks: int = 0
    """Blocks seen."""

    def __post_init__(self) -> None:
        """Copy the arrays, so that the state is this object's own."""
        self.log_sums = np.array(self.log_sums, dtype=np.float64)
        self.log_runs = np.array(self.log_runs, dtype=np.float64)
        self.began = np.array(self.began, dtype=np.int64)
        if self.log_sums.ndim != 2 or not self.log_sums.shape == self.log_runs.shape == self.began.shape:
            raise ValueError("log_sums, log_runs and began must have one shape, (monitors, bets)")

    @classmethod
    def fresh(cls, monitors: int, bets: int) -> EDetector:
        """Return monitors that have seen nothing."""
        shape = (monitors, bets)
        return cls(np.full(shape, -np.inf), np.full(shape, -np.inf), np.zeros(shape, dtype=np.int64))

    def update(self, log_factors: ArrayLike) -> Trajectory:
        """Take in a page of blocks, in order.

        log_factors: shape (n, m, bets), the logarithm of each bet's factor over each block. A page gives the same bits
        as its blocks one by one.

        Raises
        ------
        ValueError
            For another shape, NaN, and +inf. The state is then unchanged.

        >>> detector = EDetector.fresh(monitors=1, bets=1)
        >>> found = detector.update(np.log([[[1.0]], [[0.5]], [[8.0]], [[8.0]]]))
        >>> np.exp(found.evidence[:, 0]).round(6).tolist(), found.began[:, 0].tolist()
        ([1.0, 1.0, 16.0, 136.0], [0, 1, 2, 2])
        """
        factors = np.asarray(log_factors, dtype=np.float64)
        if factors.ndim != 3 or factors.shape[1:] != self.log_sums.shape:
            raise ValueError(f"log factors must have the shape (blocks, {', '.join(map(str, self.log_sums.shape))})")
        if not (factors < np.inf).all():  # NaN compares false
            raise ValueError("log factors must be numbers below infinity")
        sums = np.empty(factors.shape)
        began = np.empty(factors.shape[:2], dtype=np.int64)
        for block, own in enumerate(factors):
            # log(1 + M), which numpy's own logaddexp computes four times as slowly
            self.log_sums = own + np.maximum(self.log_sums, 0.0) + np.log1p(np.exp(-np.abs(self.log_sums)))
            # a run that has lost more than it won is worth less than a new one
            self.began = np.where(self.log_runs > 0, self.began, self.blocks)
            self.log_runs = own + np.maximum(self.log_runs, 0.0)
            sums[block], began[block] = self.log_sums, self.estimated_starts()
            self.blocks += 1
        return Trajectory(_mean_of_logs(sums), began)

    def evidence(self) -> Floats:
        """Return the natural logarithm of each monitor's mean sum, shape (m,); −inf before the first block."""
        return _mean_of_logs(self.log_sums)

    @property
    def best(self) -> NDArray[np.intp]:
        """The bet of each monitor whose present run has won most, shape (m,); the first of equal ones."""
        return np.argmax(self.log_runs, axis=1)

    def estimated_starts(self) -> Integers:
        """Return the block at which each monitor's best bet began its present run, shape (m,)."""
        starts: Integers = np.take_along_axis(self.began, self.best[:, None], axis=1)[:, 0]
        return starts

    def restart(self, monitor: int) -> None:
        """Forget all evidence of one monitor. Its next block is the first of a new run."""
        self.log_sums[monitor] = self.log_runs[monitor] = -np.inf
        self.began[monitor] = self.blocks


def _mean_of_logs(logs: Floats) -> Floats:
    means: Floats = np.logaddexp.reduce(logs, axis=-1) - math.log(logs.shape[-1])
    return means
