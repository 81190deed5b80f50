"""What the outcomes of an experiment have shown after each of them: the tests that may be looked at at any moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keel.lifecycle.experiment import BURN_IN, Plan
from keel.lifecycle.look import BLOCK_ROWS, BLOCK_SPAN, MOST
from keel.measures.allocation import log_mismatch
from keel.measures.betting import combine, log_capital
from keel.measures.blocks import Integers, block_ends, block_means
from keel.measures.sequential import BISECTIONS, Contrasts, half_width, running

if TYPE_CHECKING:
    from keel.lifecycle.experiment_rows import Assigned, Mask, Outcomes
    from keel.measures.losses import Floats

MISMATCH = 1_000.0
"""Evidence from which an assignment is not believed to be what it says: right ones reach it once in a thousand."""


@dataclass(frozen=True)
class Followed:
    """What the usable outcomes have shown after each moment at which they were judged."""

    ends: Integers
    """Outcomes after which they were judged, ascending."""
    better: Mask
    """Whether the improvement was then shown to exceed the margin."""
    worse: Mask
    """Whether it was shown to be below zero, or below a margin that is negative."""
    log_capitals: tuple[Floats, Floats] | None
    """Of the bets on either; none for the confidence sequence, which makes none."""

    def first(self) -> tuple[int, bool] | None:
        """Return after how many outcomes something was first shown, and whether it was that it is better."""
        shown = np.flatnonzero(self.better | self.worse)
        if not len(shown):
            return None
        return int(self.ends[shown[0]]), not bool(self.worse[shown[0]])


def follow(plan: Plan, rows: Outcomes) -> Followed:
    """Judge usable outcomes in the order in which they were known, the way that the plan has fixed."""
    margin, floor, alpha = plan.least_improvement, min(0.0, plan.least_improvement), plan.alpha
    if plan.method == "confidence_sequence":
        found, n = running(plan.loss.of(rows.answered), rows.challenger), np.arange(1, len(rows) + 1)
        width = half_width(found.standard_error, n, alpha=alpha, one_sided=True)
        with np.errstate(invalid="ignore"):
            judged = (n >= BURN_IN) & (found.standard_error > 0)
            better = judged & (found.improvement - width > margin)
            return Followed(n, better, judged & (found.improvement + width < floor), None)
    if plan.method == "betting":
        contrasts, ends = _contrasts(plan, rows), np.arange(1, len(rows) + 1)
        capitals = contrasts.log_capital(margin).path, contrasts.log_capital(floor, worse=True).path
    else:
        ends, blocks = _blocks(plan, rows)
        capitals = _bet_on_blocks(blocks, margin), _bet_on_blocks(-blocks, -floor)
    better, worse = (path >= -math.log(alpha) for path in capitals)
    return Followed(ends, better, worse, capitals)


def bounds(plan: Plan, rows: Outcomes) -> tuple[float, float]:
    """Return the bounds of the improvement after all of the rows, each at 1 − alpha; NaN where there are none yet."""
    if not len(rows):
        return math.nan, math.nan
    if plan.method == "confidence_sequence":
        found = running(plan.loss.of(rows.answered), rows.challenger)
        estimate, error = float(found.improvement[-1]), float(found.standard_error[-1])
        width = float(half_width(error, len(rows), alpha=plan.alpha, one_sided=True))
        return (estimate - width, estimate + width) if len(rows) >= BURN_IN else (math.nan, math.nan)
    if plan.method == "betting":
        contrasts = _contrasts(plan, rows)
        return contrasts.bound(alpha=plan.alpha), contrasts.bound(alpha=plan.alpha, worse=True)
    _, blocks = _blocks(plan, rows)
    return _block_bound(blocks, plan.alpha), -_block_bound(-blocks, plan.alpha)


def improvement(plan: Plan, rows: Outcomes) -> float:
    """Return the estimate that the bounds are bounds of; NaN where there is none yet.

    Where the allocation changes that is not the difference of the arms' means: rows of different days would be
    compared. It is the mean over the rows of the contrasts, each divided by what the weights add up to.
    """
    if plan.mode == "shadow":
        return float(np.mean(_differences(plan, rows))) if len(rows) else math.nan
    losses, weights = plan.loss.of(rows.answered), np.where(rows.challenger, 1 / rows.share, 1 / (1 - rows.share))
    means = [
        np.average(losses[own], weights=weights[own]) if own.any() else math.nan
        for own in (~rows.challenger, rows.challenger)
    ]
    return float(means[0] - means[1])


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
    """Return the log evidence after each row that arms are not drawn as stated (`log_mismatch`)."""
    return log_mismatch(rows.challenger, rows.share)


def label_evidence(rows: Assigned) -> Floats:
    """Return the log evidence after each row, when its label was due, that one arm gets labels more seldom.

    As long as whether a label comes does not depend on the arm, both those that have one and those that have none are
    split as they were assigned: the mean of the evidence against either, so that missing labels show where they are
    few, and labels where those are few.
    """
    tests = []
    for own in (rows.labelled, ~rows.labelled):
        where = np.flatnonzero(own) + 1
        tests.append((where, log_mismatch(rows.challenger[own], rows.share[own])))
    moments, path = combine(tests)
    assert len(moments) == len(rows)
    return path


def _contrasts(plan: Plan, rows: Outcomes) -> Contrasts:
    return Contrasts.of(plan.loss.of(rows.answered), rows.challenger, rows.share, centre=plan.centre)


def _differences(plan: Plan, rows: Outcomes) -> Floats:
    return plan.loss.of(rows.answered) - plan.loss.of(rows.shadow)


def _blocks(plan: Plan, rows: Outcomes) -> tuple[Integers, Floats]:
    ends = block_ends(rows.time, rows.answered.label, rows=BLOCK_ROWS, span=BLOCK_SPAN)
    return ends, block_means(_differences(plan, rows), ends)


def _bet_on_blocks(blocks: Floats, margin: float) -> Floats:
    beyond = np.clip(blocks - margin, -MOST, MOST)
    return log_capital(beyond, null=0.0, low=-MOST, high=MOST).path


def _block_bound(blocks: Floats, alpha: float) -> float:
    """Return the largest margin that the bets refute now, found by halving; −1 where there is none."""
    refuted, open_ = -1.0, 1.0
    for _ in range(BISECTIONS if len(blocks) else 0):
        middle = (refuted + open_) / 2
        shown = _bet_on_blocks(blocks, middle)[-1] >= -math.log(alpha)
        refuted, open_ = (middle, open_) if shown else (refuted, middle)
    return refuted
