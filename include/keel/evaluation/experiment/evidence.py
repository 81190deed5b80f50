"""The sequential tests of an experiment: is one version better, and is the split of the rows valid?

A verdict needs two tests at once. The test by rows, which the plan fixes, bounds the error rate at any time. The test
by days (`keel.stats.sequential.day_clusters`) requires that the difference holds between days: otherwise it may be that
of one storm. Both are evaluated at the end of each hour in which outcomes became known.

Before ``least`` has passed, only harm beyond `Plan.early_harm_bound` is tested. In both tests, evidence of the larger
harm is evidence of the smaller one too. So the error rate over all times is that of the test of the smaller harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keel.evaluation.experiment.plan import BURN_IN, Plan, in_utc
from keel.evaluation.probation.sequential_tests import BLOCK_ROWS, BLOCK_SPAN, bet_on_excess
from keel.stats.sequential.betting import combine
from keel.stats.sequential.blocks import Integers, block_ends, block_means
from keel.stats.sequential.confidence_sequences import BISECTIONS, IPWDifferences, half_width, running
from keel.stats.sequential.day_clusters import HourlyArmLosses
from keel.stats.sequential.sample_ratio import log_ratio_mismatch

if TYPE_CHECKING:
    from keel.evaluation.experiment.outcomes import Assigned, Mask, Outcomes
    from keel.stats.metrics.losses import Floats

MISMATCH_EVIDENCE = 1_000.0
"""Evidence at which a sample ratio mismatch is reported: a valid split reaches it with a chance of 1 in 1,000."""
MIN_SPAN_FOR_HARM = timedelta(days=2)
"""Time that the rows must span before early harm is tested: hours of one day do not show how days differ. On one day
alone, one in ten pairs of equal versions whose difference varies by day would be stopped."""


class FirstResult(NamedTuple):
    """The first significant difference between the versions."""

    n: int
    """Number of outcomes until then."""
    better: bool
    early: bool
    """Whether it is harm that was shown before ``least``."""


@dataclass(frozen=True)
class RowTest:
    """The result of the test by rows at each evaluation."""

    moments: Integers
    """Number of outcomes at each evaluation, ascending."""
    early: Mask
    """Whether the rows then spanned less than ``least``."""
    better: Mask
    """Whether the improvement was shown to exceed the margin; never early."""
    worse: Mask
    """Whether the improvement was shown to be below the tolerated one (`tolerated`)."""
    log_wealth: tuple[Floats, Floats] | None
    """Log wealth of the bets that it exceeds the margin and that it is harm; None for the confidence sequence."""


@dataclass(frozen=True)
class Bounds:
    """The improvement and its bounds, differences of mean losses in [0, 1]; positive is better."""

    improvement: float
    """With rows weighted by the inverse probability of their arm: if the allocation changes, plain means would compare
    rows of different days. NaN until both arms have rows."""
    lower: float
    upper: float
    """Each bound holds at 1 − alpha at any time. The wider of those by rows and by days; ∓∞ while one is missing."""
    unit: str
    """The clusters of the test by days: days, or shorter clusters while there are few days."""
    clusters: int


def evaluate_rows(plan: Plan, rows: Outcomes, now: np.datetime64) -> RowTest:
    """Test usable outcomes in the order in which they became known, by the plan's method."""
    margin, moments = plan.min_improvement, _moments(plan, rows, now)
    early = ~_lasted(rows, plan.min_duration)[moments - 1]
    if plan.method == "confidence_sequence":
        found, n = running(plan.loss.of(rows.answered), rows.challenger), np.arange(1, len(rows) + 1)
        width = half_width(found.standard_error, n, alpha=plan.alpha, one_sided=True)
        with np.errstate(invalid="ignore"):
            valid = ((n >= BURN_IN) & (found.standard_error > 0))[moments - 1]
            lower, upper = ((found.improvement + sign * width)[moments - 1] for sign in (-1, 1))
        better, worse = valid & ~early & (lower > margin), valid & (upper < tolerated(plan, early))
        return RowTest(moments, early, better, worse, None)
    bounds = plan.harm_bound, plan.early_harm_bound
    if plan.method == "betting":
        differences, ends = _differences(plan, rows), np.arange(1, len(rows) + 1)
        paths = [differences.log_e_value(margin), *(differences.log_e_value(bound, worse=True) for bound in bounds)]
    else:
        ends, blocks = _blocks(plan, rows)
        paths = [bet_on_excess(blocks - margin), *(bet_on_excess(bound - blocks) for bound in bounds)]
    bets_until = np.searchsorted(ends, moments, side="right")
    on_better, on_harm, on_early_harm = (np.append(0.0, wealth.path)[bets_until] for wealth in paths)
    needed = -math.log(plan.alpha)
    worse = np.where(early, on_early_harm, on_harm) >= needed
    return RowTest(moments, early, (on_better >= needed) & ~early, worse, (on_better, on_harm))


def tolerated(plan: Plan, early: Mask) -> Floats:
    """Return the smallest tolerated improvement at each evaluation; early: whether that is before ``least``."""
    return np.where(early, plan.early_harm_bound, plan.harm_bound)


def first_result(plan: Plan, rows: Outcomes, found: RowTest) -> FirstResult | None:
    """Return the first difference that both tests show; None without one."""
    sums, tolerances = _hourly(plan, rows), tolerated(plan, found.early)
    for moment in np.flatnonzero(found.better | found.worse):
        n, early = int(found.moments[moment]), bool(found.early[moment])
        by_days = sums.difference(n, alpha=plan.alpha)
        if found.worse[moment] and by_days.improvement + by_days.width < tolerances[moment]:
            return FirstResult(n, better=False, early=early)
        if found.better[moment] and by_days.improvement - by_days.width > plan.min_improvement:
            return FirstResult(n, better=True, early=early)
    return None


def bounds(plan: Plan, rows: Outcomes) -> Bounds:
    """Return the improvement and its bounds after all rows."""
    by_days = _hourly(plan, rows).difference(len(rows), alpha=plan.alpha)
    lower, upper = _bounds_by_rows(plan, rows)
    return Bounds(
        by_days.improvement,
        float(np.fmin(lower, by_days.improvement - by_days.width)),
        float(np.fmax(upper, by_days.improvement + by_days.width)),
        by_days.unit,
        by_days.clusters,
    )


def mean_losses(plan: Plan, rows: Outcomes) -> tuple[float, float]:
    """Return the champion's and the challenger's mean loss in [0, 1], each on its rows; NaN without rows."""
    losses = plan.loss.of(rows.answered)
    if plan.mode == "shadow":
        arms = losses, plan.loss.of(rows.shadow)
    else:
        arms = losses[~rows.challenger], losses[rows.challenger]
    champion, challenger = (float(arm.mean()) if len(arm) else math.nan for arm in arms)
    return champion, challenger


def assignment_evidence(rows: Assigned) -> Floats:
    """Return the log evidence after each row that the arms are not split as planned (`log_ratio_mismatch`)."""
    return log_ratio_mismatch(rows.challenger, rows.share)


def label_evidence(rows: Assigned) -> Floats:
    """Return the log evidence after each row, at the time its label matured, that one arm gets fewer labels.

    If the arrival of labels does not depend on the arm, both the rows with a label and those without are split as
    planned. The evidence is the mean of that against either, so that it finds few missing labels and few labels.
    """
    tests = []
    for own in (rows.labelled, ~rows.labelled):
        tests.append((np.flatnonzero(own) + 1, log_ratio_mismatch(rows.challenger[own], rows.share[own])))
    _, path = combine(tests)
    return path


def most_outcomes(plan: Plan, rows: Outcomes) -> int | None:
    """Return the number of usable outcomes after which no more count; None while more may come."""
    lasted = _lasted(rows, plan.min_duration)
    if len(rows) < plan.max_outcomes or not bool(lasted.any()):
        return None
    return max(plan.max_outcomes, int(np.argmax(lasted)) + 1)


def has_ended(plan: Plan, now: np.datetime64) -> bool:
    """Whether an experiment has reached its maximum duration."""
    return bool(now >= np.datetime64(in_utc(plan.ends_at), "us"))


def _lasted(rows: Outcomes, least: timedelta) -> Mask:
    """Return after which outcomes the rows span at least a duration, counted from the first row.

    The experiment's start may lie before the data.
    """
    spans = np.maximum.accumulate(rows.time) - np.minimum.accumulate(rows.time)
    found: Mask = spans >= np.timedelta64(least)
    return found


def _moments(plan: Plan, rows: Outcomes, now: np.datetime64) -> Integers:
    """Return the number of outcomes at the end of each hour, once the rows span enough time for any verdict.

    The last hour is complete if it is over, or if no more outcomes count. Shadow mode has no early harm.
    """
    least = plan.min_duration if plan.mode == "shadow" else min(plan.min_duration, MIN_SPAN_FOR_HARM)
    ended = has_ended(plan, now) or len(rows) == most_outcomes(plan, rows)
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
        differences = _differences(plan, rows)
        return differences.bound(alpha=plan.alpha), differences.bound(alpha=plan.alpha, worse=True)
    _, blocks = _blocks(plan, rows)
    return _block_bound(blocks, plan.alpha), -_block_bound(-blocks, plan.alpha)


def _hourly(plan: Plan, rows: Outcomes) -> HourlyArmLosses:
    losses = plan.loss.of(rows.answered)
    if plan.mode == "shadow":
        return HourlyArmLosses(rows.time, np.ones((2, len(rows))), np.stack([losses, plan.loss.of(rows.shadow)]))
    weights = np.stack([~rows.challenger / (1 - rows.share), rows.challenger / rows.share])
    return HourlyArmLosses(rows.time, weights, np.stack([losses, losses]))


def _differences(plan: Plan, rows: Outcomes) -> IPWDifferences:
    return IPWDifferences.of(plan.loss.of(rows.answered), rows.challenger, rows.share, centre=plan.centre)


def _blocks(plan: Plan, rows: Outcomes) -> tuple[Integers, Floats]:
    ends = block_ends(rows.time, rows.answered.label, rows=BLOCK_ROWS, span=BLOCK_SPAN)
    return ends, block_means(plan.loss.of(rows.answered) - plan.loss.of(rows.shadow), ends)


def _block_bound(blocks: Floats, alpha: float) -> float:
    """Return the largest margin that the bets reject, by bisection; −1 if there is none."""
    rejected, open_ = -1.0, 1.0
    for _ in range(BISECTIONS if len(blocks) else 0):
        middle = (rejected + open_) / 2
        is_rejected = bet_on_excess(blocks - middle).path[-1] >= -math.log(alpha)
        rejected, open_ = (middle, open_) if is_rejected else (rejected, middle)
    return rejected
