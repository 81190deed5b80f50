"""What the labelled rows of a probation say: bets on blocks of them that the new version does worse than it may.

The bets are on blocks, not on rows: rows of the same hours share their weather, and a test that takes them for
independent takes back good versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from keel.stats.sequential.betting import combine, log_e_value
from keel.stats.sequential.blocks import Integers, Times, block_ends, block_means, lost_pairs
from keel.stats.sequential.bounded_losses import PROBABILITY_METRICS, BoundedLoss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig
    from keel.stats.metrics.losses import Estimate, Floats, Scored

BLOCK_ROWS, BLOCK_SPAN = 50, np.timedelta64(2, "h")
"""A block is the next rows that are at least so many and span so much time. A test of single flights takes back every
third version that is as good as the one before it; docs/statistics.md has the numbers."""
BLOCK_CLASS = 5
"""Rows of each class without which a block says nothing about the order of scores."""
BLOCK_CONTEXT = 5
"""Blocks before its own with which a block's rows are compared: ten hours or more, so that the day's order counts."""
MOST = 0.2
"""By how much more than the tolerance a block counts at most, either way: no short time, however bad, decides alone."""
RANKING_TOLERANCE = 0.02
"""Share of pairs by which equal versions may differ for days: two trainings on resampled rows of the same days do."""
PROMISE_DELTA = 0.01
"""Chance that the upper bound from the holdout is below the mean that its rows are a sample of."""
LARGEST_LOG = 700.0
"""Capitals beyond e to this are reported as that: a float holds no more."""
MOST_LEFT_OUT = 0.01
"""Share of labelled predictions without a usable score from which the others do not speak for the version."""


@dataclass(frozen=True)
class SequentialTest:
    """How far a test has come; it has decided once its capital has reached its threshold."""

    capital: float
    """The highest so far, from 1 at the start. If nothing is wrong it ever reaches c with a chance of at most 1/c."""
    threshold: float
    crossed_at: int | None
    """Labelled predictions after which the capital first reached the threshold."""
    crossed_by: str | None
    """What the new version was worse in, ``loss`` or ``ranking``: that with the larger capital then."""
    blocks: int
    """In how many blocks of rows it was bet on, of the kind of which there are fewest."""

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return plain values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class ProbationTests:
    """The rows of one look, and how they are bet on."""

    loss: BoundedLoss
    promised: Estimate | None
    current: Scored
    previous: Scored | None
    times: Times
    policy: PromotionConfig
    max_increase: float

    @cached_property
    def own(self) -> NDArray[np.bool_]:
        """Rows that the new version has a loss on."""
        return self.loss.usable(self.current)

    @cached_property
    def both(self) -> NDArray[np.bool_]:
        """Rows that every version has a loss on."""
        return self.own if self.previous is None else self.own & self.loss.usable(self.previous)

    @cached_property
    def worse(self) -> dict[str, tuple[Integers, Floats]]:
        """By how much each block is worse than the previous version's, in loss and in pairs ranked."""
        if self.previous is None:
            return {}
        rows, before, times = self.current.take(self.both), self.previous.take(self.both), self.times[self.both]
        found = {}
        if self.loss.metric != "roc_auc":
            ends = _blocks(times, rows)
            found["loss"] = ends, block_means(self.loss.of(rows) - self.loss.of(before), ends)
        if self.loss.metric in PROBABILITY_METRICS:
            ends = _blocks(times, rows, each_class=BLOCK_CLASS)
            found["ranking"] = ends, lost_pairs(rows.label, rows.score, before.score, ends, context=BLOCK_CONTEXT)
        return found

    @property
    def tolerances(self) -> dict[str, float]:
        """By how much a block may be worse."""
        allowed = max(self.max_increase, -self.policy.margin)
        of_pairs = max(RANKING_TOLERANCE, allowed) if self.loss.metric == "roc_auc" else RANKING_TOLERANCE
        return {"loss": self.loss.increase(allowed, self.promised), "ranking": of_pairs}

    @property
    def promised_bound(self) -> float | None:
        """What the mean loss may be, in units of the metric's loss."""
        if self.promised is None:
            return None
        bound = self.loss.upper_bound(self.promised, delta=PROMISE_DELTA)
        return min(1.0, bound + self.loss.increase(self.max_increase, self.promised)) * self.loss.cap

    @property
    def pairs_lost(self) -> float | None:
        """The mean over the blocks."""
        _, lost = self.worse.get("ranking", (None, ()))
        return float(np.mean(lost)) if len(lost) else None

    def mean_loss(self, rows: Scored | None) -> float | None:
        """Return a version's mean over the rows that all have a loss on."""
        if rows is None or not self.both.any():
            return None
        return float(self.loss.of(rows.take(self.both)).mean() * self.loss.cap)

    def bet_on_harm(self) -> SequentialTest | None:
        """Bet that the version is worse than the one before it by more than is tolerated."""
        bets = {}
        for name, (ends, worse) in self.worse.items():
            beyond = np.clip(worse - self.tolerances[name], -MOST, MOST)
            bets[name] = ends, log_e_value(beyond, null=0.0, low=-MOST, high=MOST).path
        return _bet(bets, self.both, self.policy.rollback_alpha) if bets else None

    def bet_on_promise(self) -> SequentialTest | None:
        """Bet that the version's mean loss is above what it promised."""
        if self.promised_bound is None:
            return None
        rows = self.current.take(self.own)
        ends = _blocks(self.times[self.own], rows)
        path = log_e_value(block_means(self.loss.of(rows), ends), null=self.promised_bound / self.loss.cap).path
        return _bet({"loss": (ends, path)}, self.own, self.policy.rollback_alpha)

    def missing(self) -> tuple[str, ...]:
        """Say why a version without a verdict against it has not shown itself to be harmless."""
        found = []
        n, enough = int(self.both.sum()), self.policy.min_rows
        if n < enough:
            found.append(f"there are {n:,} labelled predictions to judge it by, and {enough:,} are needed")
        fewest = fewest_blocks(self.policy.rollback_alpha)
        for name, (ends, _) in self.worse.items():
            if len(ends) < fewest:
                found.append(f"the labels make {len(ends)} blocks to compare the {name} in, and {fewest} are needed")
        if (left_out := int((~self.both).sum())) > MOST_LEFT_OUT * len(self.both):
            of = "either version" if self.previous is not None else "the version"
            found.append(f"{left_out:,} of {len(self.both):,} labelled predictions have no usable score of {of}")
        if self.previous is None and self.promised is None:
            found.append(f"there is no version before it, and no mean {self.loss.name} of its holdout")
        return tuple(found)


def fewest_blocks(alpha: float) -> int:
    """Return after how many blocks harm can be shown at all, each being as bad as a block counts.

    >>> fewest_blocks(0.01)
    11
    """
    path = log_e_value(np.full(1_000, MOST), null=0.0, low=-MOST, high=MOST).path
    return int(np.argmax(path >= -math.log(alpha))) + 1


def _blocks(times: Times, rows: Scored, *, each_class: int = 0) -> Integers:
    return block_ends(times, rows.label, rows=BLOCK_ROWS, span=BLOCK_SPAN, each_class=each_class)


def _bet(tests: Mapping[str, tuple[Integers, Floats]], usable: NDArray[np.bool_], alpha: float) -> SequentialTest:
    """Follow the tests' common capital; ``usable`` tells which labelled predictions their rows were."""
    ends, path = combine(list(tests.values()))
    above = np.flatnonzero(path >= -math.log(alpha))
    crossed_at = crossed_by = None
    if len(above):
        moment = ends[above[0]]
        crossed_at = int(np.flatnonzero(usable)[moment - 1]) + 1
        crossed_by = max(tests, key=lambda name: _held(*tests[name], moment))
    highest = max(0.0, float(path.max())) if len(path) else 0.0
    fewest = min(len(own) for own, _ in tests.values())
    return SequentialTest(math.exp(min(highest, LARGEST_LOG)), 1 / alpha, crossed_at, crossed_by, fewest)


def _held(ends: Integers, path: Floats, moment: int) -> float:
    return float(np.append(0.0, path)[np.searchsorted(ends, moment, side="right")])
