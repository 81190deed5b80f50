"""Evaluate a version on probation: is it worse than the version before it, and does it meet its holdout baseline?

Both are sequential tests by betting (`keel.stats.sequential.betting`). They begin with the first labelled prediction of
the probation and never restart, since what they test for begins with the promotion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.evaluation.probation.sequential_tests import ProbationTests, SequentialTest
from keel.stats.json_numbers import finite_or_none
from keel.stats.sequential.bounded_losses import baseline_loss, bounded_loss

if TYPE_CHECKING:
    from keel.config import PromotionConfig
    from keel.stats.metrics.losses import Scored
    from keel.stats.sequential.blocks import Times


class ProbationVerdict(StrEnum):
    """The verdicts of a probation; the values are stored."""

    HARM = "harm"
    BASELINE_NOT_MET = "broken_promise"
    PASSED = "survived"
    RUNNING = "watching"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class ProbationReport:
    """The evaluation of a version on probation."""

    verdict: ProbationVerdict
    metric: str
    loss: str
    """Name of the loss whose means are compared."""
    over: bool
    """Whether the probation has ended."""
    n: int
    """Usable labelled predictions."""
    n_unusable: int
    current_loss: float | None
    previous_loss: float | None
    baseline_limit: float | None
    """The largest mean loss that meets the baseline: the upper bound from the holdout, and the tolerated increase."""
    pairs_lost: float | None
    """The share of pairs that the previous version ranks correctly, less that of the version."""
    harm: SequentialTest | None
    baseline: SequentialTest | None
    missing: tuple[str, ...]
    """Why the evidence does not suffice, as clauses."""

    @property
    def sentence(self) -> str:
        """The result in plain sentences."""
        losses = f"its mean {self.loss} is {_number(self.current_loss)}"
        if self.previous_loss is not None:
            losses += f", that of the version before it {_number(self.previous_loss)}"
        if self.pairs_lost is not None:
            fewer = "fewer" if self.pairs_lost > 0 else "more"
            losses += f", and of 100 pairs it ranks {abs(self.pairs_lost) * 100:.1f} {fewer} correctly"
        numbers = f"on {self.n:,} labelled predictions {losses}" if self.n else "no usable labelled predictions"
        match self.verdict:
            case ProbationVerdict.HARM:
                evidence = _crossing(self.harm)
                return f"The version is worse than the version before it {self._worse_in()}: {numbers}. {evidence}."
            case ProbationVerdict.BASELINE_NOT_MET:
                limit = f"its holdout baseline allows at most {_number(self.baseline_limit)}"
                return f"The version does not meet its baseline: {numbers}; {limit}. {_crossing(self.baseline)}."
            case ProbationVerdict.PASSED:
                return f"The version passed its probation: {numbers}."
            case ProbationVerdict.INCONCLUSIVE:
                return f"The probation has not enough evidence: {'; '.join(self.missing)} ({numbers})."
        return f"The version is on probation: {numbers}."

    def _worse_in(self) -> str:
        return "by its ranking" if self.harm and self.harm.crossed_by == "ranking" else f"by its mean {self.loss}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        plain = {name: finite_or_none(value) for name, value in self.__dict__.items()}
        tests = {name: test and test.to_dict() for name, test in (("harm", self.harm), ("baseline", self.baseline))}
        return {
            **plain,
            **tests,
            "verdict": str(self.verdict),
            "missing": list(self.missing),
            "sentence": self.sentence,
        }


def evaluate_probation(
    current: Scored,
    previous: Scored | None,
    *,
    times: Times,
    metric: str,
    reference: Mapping[str, Any],
    policy: PromotionConfig,
    max_degradation: float,
    over: bool,
    not_compared: str = "",
) -> ProbationReport:
    """Evaluate the version on probation on its labelled live rows, in the order in which their labels arrived.

    The error rate of each test is at most ``policy.rollback_alpha``, for any number of evaluations, provided that later
    evaluations only add rows.

    - *harm*, which rolls the version back: its mean loss in a block is expected to exceed the previous version's by
      more than ``max_degradation`` (or ``−margin``), or it is expected to rank more than `RANKING_TOLERANCE` of the
      pairs worse. For `roc_auc` the test is of the ranking alone, for metrics without probabilities of the loss alone.
    - *baseline not met*, which people are notified of: its mean loss is expected to exceed the upper bound from its
      holdout by more than ``max_degradation``, and no harm is shown, so the version before it would be no better.

    Parameters
    ----------
    current, previous
        The new version and the one before it on the same rows. ``previous`` is None if there is none, or if it cannot
        score; ``not_compared`` is then the reason.
    times
        Of the predictions, shape (n,), datetime64.
    reference
        The statistics of the new version's holdout that are registered with it.
    over
        Whether the probation has ended.

    """
    baseline = baseline_loss(metric, reference)
    loss = bounded_loss(metric, baseline)
    if loss is None:
        return _without_loss(metric, len(current), over)
    tests = ProbationTests(loss, baseline, current, previous, times, policy, max_degradation)
    harm, not_met = tests.test_harm(), tests.test_baseline()
    missing = (*((not_compared,) if not_compared else ()), *tests.missing())
    if harm and harm.crossed_at:
        verdict = ProbationVerdict.HARM
    elif not_met and not_met.crossed_at:
        verdict = ProbationVerdict.BASELINE_NOT_MET
    elif not over:
        verdict = ProbationVerdict.RUNNING
    else:
        verdict = ProbationVerdict.INCONCLUSIVE if missing else ProbationVerdict.PASSED
    return ProbationReport(
        verdict=verdict,
        metric=metric,
        loss=loss.name,
        over=over,
        n=int(tests.both.sum()),
        n_unusable=int((~tests.both).sum()),
        current_loss=tests.mean_loss(current),
        previous_loss=tests.mean_loss(previous),
        baseline_limit=tests.baseline_limit,
        pairs_lost=tests.pairs_lost,
        harm=harm,
        baseline=not_met,
        missing=missing,
    )


def _without_loss(metric: str, rows: int, over: bool) -> ProbationReport:
    verdict = ProbationVerdict.INCONCLUSIVE if over else ProbationVerdict.RUNNING
    why = f"the statistics of the version's holdout have no {metric}, so its errors have no scale"
    return ProbationReport(verdict, metric, metric, over, 0, rows, None, None, None, None, None, None, (why,))


def _crossing(test: SequentialTest | None) -> str:
    assert test is not None
    assert test.crossed_at is not None
    return f"The evidence reached {test.threshold:,.0f} to 1 after {test.crossed_at:,} of them"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"
