"""A new version on probation: is it shown to be worse than the one before it, and does it hold what it promised?

Both are tests by betting (`keel.stats.sequential.betting`), from the first labelled prediction of the probation:
what they look
for can only have begun with the promotion, so nothing has to start anew on the way.
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
    """What is known of a version on probation."""

    HARM = "harm"
    BASELINE_NOT_MET = "broken_promise"
    PASSED = "survived"
    RUNNING = "watching"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class ProbationReport:
    """A look at a version on probation."""

    verdict: ProbationVerdict
    metric: str
    loss: str
    """What the mean losses are means of."""
    over: bool
    n: int
    """Labelled predictions that could be judged."""
    n_left_out: int
    current_loss: float | None
    previous_loss: float | None
    promised_loss: float | None
    """What the mean loss may be: the upper bound from the holdout, and the tolerated increase."""
    pairs_lost: float | None
    """By how much smaller than the previous version's the share of pairs is that the version ranks rightly."""
    harm: SequentialTest | None
    promise: SequentialTest | None
    missing: tuple[str, ...]
    """Why nothing can be concluded, in plain words."""

    @property
    def sentence(self) -> str:
        """What the look has shown, for people."""
        losses = f"its mean {self.loss} was {_number(self.current_loss)}"
        if self.previous_loss is not None:
            losses += f", the version before it would have had {_number(self.previous_loss)}"
        if self.pairs_lost is not None:
            fewer = "fewer" if self.pairs_lost > 0 else "more"
            losses += f", and of 100 pairs it ranked {abs(self.pairs_lost) * 100:.1f} {fewer} rightly"
        seen = f"on {self.n:,} labelled predictions {losses}" if self.n else "no labelled predictions to judge it by"
        match self.verdict:
            case ProbationVerdict.HARM:
                return f"The version is worse than the one before it {self._how()}: {seen}; {_crossing(self.harm)}."
            case ProbationVerdict.BASELINE_NOT_MET:
                promised = f"promised on its holdout was at most {_number(self.promised_loss)}"
                return f"The version does not do what it promised: {seen}; {promised}; {_crossing(self.promise)}."
            case ProbationVerdict.PASSED:
                return f"The version has survived its probation: {seen}."
            case ProbationVerdict.INCONCLUSIVE:
                return f"The probation shows nothing: {'; '.join(self.missing)} ({seen})."
        return f"The version is on probation: {seen}."

    def _how(self) -> str:
        return "in how it ranks" if self.harm and self.harm.crossed_by == "ranking" else f"by its mean {self.loss}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        plain = {name: finite_or_none(value) for name, value in self.__dict__.items()}
        bets = {name: bet and bet.to_dict() for name, bet in (("harm", self.harm), ("promise", self.promise))}
        return {**plain, **bets, "verdict": str(self.verdict), "missing": list(self.missing), "sentence": self.sentence}


def evaluate_probation(
    current: Scored,
    previous: Scored | None,
    *,
    times: Times,
    metric: str,
    reference: Mapping[str, Any],
    policy: PromotionConfig,
    max_increase: float,
    over: bool,
    not_compared: str = "",
) -> ProbationReport:
    """Judge the version on probation by its labelled live rows, in the order in which their labels came.

    current, previous: the new version and the one before it on the same rows; no previous where there is none, or where
    it cannot be scored, and then ``not_compared`` says why. times: of the predictions, shape (n,), datetime64.
    reference: what is kept with the new version of its holdout. over: whether the probation has ended.

    Each test keeps to ``policy.rollback_alpha`` however often it is looked at, provided that later looks only add rows.

    - *harm*, which takes the version back: block by block its mean loss is expected to be worse than the previous
      version's by more than ``max_increase`` (or ``−margin``), or it is expected to rank more than `RANKING_TOLERANCE`
      of the pairs less rightly. For `roc_auc` the ranking alone, for metrics without probabilities the loss alone.
    - *broken promise*, which people are told: its mean loss is expected to be above the upper bound from its holdout by
      more than ``max_increase``, and no harm is shown: the version before it would do no better.
    """
    promised = baseline_loss(metric, reference)
    loss = bounded_loss(metric, promised)
    if loss is None:
        return _unjudged(metric, len(current), over)
    look = ProbationTests(loss, promised, current, previous, times, policy, max_increase)
    harm, promise = look.bet_on_harm(), look.bet_on_promise()
    missing = (*((not_compared,) if not_compared else ()), *look.missing())
    if harm and harm.crossed_at:
        verdict = ProbationVerdict.HARM
    elif promise and promise.crossed_at:
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
        n=int(look.both.sum()),
        n_left_out=int((~look.both).sum()),
        current_loss=look.mean_loss(current),
        previous_loss=look.mean_loss(previous),
        promised_loss=look.promised_bound,
        pairs_lost=look.pairs_lost,
        harm=harm,
        promise=promise,
        missing=missing,
    )


def _unjudged(metric: str, rows: int, over: bool) -> ProbationReport:
    verdict = ProbationVerdict.INCONCLUSIVE if over else ProbationVerdict.RUNNING
    why = f"what is kept of the version's holdout holds no {metric}, so there is no scale to judge its errors on"
    return ProbationReport(verdict, metric, metric, over, 0, rows, None, None, None, None, None, None, (why,))


def _crossing(bet: SequentialTest | None) -> str:
    assert bet is not None
    assert bet.crossed_at is not None
    return f"after {bet.crossed_at:,} of them the evidence against it had grown to {bet.threshold:,.0f} to 1"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"
