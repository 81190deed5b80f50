"""What the outcomes of an experiment have shown, and whether its arms are what they say: tests for any moment.

A verdict needs two things at once. The test of rows that the plan has fixed bounds the chance of a wrong one, however
often one looks. And the difference must hold from day to day (`keel.stats.sequential.day_clusters`): without that it
may be true of
the rows of one storm and of no others. Both are judged at the end of each hour in which outcomes came to be known.

Before ``least`` has passed, harm is judged against what is borne until then. What shows the larger harm shows the
smaller one too, in both tests, so that all moments together err no more often than the test of the smaller one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keel.evaluation.experiment.plan import BURN_IN, Plan, in_utc
from keel.evaluation.probation.sequential_tests import BLOCK_ROWS, BLOCK_SPAN, MOST
from keel.stats.sequential.betting import Wealth, combine, log_e_value
from keel.stats.sequential.blocks import Integers, block_ends, block_means
from keel.stats.sequential.confidence_sequences import BISECTIONS, IPWDifferences, half_width, running
from keel.stats.sequential.day_clusters import HourlyArmLosses
from keel.stats.sequential.sample_ratio import log_ratio_mismatch

if TYPE_CHECKING:
    from keel.evaluation.experiment.outcomes import Assigned, Mask, Outcomes
    from keel.stats.metrics.losses import Floats

MISMATCH = 1_000.0
"""Evidence from which an assignment is not believed to be what it says: right ones reach it once in a thousand."""
SOONEST = timedelta(days=2)
"""How long an experiment's rows span at least when it shows gross harm: hours of one day are no measure of how days
differ. On one day alone, every tenth of equal versions that are off by other amounts each day is."""


class Shown(NamedTuple):
    """A difference that was shown, on the versions or of the harm that one does."""

    n: int
    """After how many outcomes."""
    better: bool
    early: bool
    """Before ``least``, as gross harm is."""


@dataclass(frozen=True)
class ByRows:
    """What the test of rows has shown at each moment at which it was judged."""

    moments: Integers
    """Outcomes after which, ascending."""
    early: Mask
    """Whether that was before rows had spanned ``least``."""
    better: Mask
    """Whether the improvement was then shown to exceed the margin; never early."""
    worse: Mask
    """Whether it was shown to be below what is tolerated then (`tolerated`)."""
    log_capitals: tuple[Floats, Floats] | None
    """Of the bets that it exceeds the margin and that it is harm; none for the confidence sequence, without bets."""


@dataclass(frozen=True)
class Bounds:
    """The improvement, a difference of mean losses in [0, 1], after some outcomes; positive is better."""

    improvement: float
    """Of rows weighted by the inverse probability of their arm: where the allocation changes, plain means would compare
    rows of other days with each other. NaN until both arms have rows."""
    lower: float
    upper: float
    """Each holds at 1 − alpha at any moment: the wider of those by rows and between days; ∓∞ while one is missing."""
    unit: str
    """Between what the difference was compared: days, or shorter clusters while those are few."""
    clusters: int


def by_rows(plan: Plan, rows: Outcomes, now: np.datetime64) -> ByRows:
    """Judge usable outcomes in the order in which they were known, the way that the plan has fixed."""
    margin, moments = plan.min_improvement, _moments(plan, rows, now)
    early = ~_lasted(rows, plan.least)[moments - 1]
    if plan.method == "confidence_sequence":
        found, n = running(plan.loss.of(rows.answered), rows.challenger), np.arange(1, len(rows) + 1)
        width = half_width(found.standard_error, n, alpha=plan.alpha, one_sided=True)
        with np.errstate(invalid="ignore"):
            judged = ((n >= BURN_IN) & (found.standard_error > 0))[moments - 1]
            lower, upper = ((found.improvement + sign * width)[moments - 1] for sign in (-1, 1))
        better, worse = judged & ~early & (lower > margin), judged & (upper < tolerated(plan, early))
        return ByRows(moments, early, better, worse, None)
    floors = plan.harm_bound, plan.early_harm_bound
    if plan.method == "betting":
        contrasts, ends = _contrasts(plan, rows), np.arange(1, len(rows) + 1)
        paths = [contrasts.log_e_value(margin), *(contrasts.log_e_value(floor, worse=True) for floor in floors)]
    else:
        ends, blocks = _blocks(plan, rows)
        paths = [_bet_on_blocks(blocks, margin), *(_bet_on_blocks(-blocks, -floor) for floor in floors)]
    held = np.searchsorted(ends, moments, side="right")
    on_better, on_harm, on_gross = (np.append(0.0, capital.path)[held] for capital in paths)
    needed = -math.log(plan.alpha)
    worse = np.where(early, on_gross, on_harm) >= needed
    return ByRows(moments, early, (on_better >= needed) & ~early, worse, (on_better, on_harm))


def tolerated(plan: Plan, early: Mask) -> Floats:
    """Return the least improvement that is tolerated at moments before ``least``, and after."""
    return np.where(early, plan.early_harm_bound, plan.harm_bound)


def first_shown(plan: Plan, rows: Outcomes, found: ByRows) -> Shown | None:
    """Return the difference that was first shown."""
    sums, floors = _hourly(plan, rows), tolerated(plan, found.early)
    for moment in np.flatnonzero(found.better | found.worse):
        n, early = int(found.moments[moment]), bool(found.early[moment])
        steady = sums.difference(n, alpha=plan.alpha)
        if found.worse[moment] and steady.improvement + steady.width < floors[moment]:
            return Shown(n, better=False, early=early)
        if found.better[moment] and steady.improvement - steady.width > plan.min_improvement:
            return Shown(n, better=True, early=early)
    return None


def bounds(plan: Plan, rows: Outcomes) -> Bounds:
    """Return the improvement and its bounds after all of the rows."""
    steady = _hourly(plan, rows).difference(len(rows), alpha=plan.alpha)
    lower, upper = _bounds_by_rows(plan, rows)
    return Bounds(
        steady.improvement,
        float(np.fmin(lower, steady.improvement - steady.width)),
        float(np.fmax(upper, steady.improvement + steady.width)),
        steady.unit,
        steady.clusters,
    )


def mean_losses(plan: Plan, rows: Outcomes) -> tuple[float, float]:
    """Return the champion's and the challenger's mean loss in [0, 1] on the rows of each; NaN where there are none."""
    losses = plan.loss.of(rows.answered)
    if plan.mode == "shadow":
        found = losses, plan.loss.of(rows.shadow)
    else:
        found = losses[~rows.challenger], losses[rows.challenger]
    before, new = (float(arm.mean()) if len(arm) else math.nan for arm in found)
    return before, new


def assignment_evidence(rows: Assigned) -> Floats:
    """Return the log evidence after each row that arms are not drawn as stated (`log_ratio_mismatch`)."""
    return log_ratio_mismatch(rows.challenger, rows.share)


def label_evidence(rows: Assigned) -> Floats:
    """Return the log evidence after each row, when its label was due, that one arm gets labels more seldom.

    As long as whether a label comes does not depend on the arm, both the rows that have one and those that have none
    are split as they were assigned: the mean of the evidence against either, so that missing labels show where they are
    few, and labels where those are few.
    """
    tests = []
    for own in (rows.labelled, ~rows.labelled):
        tests.append((np.flatnonzero(own) + 1, log_ratio_mismatch(rows.challenger[own], rows.share[own])))
    _, path = combine(tests)
    return path


def most_outcomes(plan: Plan, rows: Outcomes) -> int | None:
    """Return after how many usable outcomes no more count; None while more may come."""
    lasted = _lasted(rows, plan.least)
    if len(rows) < plan.max_n or not bool(lasted.any()):
        return None
    return max(plan.max_n, int(np.argmax(lasted)) + 1)


def over(plan: Plan, now: np.datetime64) -> bool:
    """Whether an experiment has lasted as long as it may."""
    return bool(now >= np.datetime64(in_utc(plan.ends_at), "us"))


def _lasted(rows: Outcomes, least: timedelta) -> Mask:
    """Return after which outcomes their rows had spanned so long: from the first row, not from the start.

    An experiment may start in the past of the data, and no row is of the days between.
    """
    spans = np.maximum.accumulate(rows.time) - np.minimum.accumulate(rows.time)
    found: Mask = spans >= np.timedelta64(least)
    return found


def _moments(plan: Plan, rows: Outcomes, now: np.datetime64) -> Integers:
    """Return after how many outcomes each hour ended, from when the experiment has lasted long enough for any verdict.

    The last hour has ended if it is over, or if no more outcomes count. In a shadow nobody is harmed.
    """
    least = plan.least if plan.mode == "shadow" else min(plan.least, SOONEST)
    ended = over(plan, now) or len(rows) == most_outcomes(plan, rows)
    hours = rows.known_at.astype("datetime64[h]")
    ends: Integers = np.flatnonzero(hours[1:] != hours[:-1]) + 1
    if len(rows) and (ended or hours[-1] < now.astype("datetime64[h]")):
        ends = np.append(ends, len(rows))
    return ends[_lasted(rows, least)[ends - 1]]


def _bounds_by_rows(plan: Plan, rows: Outcomes) -> tuple[float, float]:
    if plan.method == "confidence_sequence":
        if len(rows) < BURN_IN:
            return -math.inf, math.inf
        found = running(plan.loss.of(rows.answered), rows.challenger)
        error, estimate = float(found.standard_error[-1]), float(found.improvement[-1])
        width = float(half_width(error, len(rows), alpha=plan.alpha, one_sided=True))
        return estimate - width, estimate + width
    if not len(rows):
        return -math.inf, math.inf
    if plan.method == "betting":
        contrasts = _contrasts(plan, rows)
        return contrasts.bound(alpha=plan.alpha), contrasts.bound(alpha=plan.alpha, worse=True)
    _, blocks = _blocks(plan, rows)
    return _block_bound(blocks, plan.alpha), -_block_bound(-blocks, plan.alpha)


def _hourly(plan: Plan, rows: Outcomes) -> HourlyArmLosses:
    losses = plan.loss.of(rows.answered)
    if plan.mode == "shadow":
        return HourlyArmLosses(rows.time, np.ones((2, len(rows))), np.stack([losses, plan.loss.of(rows.shadow)]))
    weights = np.stack([~rows.challenger / (1 - rows.share), rows.challenger / rows.share])
    return HourlyArmLosses(rows.time, weights, np.stack([losses, losses]))


def _contrasts(plan: Plan, rows: Outcomes) -> IPWDifferences:
    return IPWDifferences.of(plan.loss.of(rows.answered), rows.challenger, rows.share, centre=plan.centre)


def _blocks(plan: Plan, rows: Outcomes) -> tuple[Integers, Floats]:
    ends = block_ends(rows.time, rows.answered.label, rows=BLOCK_ROWS, span=BLOCK_SPAN)
    return ends, block_means(plan.loss.of(rows.answered) - plan.loss.of(rows.shadow), ends)


def _bet_on_blocks(blocks: Floats, margin: float) -> Wealth:
    beyond = np.clip(blocks - margin, -MOST, MOST)
    return log_e_value(beyond, null=0.0, low=-MOST, high=MOST)


def _block_bound(blocks: Floats, alpha: float) -> float:
    """Return the largest margin that the bets refute now, found by halving; −1 where there is none."""
    refuted, open_ = -1.0, 1.0
    for _ in range(BISECTIONS if len(blocks) else 0):
        middle = (refuted + open_) / 2
        shown = _bet_on_blocks(blocks, middle).path[-1] >= -math.log(alpha)
        refuted, open_ = (middle, open_) if shown else (refuted, middle)
    return refuted
