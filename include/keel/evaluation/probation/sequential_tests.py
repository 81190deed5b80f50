"""The sequential tests of a probation: bets on blocks of labelled rows that the new version is worse than tolerated.

The tests use blocks rather than rows, because rows of the same hours are correlated: a test that treats them as
independent rolls back good versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from keel.stats.sequential.betting import Wealth, combine, log_e_value
from keel.stats.sequential.blocks import Integers, Times, block_ends, block_means, lost_pairs
from keel.stats.sequential.bounded_losses import PROBABILITY_METRICS, BoundedLoss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig
    from keel.stats.metrics.losses import Estimate, Floats, Scored

BLOCK_ROWS, BLOCK_SPAN = 50, np.timedelta64(2, "h")
"""Minimum number of rows of a block, and minimum time that they span. A test of single rows rolls back one in three
equal versions of flight_delay; docs/statistics.md has the numbers."""
BLOCK_CLASS = 5
"""Minimum number of rows of each class in a block for the comparison of rankings."""
BLOCK_CONTEXT = 5
"""Earlier blocks whose rows a block's rows are ranked against: ten hours or more, to include the order within a day."""
MAX_BLOCK_DEVIATION = 0.2
"""Largest deviation from the tolerance that a block counts, in either direction: no single block decides alone."""
RANKING_TOLERANCE = 0.02
"""Tolerated share of pairs that the new version ranks worse: two trainings on resampled rows of the same days differ by
so much for days."""
LARGEST_LOG = 700.0
"""Largest logarithm of evidence that is reported: a float holds no more."""
MAX_UNUSABLE_SHARE = 0.01
"""Largest share of labelled predictions without a usable score: with more, the others are not representative."""


@dataclass(frozen=True)
class SequentialTest:
    """The state of a test; it is significant once its evidence reaches the threshold."""

    evidence: float
    """The highest e-value so far, at least 1. Under the null hypothesis it reaches c with a chance of at most 1/c."""
    threshold: float
    crossed_at: int | None
    """Number of labelled predictions after which the evidence first reached the threshold."""
    crossed_by: str | None
    """``loss`` or ``ranking``: the test with the larger evidence at that time."""
    blocks: int
    """Number of blocks; of two kinds of blocks that of the fewer."""

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return plain values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class ProbationTests:
    """The rows of one evaluation of a probation, and the tests on them."""

    loss: BoundedLoss
    baseline: Estimate | None
    current: Scored
    previous: Scored | None
    times: Times
    policy: PromotionConfig
    max_degradation: float

    @cached_property
    def own(self) -> NDArray[np.bool_]:
        """Rows on which the new version has a loss."""
        return self.loss.usable(self.current)

    @cached_property
    def both(self) -> NDArray[np.bool_]:
        """Rows on which every version has a loss."""
        return self.own if self.previous is None else self.own & self.loss.usable(self.previous)

    @cached_property
    def worse(self) -> dict[str, tuple[Integers, Floats]]:
        """The difference to the previous version in each block, in loss and in ranked pairs; positive is worse."""
        if self.previous is None:
            return {}
        rows, before, times = self.current.take(self.both), self.previous.take(self.both), self.times[self.both]
        worse = {}
        if self.loss.metric != "roc_auc":
            ends = _blocks(times, rows)
            worse["loss"] = ends, block_means(self.loss.of(rows) - self.loss.of(before), ends)
        if self.loss.metric in PROBABILITY_METRICS:
            ends = _blocks(times, rows, each_class=BLOCK_CLASS)
            worse["ranking"] = ends, lost_pairs(rows.label, rows.score, before.score, ends, context=BLOCK_CONTEXT)
        return worse

    @property
    def tolerances(self) -> dict[str, float]:
        """The tolerated difference of a block."""
        allowed = max(self.max_degradation, -self.policy.margin)
        of_pairs = max(RANKING_TOLERANCE, allowed) if self.loss.metric == "roc_auc" else RANKING_TOLERANCE
        return {"loss": self.loss.increase(allowed, self.baseline), "ranking": of_pairs}

    @property
    def baseline_limit(self) -> float | None:
        """The largest mean loss that meets the baseline, in units of the metric's loss; None without a baseline."""
        if self.baseline is None:
            return None
        return self.loss.limit(self.baseline, self.max_degradation) * self.loss.cap

    @property
    def pairs_lost(self) -> float | None:
        """The mean share of pairs that the new version ranks worse, over the blocks; None without blocks."""
        _, lost = self.worse.get("ranking", (None, ()))
        return float(np.mean(lost)) if len(lost) else None

    def mean_loss(self, rows: Scored | None) -> float | None:
        """Return a version's mean loss on the rows on which every version has one; None without such rows."""
        if rows is None or not self.both.any():
            return None
        return float(self.loss.of(rows.take(self.both)).mean() * self.loss.cap)

    def test_harm(self) -> SequentialTest | None:
        """Test whether the version is worse than the one before it by more than is tolerated."""
        paths = {}
        for name, (ends, worse) in self.worse.items():
            paths[name] = ends, bet_on_excess(worse - self.tolerances[name]).path
        return _combined_test(paths, self.both, self.policy.rollback_alpha) if paths else None

    def test_baseline(self) -> SequentialTest | None:
        """Test whether the version's mean loss is above its baseline from the holdout."""
        if self.baseline_limit is None:
            return None
        rows = self.current.take(self.own)
        ends = _blocks(self.times[self.own], rows)
        path = log_e_value(block_means(self.loss.of(rows), ends), null=self.baseline_limit / self.loss.cap).path
        return _combined_test({"loss": (ends, path)}, self.own, self.policy.rollback_alpha)

    def missing(self) -> tuple[str, ...]:
        """Return why the evidence does not suffice to call the version harmless."""
        reasons = []
        n, needed = int(self.both.sum()), self.policy.min_rows
        if n < needed:
            reasons.append(f"there are {n:,} usable labelled predictions, and {needed:,} are needed")
        min_blocks = fewest_blocks(self.policy.rollback_alpha)
        for name, (ends, _) in self.worse.items():
            if len(ends) < min_blocks:
                reasons.append(f"there are {len(ends)} blocks to compare the {name} in, and {min_blocks} are needed")
        if (unusable := int((~self.both).sum())) > MAX_UNUSABLE_SHARE * len(self.both):
            of = "either version" if self.previous is not None else "the version"
            reasons.append(f"{unusable:,} of {len(self.both):,} labelled predictions have no usable score of {of}")
        if self.previous is None and self.baseline is None:
            reasons.append(f"there is no version before it, and no mean {self.loss.name} of its holdout")
        return tuple(reasons)


def bet_on_excess(excess: Floats) -> Wealth:
    """Bet that the mean excess of blocks is positive; each block counts at most `MAX_BLOCK_DEVIATION` either way."""
    limit = MAX_BLOCK_DEVIATION
    return log_e_value(np.clip(excess, -limit, limit), null=0.0, low=-limit, high=limit)


def fewest_blocks(alpha: float) -> int:
    """Return the smallest number of blocks that can show harm, each with the largest deviation that counts.

    >>> fewest_blocks(0.01)
    11
    """
    path = bet_on_excess(np.full(1_000, MAX_BLOCK_DEVIATION)).path
    return int(np.argmax(path >= -math.log(alpha))) + 1


def _blocks(times: Times, rows: Scored, *, each_class: int = 0) -> Integers:
    return block_ends(times, rows.label, rows=BLOCK_ROWS, span=BLOCK_SPAN, each_class=each_class)


def _combined_test(
    tests: Mapping[str, tuple[Integers, Floats]], usable: NDArray[np.bool_], alpha: float
) -> SequentialTest:
    """Return the test by the mean wealth of several; usable: which of the labelled predictions their rows are."""
    ends, path = combine(list(tests.values()))
    above = np.flatnonzero(path >= -math.log(alpha))
    crossed_at = crossed_by = None
    if len(above):
        moment = ends[above[0]]
        crossed_at = int(np.flatnonzero(usable)[moment - 1]) + 1
        crossed_by = max(tests, key=lambda name: _log_wealth_at(*tests[name], moment))
    highest = max(0.0, float(path.max())) if len(path) else 0.0
    fewest = min(len(own) for own, _ in tests.values())
    return SequentialTest(math.exp(min(highest, LARGEST_LOG)), 1 / alpha, crossed_at, crossed_by, fewest)


def _log_wealth_at(ends: Integers, path: Floats, moment: int) -> float:
    return float(np.append(0.0, path)[np.searchsorted(ends, moment, side="right")])
